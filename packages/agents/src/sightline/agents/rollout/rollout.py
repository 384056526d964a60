"""An agent on many goals: in this process, over worker processes or over Ray, with the same trajectories.

This module knows nothing of how an agent decides or of what is measured afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from sightline.agents.rollout.in_process import InProcessEngine, rollout_work
from sightline.agents.rollout.job import Engine, RolloutJob
from sightline.agents.rollout.journal import JournalHeader, RolloutJournal

if TYPE_CHECKING:
    from sightline.agents.grammar import TaskGrammar
    from sightline.agents.protocols import ActionValues, Agent, Demonstrator, Environment
    from sightline.agents.trajectory import Trajectory


def roll_out(
    environments: Sequence[Environment],
    agent: Agent,
    goals: Sequence[int],
    grammar: TaskGrammar,
    *,
    seed: int,
    max_steps: int,
    expert: Demonstrator | None = None,
    values: ActionValues | None = None,
    journal: Path | None = None,
    progress: bool = True,
) -> list[Trajectory]:
    """Let an agent attempt every goal, in this process: `run_job` with an `InProcessEngine`, on objects that are there.

    As many consecutive goals as there are environments (64 is a good number) are played in lock-step: at every tick
    the agent decides for all live episodes in one call.

    Args:
        environments: interchangeable copies of one environment.
        agent: agent that decides.
        goals: tasks, one episode for each.
        grammar: what can be chosen on a page.
        seed: seed of every reset.
        max_steps: steps after which an episode is truncated, if the environment has not ended it.
        expert: demonstrator whose action goes into each situation, where only agents that are bounds look at it.
        values: function that says what each candidate is worth, likewise only for bounds and labels.
        journal: journal as for `run_job`.
        progress: whether to show a progress bar when standard error is a terminal.

    Returns:
        One trajectory per goal, in order. An episode whose environment raises is kept up to there, with `error`
        set; the others go on. What the agent raises is passed on.

    Raises:
        ValueError: there is no environment, or `max_steps` is not positive.
        JournalError: the journal belongs to another rollout.
    """
    if not environments:
        raise ValueError("roll_out needs at least one environment")
    job = RolloutJob(
        agent_name=agent.name,
        make_environments=lambda _: environments,
        make_agent=lambda: agent,
        grammar=grammar,
        seed=seed,
        max_steps=max_steps,
        expert=expert,
        values=values,
        batch_size=len(environments),
    )
    return run_job(job, goals, engine=InProcessEngine(), journal=journal, progress=progress)


def run_job(
    job: RolloutJob,
    goals: Sequence[int],
    *,
    engine: Engine,
    journal: Path | None = None,
    progress: bool = True,
) -> list[Trajectory]:
    """Let a job's agent attempt every goal.

    All engines, with any number of workers, make the same calls of the agent for a batch of goals, so they give the
    same trajectories, bit for bit, as long as the agent's answer to a call depends on nothing else. For agents that
    compute by rule that is all. A language model's probabilities change in their last digits with the situations that
    share a call, which `job.batch_size` sets, and they may change with the kind of processor, the number of threads
    (workers use one) and what the model's actor has cached in earlier calls.

    Args:
        job: rollout to play.
        goals: tasks, one episode for each.
        engine: engine that plays it: `InProcessEngine`, `ProcessEngine` or `RayEngine`.
        journal: file to which finished batches are added durably. When it is there already, only the other batches
            are played, and the result is that of an undisturbed run. None to keep nothing.
        progress: whether to show a progress bar when standard error is a terminal.

    Returns:
        One trajectory per goal, in order. An episode that its environment, or the death of two workers, broke off has
        `error` set.

    Raises:
        JournalError: the journal belongs to another rollout.
        RolloutError: a worker could not begin, or its agent raised. In this process, what the agent raises is passed on
            as it is. An error of the agent would meet every episode, so it ends the rollout; the journal keeps the
            batches that were finished.
    """
    goals = [int(goal) for goal in goals]
    size = job.batch_size
    batches = {number: goals[start : start + size] for number, start in enumerate(range(0, len(goals), size))}
    record = None if journal is None else RolloutJournal(journal, _header(job, goals))
    played: dict[int, Sequence[Trajectory]] = {} if record is None else dict(record.batches)
    left = {number: batch for number, batch in batches.items() if number not in played}
    console = Console(stderr=True)
    with Progress(console=console, disable=not (progress and console.is_terminal), transient=True) as bar:
        task = bar.add_task(job.agent_name, total=len(goals), completed=sum(map(len, played.values())))
        if left:
            with closing(engine.run(rollout_work(job), left, lambda count: bar.advance(task, count))) as results:
                for number, episodes in results:
                    if record is not None:
                        record.append(number, episodes)
                    played[number] = episodes
    return [trajectory for number in batches for trajectory in played[number]]


def _header(job: RolloutJob, goals: Sequence[int]) -> JournalHeader:
    return JournalHeader(
        agent=job.agent_name,
        seed=job.seed,
        max_steps=job.max_steps,
        batch_size=job.batch_size,
        expert=job.expert is not None,
        values=job.values is not None,
        snapshots=job.snapshots,
        goals=tuple(goals),
    )
