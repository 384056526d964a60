"""What training on one quadrant does to another: quadrant x format against quadrant, paired by moment with the base."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sightline.teachability.evaluation.records import EpisodeRow, TransferRow
from sightline.teachability.records import QUADRANTS, Quadrant
from sightline.teachability.statistics import cluster_mean
from sightline.teachability.training_records import RunPlan

Moment = tuple[str, str]
"""A snapshot's id and its group."""


def moment_means(rows: Sequence[EpisodeRow], quadrant: Quadrant) -> dict[Moment, float]:
    """Return the success from each panel moment of a quadrant, averaged over seeds."""
    found: dict[Moment, list[bool]] = defaultdict(list)
    for row in rows:
        if row.quadrant == quadrant and row.outcome != "error":
            found[str(row.snapshot_id), row.group].append(row.success)
    return {key: sum(wins) / len(wins) for key, wins in found.items()}


def transfer_matrix(
    rows: Sequence[EpisodeRow], plans: Mapping[str, RunPlan], *, base: str, seed: int = 0
) -> list[TransferRow]:
    """Return a row per cell of the training matrix and quadrant of the panel, training seeds averaged.

    Args:
        rows: episodes from the panel, of the base and of the runs.
        plans: the plan of each model.
        base: the model before training.
        seed: seed of the bootstrap.
    """
    by_model: dict[str, list[EpisodeRow]] = defaultdict(list)
    for row in rows:
        if row.dataset == "panel":
            by_model[row.model].append(row)
    cells: dict[str, list[str]] = defaultdict(list)
    for model, plan in plans.items():
        if model in by_model:
            cells[plan.run_id.rpartition("_s")[0]].append(model)
    found = []
    for cell, models in cells.items():
        plan = plans[models[0]]
        for quadrant in QUADRANTS:
            before = moment_means(by_model[base], quadrant)
            after = moment_means([row for model in models for row in by_model[model]], quadrant)
            shared = [key for key in before if key in after]
            if not shared:
                continue
            deltas = [after[key] - before[key] for key in shared]
            interval = cluster_mean(deltas, [group for _, group in shared], seed=seed)
            found.append(
                TransferRow(
                    model=cell,
                    train_quadrant=plan.quadrant,
                    supervision=plan.format,
                    eval_quadrant=quadrant,
                    n=len(shared),
                    success_rate=sum(after[key] for key in shared) / len(shared),
                    base_success=sum(before[key] for key in shared) / len(shared),
                    delta_success=interval.value,
                    delta_low=interval.low,
                    delta_high=interval.high,
                )
            )
    return found
