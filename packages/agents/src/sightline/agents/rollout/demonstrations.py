"""Collection of trajectories from an environment with a demonstrator, optionally disturbed by random actions.

This module knows nothing of models; agents are run elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track

from sightline.agents.records import Decision
from sightline.agents.rollout.episode import Episode, Offer

if TYPE_CHECKING:
    from sightline.agents.grammar import TaskGrammar
    from sightline.agents.protocols import ActionValues, Demonstrator, Environment, InfoMapping
    from sightline.agents.trajectory import Step, Trajectory


def collect(
    environment: Environment,
    goals: Sequence[int],
    demonstrator: Demonstrator,
    grammar: TaskGrammar,
    *,
    seed: int,
    max_steps: int,
    values: ActionValues | None = None,
    exploration: float = 0.0,
    snapshots: bool = False,
    progress: bool = True,
) -> list[Trajectory]:
    """Run a demonstrator on goals and record what it did, and what it would have done.

    With probability `exploration` a step executes a random action of those that the page lists instead of the
    demonstrator's; the step keeps both, so that a learner also sees the way back from mistakes (DAgger with a mixture
    policy, Ross et al. 2011). Where agents choose among proposals of free text, such as queries, a demonstrator's own
    text that is none of them is replaced by the first proposal of its type that the episode has not used; where there
    is none, it is kept. Any action of the demonstrator that is then no candidate is added to the step's candidates.

    Args:
        environment: environment to act in.
        goals: tasks, one episode for each. An episode depends on its goal and the seed alone, not on the other goals.
        demonstrator: function that gives the expert's action in the environment's present state.
        grammar: what can be chosen on a page.
        seed: root of all randomness.
        max_steps: steps after which an episode is truncated, if the environment has not ended it.
        values: function that says what each candidate is worth.
        exploration: probability of a random action, 0 to 1.
        snapshots: whether to keep the environment's state before every action.
        progress: whether to show a progress bar when standard error is a terminal.

    Returns:
        One trajectory per goal, in order. An episode that raises is kept up to there, with `error` set.

    Raises:
        ValueError: `exploration` is no probability or `max_steps` is not positive.
        TypeError: snapshots are asked of an environment that has none.
    """
    if not 0 <= exploration <= 1:
        raise ValueError(f"exploration should be a probability from 0 to 1, not {exploration!r}")
    if max_steps < 1:
        raise ValueError(f"max_steps should be at least 1, not {max_steps!r}")
    take_snapshot = getattr(environment, "snapshot", None) if snapshots else None
    if snapshots and take_snapshot is None:
        raise TypeError(f"{type(environment).__name__} has no snapshot(); collect with snapshots=False")
    offers = _Offers(environment, demonstrator, grammar, values, take_snapshot)

    def play(goal: int) -> Trajectory:
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(goal,)))
        episode = Episode(
            environment, grammar, agent="expert", goal=goal, seed=seed, max_steps=max_steps, make_offer=offers
        )
        while (situation := episode.situation) is not None:
            action = situation.expert_action or ""
            listed = [one for one in situation.actions if not grammar.is_free_text(one)]
            if listed and generator.random() < exploration:
                action = listed[generator.integers(len(listed))]
            episode.take(Decision(action, probabilities=(), prompt_tokens=0, completion_tokens=0))
        return episode.trajectory()

    console = Console(stderr=True)
    shown = progress and console.is_terminal
    return [play(goal) for goal in track(goals, description="Demonstrations", console=console, disable=not shown)]


@dataclass(frozen=True)
class _Offers:
    """What can be done on a page, with the demonstrator's action among the candidates."""

    environment: Environment
    demonstrator: Demonstrator
    grammar: TaskGrammar
    values: ActionValues | None
    take_snapshot: Callable[[], bytes] | None

    def __call__(self, instruction: str, info: InfoMapping, steps: Sequence[Step]) -> Offer:
        candidates = self.grammar.candidate_actions(instruction, info["available_actions"])
        used = {step.action for step in steps}
        expert_action = as_candidate(self.demonstrator(self.environment), candidates, used, self.grammar)
        if expert_action not in candidates:
            candidates = (*candidates, expert_action)
        values = tuple(self.values(self.environment, candidates)) if self.values else None
        return Offer(candidates, expert_action, values, self.take_snapshot() if self.take_snapshot else None)


def as_candidate(action: str, candidates: Sequence[str], used: Collection[str], grammar: TaskGrammar) -> str:
    """Return the candidate that stands for a demonstrator's action, or the action itself when there is none.

    Args:
        action: what the demonstrator does.
        candidates: actions that can be chosen.
        used: actions of the episode so far; free text of its own is replaced by a proposal that is not among them.
        grammar: which actions are free text.
    """
    for candidate in candidates:
        if candidate.lower() == action.lower():
            return candidate
    if grammar.is_free_text(action):
        for candidate in candidates:
            if grammar.action_type(candidate) == grammar.action_type(action) and candidate not in used:
                return candidate
    return action
