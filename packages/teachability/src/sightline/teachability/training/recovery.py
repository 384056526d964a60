"""Recovery trajectories: the teacher takes over at a moment of a failure and acts to the end.

Failures of the teacher are kept apart by `success` and not trained on. Knows nothing of models.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from sightline.teachability.errors import DynamicsError
from sightline.teachability.ledger import Ledger
from sightline.teachability.protocols import Dynamics, S, Teacher, guarded_step, guarded_view
from sightline.teachability.records import LabelledSnapshot, Quadrant, Record, Snapshot, snapshot_id

Order = Literal["L_upper", "ELP", "random"]


class RecoveryStep(Record):
    """One action of the teacher."""

    t: int
    """Steps since it took over."""
    state: str
    """The state in which it acted, in base64."""
    observation: str
    """What stood there."""
    valid_actions: tuple[str, ...]
    """What could be done."""
    action: str
    """What it did."""
    reward: float
    """What that brought."""
    done: bool
    """Whether the episode ended."""


class RecoveryTrajectory(Record):
    """How a teacher went on from a snapshot."""

    schema_version: Literal[1] = 1
    snapshot_id: str
    """Where it took over."""
    task_id: int
    """The goal."""
    group: str
    """Its group."""
    instruction: str
    """The task in words."""
    quadrant: Quadrant | None
    """Of the snapshot."""
    L_upper: tuple[float, float] | None
    """What the teacher in control adds, lower end and estimate."""
    ELP: float | None
    """Payoff of the best teaching text, where it was measured."""
    expert: str
    """Who acted."""
    success: bool
    """Whether it succeeded."""
    total_reward: float
    """Reward of the ending."""
    n_steps: int = Field(ge=0)
    """Actions."""
    steps: tuple[RecoveryStep, ...]
    """Those."""
    error: str | None = None
    """What the environment raised, if it did."""


def choose_recoveries(
    labelled: Sequence[LabelledSnapshot],
    *,
    order: Order = "L_upper",
    limit: int = 200,
    quadrants: Sequence[Quadrant] = (),
    least: float | None = None,
    seed: int = 0,
) -> list[LabelledSnapshot]:
    """Return the snapshots to recover from, best first.

    Args:
        labelled: snapshots of the label split; others are left out.
        order: order by the lower end of L_upper, by ELP, or by chance.
        limit: most of them.
        quadrants: only these; default all.
        least: smallest lower end of L_upper.
        seed: seed of the order by chance.
    """
    usable = [
        one
        for one in labelled
        if one.error is None
        and one.split in (None, "label")
        and (not quadrants or one.quadrant in quadrants)
        and (least is None or _upper(one) >= least)
    ]
    if order == "random":
        picks = np.random.default_rng(seed).permutation(len(usable)).tolist()
        return [usable[i] for i in picks[:limit]]
    worth = _upper if order == "L_upper" else _payoff
    return sorted(usable, key=lambda one: (-worth(one), one.snapshot.id))[:limit]


def recover(
    dynamics: Dynamics[S], teacher: Teacher[S], chosen: Sequence[LabelledSnapshot], *, ledger: Ledger | None = None
) -> list[RecoveryTrajectory]:
    """Let the teacher act to the end from each snapshot.

    Raises:
        NotImplementedError: this teacher gives hints and cannot take over.
    """
    return [_recover(dynamics, teacher, one, ledger or Ledger()) for one in chosen]


def recovery_steps(
    recoveries: Sequence[RecoveryTrajectory], *, limit: int = 2000, failures: bool = False
) -> list[tuple[Snapshot, str]]:
    """Return the (moment, action) pairs to learn from, in order, up to a number of steps.

    Args:
        recoveries: what the teacher did.
        limit: most steps.
        failures: take those of failed recoveries too.
    """
    pairs = []
    for one in recoveries:
        if one.error is None and (one.success or failures):
            pairs += [(_as_snapshot(one, step), step.action) for step in one.steps]
    return pairs[:limit]


def _recover(dynamics: Dynamics[S], teacher: Teacher[S], one: LabelledSnapshot, ledger: Ledger) -> RecoveryTrajectory:
    state = dynamics.decode(one.snapshot.state_bytes)
    steps: list[RecoveryStep] = []
    success, reward, error = False, 0.0, None
    while dynamics.steps_left(state) > 0:
        (action,) = teacher.act([state])
        ledger.teacher_calls += 1
        ledger.environment_steps += 1
        try:
            view = guarded_view(dynamics, state)
            end = guarded_step(dynamics, state, action)
        except DynamicsError as failure:
            error = str(failure)
            break
        steps.append(
            RecoveryStep(
                t=len(steps),
                state=base64.b64encode(dynamics.encode(state)).decode(),
                observation=view.observation,
                valid_actions=view.actions,
                action=action,
                reward=end.reward if end.ended else 0.0,
                done=end.ended,
            )
        )
        state = end.state
        if end.ended:
            success, reward = end.success, end.reward
            break
    upper = one.values.L_upper if one.values else None
    return RecoveryTrajectory(
        snapshot_id=one.snapshot.id,
        task_id=one.snapshot.task,
        group=one.snapshot.group,
        instruction=one.snapshot.instruction,
        quadrant=one.quadrant,
        L_upper=(upper.low, upper.estimate) if upper else None,
        ELP=one.patches.elp.estimate if one.patches else None,
        expert=teacher.name,
        success=success,
        total_reward=reward,
        n_steps=len(steps),
        steps=tuple(steps),
        error=error,
    )


def _as_snapshot(one: RecoveryTrajectory, step: RecoveryStep) -> Snapshot:
    state = base64.b64decode(step.state, validate=True)
    return Snapshot(
        id=snapshot_id(state),
        task=one.task_id,
        group=one.group,
        trajectory_id=f"recovery-{one.snapshot_id}",
        step=step.t,
        state=step.state,
        instruction=one.instruction,
        observation=step.observation,
        actions=step.valid_actions,
        taken=step.action,
        reward_at_end=one.total_reward,
        outcome="success" if one.success else "failure",
        mined_by="recovery",
        before_end=one.n_steps - step.t,
    )


def _upper(one: LabelledSnapshot) -> float:
    upper = one.values.L_upper if one.values else None
    return upper.low if upper else float("-inf")


def _payoff(one: LabelledSnapshot) -> float:
    return one.patches.elp.estimate if one.patches else float("-inf")
