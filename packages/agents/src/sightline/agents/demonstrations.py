"""Collects trajectories from an environment with a demonstrator, optionally disturbed by random clicks.

This module knows nothing of models; agents are run elsewhere.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track

from sightline.agents.actions import ActionType, action_type, candidate_actions
from sightline.agents.protocols import Demonstrator, Environment
from sightline.agents.trajectory import Step, Trajectory

logger = logging.getLogger(__name__)


def collect(
    environment: Environment,
    goals: Sequence[int],
    demonstrator: Demonstrator,
    *,
    seed: int,
    max_steps: int,
    exploration: float = 0.0,
    snapshots: bool = False,
    progress: bool = True,
) -> list[Trajectory]:
    """Run a demonstrator on goals and record what it did, and what it would have done.

    With probability ``exploration`` a step executes a random click instead of the demonstrator's action; the step
    keeps both, so that a learner also sees the way back from mistakes (DAgger with a mixture policy, Ross et al.
    2011). Agents choose among search proposals, so a demonstrator's query that is none of them is replaced by the
    first one that the episode has not used. Where the page has no search bar, or all are used, the query is kept. Any
    action of the demonstrator that is then no candidate is added to the step's candidates.

    Args:
        environment: where to act.
        goals: one episode for each. An episode depends on its goal and the seed alone, not on the other goals.
        demonstrator: gives the expert's action in the environment's present state.
        seed: root of all randomness.
        max_steps: steps after which an episode is truncated, if the environment has not ended it.
        exploration: probability of a random click, 0 to 1.
        snapshots: keep the environment's state before every action.
        progress: show a progress bar when standard error is a terminal.

    Returns:
        One trajectory per goal, in order. An episode that raises is kept up to there, with ``error`` set.

    Raises:
        ValueError: ``exploration`` is no probability or ``max_steps`` is not positive.
        TypeError: snapshots are asked of an environment that has none.
    """
    if not 0 <= exploration <= 1:
        raise ValueError(f"exploration should be a probability from 0 to 1, not {exploration!r}")
    if max_steps < 1:
        raise ValueError(f"max_steps should be at least 1, not {max_steps!r}")
    take_snapshot = getattr(environment, "snapshot", None) if snapshots else None
    if snapshots and take_snapshot is None:
        raise TypeError(f"{type(environment).__name__} has no snapshot(); collect with snapshots=False")
    collector = _Collector(environment, demonstrator, seed, max_steps, exploration, take_snapshot)
    console = Console(stderr=True)
    shown = progress and console.is_terminal
    return [
        collector.episode(goal)
        for goal in track(goals, description="Demonstrations", console=console, disable=not shown)
    ]


@dataclass(frozen=True)
class _Collector:
    environment: Environment
    demonstrator: Demonstrator
    seed: int
    max_steps: int
    exploration: float
    take_snapshot: Callable[[], bytes] | None

    def episode(self, goal: int) -> Trajectory:
        generator = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(goal,)))
        steps: list[Step] = []
        observation = instruction = ""
        terminated = truncated = False
        error = None
        try:
            observation, info = self.environment.reset(seed=self.seed, options={"goal": goal})
            instruction = info["instruction_text"]
            while not (terminated or truncated):
                chosen = self._choose(instruction, info["available_actions"], steps, generator)
                snapshot = base64.b64encode(self.take_snapshot()).decode() if self.take_snapshot else None
                before = observation
                observation, reward, terminated, truncated, info = self.environment.step(chosen.action)
                steps.append(
                    Step(
                        observation=before,
                        available_actions=chosen.candidates,
                        action=chosen.action,
                        expert_action=chosen.expert_action,
                        reward=float(reward),
                        snapshot=snapshot,
                    )
                )
                truncated = truncated or (len(steps) >= self.max_steps and not terminated)
        except Exception as exception:
            logger.warning("The episode of goal %d broke off after %d steps", goal, len(steps), exc_info=True)
            error = f"{type(exception).__name__}: {exception}"
        return Trajectory(
            episode_id=f"expert-seed{self.seed}-goal{goal}",
            goal=goal,
            agent="expert",
            seed=self.seed,
            instruction=instruction,
            steps=tuple(steps),
            final_observation=observation,
            total_reward=sum(step.reward for step in steps),
            terminated=terminated,
            truncated=truncated,
            error=error,
        )

    def _choose(
        self, instruction: str, available: dict, steps: Sequence[Step], generator: np.random.Generator
    ) -> _Choice:
        candidates = candidate_actions(instruction, available)
        used = {step.action for step in steps}
        expert_action = _as_candidate(self.demonstrator(self.environment), candidates, used)
        if expert_action not in candidates:
            candidates = (*candidates, expert_action)
        clicks = [action for action in candidates if action_type(action) is not ActionType.SEARCH]
        action = expert_action
        if clicks and generator.random() < self.exploration:
            action = clicks[generator.integers(len(clicks))]
        return _Choice(candidates, action, expert_action)


@dataclass(frozen=True)
class _Choice:
    candidates: tuple[str, ...]
    action: str
    expert_action: str


def _as_candidate(action: str, candidates: Sequence[str], used: set[str]) -> str:
    """The candidate that stands for a demonstrator's action, or the action itself when there is none."""
    for candidate in candidates:
        if candidate.lower() == action.lower():
            return candidate
    if action_type(action) is ActionType.SEARCH:
        for candidate in candidates:
            if action_type(candidate) is ActionType.SEARCH and candidate not in used:
                return candidate
    return action
