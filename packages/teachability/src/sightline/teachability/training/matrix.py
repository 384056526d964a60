"""The training matrix: every quadrant in every format, two baselines, several seeds. Knows nothing of what trains.

All cells learn from equally many snapshots, so that a difference is one of kind and not of number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sightline.teachability.protocols import Fitted, Learner
from sightline.teachability.records import (
    PATCH_FORMATS,
    QUADRANTS,
    LabelledSnapshot,
    PatchFormat,
    Quadrant,
    Snapshot,
    TeacherHint,
)
from sightline.teachability.training.examples import ExampleBuilder, draw_replay
from sightline.teachability.training_records import Example, LearnerConfig, RunPlan, RunRecord

AuditFn = Callable[[Sequence[Example]], None]
"""Raises `AuditError` where examples would teach a dead end."""


def trainable(labelled: Sequence[LabelledSnapshot], *, improving_only: bool = False) -> list[LabelledSnapshot]:
    """Return what may be trained on: measured, in the label split or none, with a hint that does not harm.

    Args:
        labelled: labelled snapshots.
        improving_only: keep only hints that certainly improve the student; this empties the quadrants of low leverage.
    """
    return [
        one
        for one in labelled
        if isinstance(one.hint, TeacherHint)
        and one.values is not None
        and one.error is None
        and one.split in (None, "label")
        and (one.grade == "improves" if improving_only else one.grade != "harmful")
    ]


def plan_matrix(
    labelled: Sequence[LabelledSnapshot],
    *,
    seeds: Sequence[int],
    smallest: int = 40,
    largest: int | None = None,
    formats: Sequence[PatchFormat] = PATCH_FORMATS,
) -> list[RunPlan]:
    """Return the runs: quadrant x format, B1 (as many, drawn from all) and B2 (all), for every seed.

    Args:
        labelled: snapshots with quadrants; those that `trainable` leaves out are left out.
        seeds: training seeds; each draws its own sample.
        smallest: snapshots that a quadrant needs; cells of one with fewer are reported empty.
        largest: most snapshots of a run, B2 aside.
        formats: the columns.
    """
    usable = sorted(trainable(labelled), key=lambda one: one.snapshot.id)
    members: dict[Quadrant, list[str]] = {
        quadrant: [one.snapshot.id for one in usable if one.quadrant == quadrant] for quadrant in QUADRANTS
    }
    everything = [one.snapshot.id for one in usable if one.quadrant in QUADRANTS]
    full = [len(ids) for ids in members.values() if len(ids) >= smallest]
    size = min([*full, largest or len(usable)], default=0)
    runs = []
    for seed in seeds:
        for quadrant, ids in members.items():
            lacking = f"{len(ids)} snapshots, fewer than {smallest}" if len(ids) < smallest else None
            for format_ in formats:
                chosen = () if lacking else _draw(ids, size, seed)
                run_id = f"{quadrant}_{format_}_s{seed}"
                runs.append(
                    RunPlan(
                        run_id=run_id,
                        quadrant=quadrant,
                        format=format_,
                        seed=seed,
                        snapshot_ids=chosen,
                        empty=lacking,
                    )
                )
        for name, chosen in (("B1_uniform", _draw(everything, size, seed)), ("B2_all", tuple(everything))):
            lacking = None if chosen else "no snapshots at all"
            runs.append(
                RunPlan(
                    run_id=f"{name}_s{seed}",
                    quadrant=None,
                    format="demo",
                    seed=seed,
                    snapshot_ids=chosen,
                    empty=lacking,
                )
            )
    return runs


def _draw(ids: Sequence[str], size: int, seed: int) -> tuple[str, ...]:
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
    return tuple(sorted(ids[i] for i in generator.permutation(len(ids))[:size].tolist()))


@dataclass(frozen=True)
class Workshop:
    """What every run shares."""

    builder: ExampleBuilder
    """Makes examples."""
    learner: Learner
    """Trains."""
    replay: Sequence[Snapshot]
    """States of the student's successes."""
    replay_share: float = 1.0
    """Replayed states for each correction."""
    audit: AuditFn | None = None
    """Looks at a run's examples before it trains."""

    def train(self, corrections: Sequence[Example], *, seed: int, config: LearnerConfig | None = None) -> Fitted:
        """Train on corrections with their share of replay, drawn from other groups than theirs.

        Raises:
            AuditError: the examples would teach a dead end.
        """
        groups = {example.group for example in corrections}
        count = round(self.replay_share * len(corrections))
        examples = [
            *corrections,
            *self.builder.replays(draw_replay(self.replay, count, seed=seed, exclude=groups)),
        ]
        if self.audit:
            self.audit(examples)
        return self.learner.fit(examples, seed=seed, config=config)


def run_matrix(
    plans: Sequence[RunPlan], labelled: Sequence[LabelledSnapshot], workshop: Workshop, folder: Path
) -> Iterator[tuple[RunRecord, Fitted]]:
    """Train the runs one after the other and yield each with its student.

    Args:
        plans: what to train; empty cells are passed over, so leave out what has been done.
        labelled: all snapshots that the plans name.
        workshop: what the runs share.
        folder: where adapters go, one folder a run.

    Raises:
        AuditError: a run's examples would teach a dead end.
    """
    by_id = {one.snapshot.id: one for one in labelled}
    for plan in plans:
        if plan.empty:
            continue
        chosen = [by_id[name] for name in plan.snapshot_ids]
        corrections = workshop.builder.corrections(chosen, [plan.format] * len(chosen))
        fitted = workshop.train(corrections, seed=plan.seed)
        fitted.save(folder / plan.run_id)
        yield RunRecord(plan=plan, report=fitted.report, folder=plan.run_id), fitted
