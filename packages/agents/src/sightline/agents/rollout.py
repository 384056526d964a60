"""Runs an agent on many goals in lock-step, so that all live episodes share each call of the agent.

This module knows nothing of how an agent decides or of what is measured afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from sightline.agents.actions import candidate_actions
from sightline.agents.records import Decision, Event, Situation
from sightline.agents.trajectory import Step, Trajectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from sightline.agents.protocols import Agent, Demonstrator, Environment, InfoMapping

    Episode = Generator[Situation, Decision, Trajectory]

logger = logging.getLogger(__name__)


def roll_out(
    environments: Sequence[Environment],
    agent: Agent,
    goals: Sequence[int],
    *,
    seed: int,
    max_steps: int,
    expert: Demonstrator | None = None,
    progress: bool = True,
) -> list[Trajectory]:
    """Let an agent attempt every goal.

    Each environment plays one episode after another; at every tick the agent decides for all of them in one call. An
    episode depends on its goal and the seed alone, so the number of environments (64 is a good one) only sets the
    speed.

    Args:
        environments: interchangeable copies of one environment.
        agent: decides.
        goals: one episode for each.
        seed: given to every reset.
        max_steps: steps after which an episode is truncated, if the environment has not ended it.
        expert: its action goes into each situation, where only agents that are bounds look at it.
        progress: show a progress bar when standard error is a terminal.

    Returns:
        One trajectory per goal, in order. An episode whose environment raises is kept up to there, with ``error``
        set; the others go on. What the agent raises is passed on.

    Raises:
        ValueError: there is no environment, or ``max_steps`` is not positive.
    """
    if not environments:
        raise ValueError("roll_out needs at least one environment")
    if max_steps < 1:
        raise ValueError(f"max_steps should be at least 1, not {max_steps!r}")
    play = partial(_episode, agent_name=agent.name, seed=seed, max_steps=max_steps, expert=expert)
    finished: dict[int, Trajectory] = {}
    console = Console(stderr=True)
    with Progress(console=console, disable=not (progress and console.is_terminal), transient=True) as bar:
        task = bar.add_task(agent.name, total=len(goals))
        queue = iter(enumerate(goals))
        seats = [_seat(environment, queue, play, finished) for environment in environments]
        live = [(seat, situation) for seat in seats if (situation := next(seat, None)) is not None]
        while live:
            decisions = agent.choose([situation for _, situation in live])
            live = [
                (seat, situation)
                for (seat, _), decision in zip(live, decisions, strict=True)
                if (situation := _send(seat, decision)) is not None
            ]
            bar.update(task, completed=len(finished))
    return [finished[place] for place in range(len(goals))]


def _seat(
    environment: Environment,
    queue: Iterator[tuple[int, int]],
    play: Callable[[Environment, int], Episode],
    finished: dict[int, Trajectory],
) -> Generator[Situation, Decision, None]:
    """Plays one episode after another from the common queue of (place, goal)."""
    for place, goal in queue:
        finished[place] = yield from play(environment, goal)


def _send(seat: Generator[Situation, Decision, None], decision: Decision) -> Situation | None:
    try:
        return seat.send(decision)
    except StopIteration:
        return None


def _episode(
    environment: Environment, goal: int, *, agent_name: str, seed: int, max_steps: int, expert: Demonstrator | None
) -> Episode:
    """Yields the situations of an episode, is sent the decisions, and returns what happened."""
    steps: list[Step] = []
    events: tuple[Event, ...] = ()
    observation = instruction = ""
    terminated = truncated = False
    error = None
    try:
        observation, info = environment.reset(seed=seed, options={"goal": goal})
        instruction = info["instruction_text"]
        while not (terminated or truncated):
            events = (*events, Event("OBS", observation))
            actions = _candidates(instruction, observation, info)
            expert_action = expert(environment) if expert else None
            decision = yield Situation(instruction, events, actions, expert_action)
            before = observation
            observation, reward, terminated, truncated, info = environment.step(decision.action)
            events = (*events, Event("ACT", decision.action))
            steps.append(_step(before, actions, expert_action, decision, reward))
            truncated = truncated or (len(steps) >= max_steps and not terminated)
    except Exception as exception:
        logger.warning("The episode of goal %d broke off after %d steps", goal, len(steps), exc_info=True)
        error = f"{type(exception).__name__}: {exception}"
    return Trajectory(
        episode_id=f"{agent_name}-seed{seed}-goal{goal}",
        goal=goal,
        agent=agent_name,
        seed=seed,
        instruction=instruction,
        steps=tuple(steps),
        final_observation=observation,
        total_reward=sum(step.reward for step in steps),
        terminated=terminated,
        truncated=truncated,
        error=error,
    )


def _candidates(instruction: str, observation: str, info: InfoMapping) -> tuple[str, ...]:
    actions = candidate_actions(instruction, info["available_actions"])
    if not actions:
        raise ValueError(f"the page offers no action: {observation[:200]!r}")
    return actions


def _step(
    observation: str, actions: tuple[str, ...], expert_action: str | None, decision: Decision, reward: float
) -> Step:
    return Step(
        observation=observation,
        available_actions=actions,
        action=decision.action,
        # An expert's own search words are no candidate; offering them would hand the agent the expert's knowledge.
        expert_action=expert_action if expert_action in actions else None,
        reward=reward,
        probabilities=decision.probabilities,
        # The chunks that were passed over are in the observation already.
        attention=tuple(chunk for chunk in decision.attention if chunk.selected),
        prompt_tokens=decision.prompt_tokens,
        completion_tokens=decision.completion_tokens,
    )
