"""Work in this process, and the player of episodes that every engine's workers use.

This module knows nothing of processes, clusters, journals or how an agent decides.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from sightline.agents.rollout.episode import Episode, episode_id
from sightline.agents.rollout.job import Batches, DoneBatch, Item, ProgressFn, Result, RolloutJob, Work
from sightline.agents.rollout.mapping import MapMethod
from sightline.agents.trajectory import Trajectory


class EpisodePlayer:
    """Plays the batches of a job one after another, in this process.

    Raises:
        ValueError: the job makes an agent of another name, or too few environments.
        TypeError: snapshots are asked of an environment that has none.
    """

    def __init__(self, job: RolloutJob) -> None:
        self._job = job
        self._agent = job.make_agent()
        self._environments = job.make_environments(job.batch_size)
        if self._agent.name != job.agent_name:
            raise ValueError(f"the job names the agent {job.agent_name!r}, but makes one called {self._agent.name!r}")
        if len(self._environments) < job.batch_size:
            made = len(self._environments)
            raise ValueError(f"make_environments({job.batch_size}) should make as many, not {made}")
        if job.snapshots and not hasattr(self._environments[0], "snapshot"):
            kind = type(self._environments[0]).__name__
            raise TypeError(f"{kind} has no snapshot(); play the job with snapshots=False")

    def play(self, goals: Sequence[int]) -> Iterator[tuple[int, Trajectory]]:
        """Play a batch in lock-step.

        Yields:
            (place of the goal in the batch, its trajectory) as episodes end.
        """
        job = self._job
        episodes = {
            place: Episode(
                environment,
                job.grammar,
                agent=job.agent_name,
                goal=goal,
                seed=job.seed,
                max_steps=job.max_steps,
                expert=job.expert,
                values=job.values,
                snapshots=job.snapshots,
            )
            for place, (goal, environment) in enumerate(zip(goals, self._environments, strict=False))
        }
        while episodes:
            situations = {place: situation for place, one in episodes.items() if (situation := one.situation)}
            for place in episodes.keys() - situations.keys():
                yield place, episodes.pop(place).trajectory()
            decisions = self._agent.choose(list(situations.values())) if situations else []
            for place, decision in zip(situations, decisions, strict=True):
                episodes[place].take(decision)


def rollout_work(job: RolloutJob) -> Work[int, Trajectory]:
    """Return the work of a rollout: goals become trajectories, those that two workers died over error rows."""
    return Work(partial(EpisodePlayer, job), partial(_lost_episode, job))


def _lost_episode(job: RolloutJob, goal: int) -> Trajectory:
    return Trajectory(
        episode_id=episode_id(job.agent_name, job.seed, goal),
        goal=goal,
        agent=job.agent_name,
        seed=job.seed,
        instruction="",
        steps=(),
        final_observation="",
        total_reward=0.0,
        terminated=False,
        truncated=False,
        error="WorkerDeathError: two workers died before this episode ended",
    )


@dataclass(frozen=True, slots=True)
class InProcessEngine(MapMethod):
    """Does one batch after another in this process."""

    def run(
        self, work: Work[Item, Result], batches: Batches[Item], progress: ProgressFn
    ) -> Generator[DoneBatch[Result]]:
        """Do every batch; what is raised is passed on as it is."""
        player, waiting, done = work.make_player(), list(batches), set()
        while waiting:
            number = work.next_of(waiting, done)
            if number is None:
                return
            waiting.remove(number)
            finished = {}
            for place, result in player.play(batches[number]):
                finished[place] = result
                progress(1)
            done.add(number)
            yield number, [finished[place] for place in range(len(batches[number]))]
