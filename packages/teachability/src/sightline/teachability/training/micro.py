"""Micro-training: a few steps on one snapshot, and what they change there, beside it and elsewhere.

The outcomes are exact or nearly: a change of one distribution weighed with known values, not a handful of episodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sightline.teachability.protocols import ActionPolicy, Dynamics, Learner, S, ask_policy
from sightline.teachability.records import PATCH_FORMATS, LabelledSnapshot, PatchFormat, Record, Snapshot, TeacherHint
from sightline.teachability.training.examples import ExampleBuilder
from sightline.teachability.training_records import LearnerConfig, MicroRow
from sightline.teachability.views import StateView

_SMALLEST = 1e-12


class MicroSettings(Record):
    """What is tried on each snapshot."""

    learning_rates: tuple[float, ...] = (3e-4, 1e-3)
    """A ladder; too small a step changes nothing and too large a one everything."""
    seeds: tuple[int, ...] = (0, 1)
    """Of the adapters."""
    steps: int = Field(2, ge=1)
    """Optimiser steps."""
    siblings: int = Field(8, ge=0)
    """Most moments of other groups with the same mistake."""
    formats: tuple[PatchFormat, ...] = PATCH_FORMATS
    """What is tried; the snapshot's route is marked."""


class MicroTrainer(Generic[S]):
    """Trains on single snapshots.

    Args:
        dynamics: the environment, to see states again.
        builder: makes examples.
        learner: trains; its settings hold but for rate, steps and batch.
        config: the learner's settings.
        base: the student before training.
        retention: moments of successes, at which nothing should change.
        settings: what is tried.
    """

    def __init__(
        self,
        dynamics: Dynamics[S],
        builder: ExampleBuilder[S],
        learner: Learner,
        config: LearnerConfig,
        base: ActionPolicy,
        *,
        retention: Sequence[Snapshot],
        settings: MicroSettings | None = None,
    ) -> None:
        self._dynamics = dynamics
        self._builder = builder
        self._learner = learner
        self._config = config
        self._settings = settings or MicroSettings()
        self._base = base
        self._retention = [self._view(one) for one in retention]
        self._kept = ask_policy(base, self._retention)

    def measure(self, one: LabelledSnapshot, pool: Sequence[LabelledSnapshot]) -> list[MicroRow]:
        """Return a row per format, rate and seed.

        Args:
            one: a snapshot with hint, uncertainty and values.
            pool: labelled snapshots among which siblings are looked for.

        Raises:
            ValueError: the snapshot lacks something.
        """
        hint, values, unsure = one.hint, one.values, one.uncertainty
        if not isinstance(hint, TeacherHint) or values is None or values.Q is None or unsure is None:
            raise ValueError(f"snapshot {one.snapshot.id} needs a hint, an uncertainty and values of all actions")
        siblings = find_siblings(one, pool, self._settings.siblings)
        views = [self._view(one.snapshot), *(self._view(other.snapshot) for other in siblings)]
        targets = [view.actions.index(_action(other)) for view, other in zip(views, [one, *siblings], strict=True)]
        before = ask_policy(self._base, views)
        q = np.array([bound.estimate for bound in values.Q])
        rows = []
        for format_ in self._settings.formats:
            (example,) = self._builder.corrections([one], [format_])
            for rate in self._settings.learning_rates:
                config = self._config.model_copy(
                    update={"learning_rate": rate, "epochs": self._settings.steps, "batch_size": 1}
                )
                for seed in self._settings.seeds:
                    fitted = self._learner.fit([example], seed=seed, config=config)
                    after = ask_policy(fitted.policy, [*views, *self._retention])
                    changes = [_log_change(*of_view) for of_view in zip(before, after, targets, strict=False)]
                    kept = after[len(views) :]
                    drift = [_divergence(*pair) for pair in zip(self._kept, kept, strict=True)]
                    rows.append(
                        MicroRow(
                            snapshot_id=one.snapshot.id,
                            group=one.snapshot.group,
                            quadrant=one.quadrant,
                            format=format_,
                            learning_rate=rate,
                            seed=seed,
                            elp=one.patches.elp.estimate if one.patches else None,
                            route=one.patches is not None and one.patches.route == format_,
                            log_probability=changes[0],
                            first_step_gain=float((after[0] - before[0]) @ q),
                            siblings=float(np.mean(changes[1:])) if siblings else None,
                            sibling_count=len(siblings),
                            retention=float(np.mean(drift)) if drift else None,
                            loss=fitted.report.first_loss,
                        )
                    )
        return rows

    def _view(self, snapshot: Snapshot) -> StateView:
        return self._dynamics.view(self._dynamics.decode(snapshot.state_bytes))


def find_siblings(one: LabelledSnapshot, pool: Sequence[LabelledSnapshot], count: int) -> list[LabelledSnapshot]:
    """Return moments of other groups with the same mistake, on the same kind of page first, then by id."""
    if not isinstance(one.hint, TeacherHint):
        return []
    same = [
        other
        for other in pool
        if isinstance(other.hint, TeacherHint)
        and other.snapshot.group != one.snapshot.group
        and other.hint.error_type == one.hint.error_type
        and other.error is None
    ]
    same.sort(key=lambda other: (other.snapshot.kind != one.snapshot.kind, other.snapshot.id))
    return same[:count]


def _action(one: LabelledSnapshot) -> str:
    action = one.teacher_action
    if action is None:
        raise ValueError(f"snapshot {one.snapshot.id} has no hint")
    return action


def _log_change(before: NDArray[np.float64], after: NDArray[np.float64], target: int) -> float:
    return math.log(max(float(after[target]), _SMALLEST)) - math.log(max(float(before[target]), _SMALLEST))


def _divergence(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return KL(before || after)."""
    held = before > 0
    return float((before[held] * np.log(before[held] / np.maximum(after[held], _SMALLEST))).sum())
