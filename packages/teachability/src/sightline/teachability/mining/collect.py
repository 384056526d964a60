"""Plays episodes with a policy or a teacher and keeps every state. Knows nothing of what is mined from them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.errors import DynamicsError
from sightline.teachability.ledger import Ledger
from sightline.teachability.mining.records import Episode, EpisodeStep, Task
from sightline.teachability.protocols import (
    ActionPolicy,
    Dynamics,
    S,
    Teacher,
    Transition,
    ask_policy,
    guarded_step,
    guarded_view,
)
from sightline.teachability.values.sampling import Noise
from sightline.teachability.views import StateView


def collect_episodes(
    dynamics: Dynamics[S],
    policy: ActionPolicy,
    tasks: Sequence[Task[S]],
    *,
    seed: int,
    rollouts: range = range(1),
    greedy: bool = False,
    known: dict[S, NDArray[np.float64]] | None = None,
    ledger: Ledger | None = None,
) -> list[Episode]:
    """Play tasks with a policy, all episodes in lock step.

    The noise of an episode follows from seed, group, task and rollout, so all policies share it.

    Args:
        dynamics: the environment.
        policy: who plays.
        tasks: what is played.
        seed: seed of the noise.
        rollouts: numbers of each task's episodes.
        greedy: take the most probable action in place of a sampled one; the rollouts of a task are then equal.
        known: what this policy has answered at timeless states, which is not asked again; new answers are added.
        ledger: where prompts and steps are counted.

    Returns:
        The episodes, by task and rollout. One whose environment raised is kept up to there with outcome `error`.

    Raises:
        PolicyError: the policy gave no distribution.
    """
    ledger = ledger or Ledger()
    running = [
        _Running(task, rollout, Noise(seed, f"{task.group}\x1f{task.number}"), task.state)
        for task in tasks
        for rollout in rollouts
    ]
    known = {} if known is None else known
    while live := [one for one in running if one.look(dynamics)]:
        new: dict[S, StateView] = {}
        for one in live:
            key = dynamics.timeless(one.state)
            if key not in known:
                new.setdefault(key, one.require_view())
        known.update(zip(new, ask_policy(policy, list(new.values())), strict=True))
        ledger.prompts += len(new)
        ledger.environment_steps += len(live)
        for one in live:
            one.decide(dynamics, known[dynamics.timeless(one.state)], greedy=greedy)
    return [one.episode(policy.fingerprint, "greedy" if greedy else f"seed{seed}") for one in running]


def collect_expert_episodes(
    dynamics: Dynamics[S], teacher: Teacher[S], tasks: Sequence[Task[S]], *, ledger: Ledger | None = None
) -> list[Episode]:
    """Play each task once with the teacher in control; probabilities are 1 for what it does."""
    ledger = ledger or Ledger()
    running = [_Running(task, 0, Noise(0, ""), task.state) for task in tasks]
    while live := [one for one in running if one.look(dynamics)]:
        actions = teacher.act([one.state for one in live])
        ledger.teacher_calls += len(live)
        ledger.environment_steps += len(live)
        for one, action in zip(live, actions, strict=True):
            one.take(dynamics, action, tuple(float(action == other) for other in one.require_view().actions))
    return [one.episode(teacher.fingerprint, "expert") for one in running]


@dataclass(slots=True)
class _Running(Generic[S]):
    """An episode that is being played."""

    task: Task[S]
    rollout: int
    noise: Noise
    state: S
    view: StateView | None = None
    instruction: str = ""
    steps: list[EpisodeStep] = field(default_factory=list)
    end: Transition[S] | None = None
    error: str | None = None

    def look(self, dynamics: Dynamics[S]) -> bool:
        """Look at the state; whether the episode goes on."""
        if self.end is not None or self.error is not None or dynamics.steps_left(self.state) < 1:
            return False
        try:
            self.view = guarded_view(dynamics, self.state)
        except DynamicsError as failure:
            self.error = str(failure)
            return False
        self.instruction = self.instruction or self.view.instruction
        return bool(self.view.actions)

    def require_view(self) -> StateView:
        if self.view is None:
            raise RuntimeError("look() comes first")
        return self.view

    def decide(self, dynamics: Dynamics[S], probabilities: NDArray[np.float64], *, greedy: bool) -> None:
        actions = self.require_view().actions
        if greedy:
            chosen = int(np.argmax(probabilities))
        else:
            chosen = self.noise.pick(self.rollout, len(self.steps), actions, probabilities)
        self.take(dynamics, actions[chosen], tuple(probabilities.tolist()))

    def take(self, dynamics: Dynamics[S], action: str, probabilities: tuple[float, ...]) -> None:
        view = self.require_view()
        self.steps.append(
            EpisodeStep(
                state=base64.b64encode(dynamics.encode(self.state)).decode(),
                observation=view.observation,
                kind=view.kind,
                actions=view.actions,
                probabilities=probabilities,
                action=action,
            )
        )
        try:
            end = guarded_step(dynamics, self.state, action)
        except DynamicsError as failure:
            self.error = str(failure)
            return
        self.state, self.end = end.state, end if end.ended else None

    def episode(self, policy: str, how: str) -> Episode:
        won = self.end is not None and self.end.success
        return Episode(
            id=f"{self.task.number}-{how}-{self.rollout}",
            task=self.task.number,
            group=self.task.group,
            instruction=self.instruction,
            rollout=self.rollout,
            policy=policy,
            steps=tuple(self.steps),
            reward=self.end.reward if self.end else 0.0,
            ended=self.end is not None,
            outcome="error" if self.error is not None else "success" if won else "failure",
            error=self.error,
        )
