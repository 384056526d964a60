"""H4: training on one quadrant helps there more than elsewhere."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sightline.teachability.evaluation.records import EpisodeRow, TransferRow
from sightline.teachability.evaluation.transfer import moment_means
from sightline.teachability.figures.finding import Finding, decide, interval_text
from sightline.teachability.records import QUADRANTS
from sightline.teachability.statistics import Estimate, cluster_mean
from sightline.teachability.tables import Table
from sightline.teachability.training_records import RunPlan

CLAIM = "Training on a quadrant helps in that quadrant more than training on the others does."
WORTH = 0.02
"""Difference of success that would matter."""


def analyse_h4(
    episodes: Sequence[EpisodeRow], plans: Mapping[str, RunPlan], transfer: Sequence[TransferRow], *, seed: int = 0
) -> Finding:
    """Return the finding: success on a moment under runs of its own quadrant minus that under runs of others.

    Args:
        episodes: episodes from the panel, by model.
        plans: the plan of each model.
        transfer: the matrix, for the table.
        seed: seed of the bootstrap.
    """
    lead, count = own_lead(episodes, plans, seed=seed)
    sentence = (
        f"Own quadrant minus other quadrants, paired by moment: {interval_text(lead, points=True)} points of success."
    )
    if math.isnan(lead.value):
        sentence = "No moment of the panel was tried both under runs of its own and of another quadrant."
    rows = tuple(
        (
            row.model,
            row.eval_quadrant,
            row.n,
            row.success_rate,
            row.base_success,
            row.delta_success,
            row.delta_low,
            row.delta_high,
        )
        for row in transfer
    )
    columns = ("trained on", "tried on", "moments", "success", "base", "difference", "low", "high")
    return Finding("H4", CLAIM, decide(lead, worth=WORTH, count=count), sentence, Table("H4: transfer", columns, rows))


def own_lead(episodes: Sequence[EpisodeRow], plans: Mapping[str, RunPlan], *, seed: int = 0) -> tuple[Estimate, int]:
    """Return the mean lead of runs of the moment's own quadrant over runs of others, and the number of moments.

    Groups are resampled.
    """
    by_model: dict[str, list[EpisodeRow]] = defaultdict(list)
    for row in episodes:
        if row.dataset == "panel" and row.model in plans and plans[row.model].quadrant is not None:
            by_model[row.model].append(row)
    differences, groups = [], []
    for quadrant in QUADRANTS:
        own, others = (
            moment_means(
                [r for m, rows in by_model.items() if (plans[m].quadrant == quadrant) == same for r in rows], quadrant
            )
            for same in (True, False)
        )
        for moment in own:
            if moment in others:
                differences.append(own[moment] - others[moment])
                groups.append(moment[1])
    return cluster_mean(differences, groups, seed=seed), len(differences)


def draw_h4(transfer: Sequence[TransferRow]) -> Any:
    """Draw the transfer matrix as a heat map."""
    from sightline.teachability.figures.style import heat, new_figure

    models = list(dict.fromkeys(row.model for row in transfer))
    values = np.full((len(models), len(QUADRANTS)), np.nan)
    for row in transfer:
        values[models.index(row.model), QUADRANTS.index(row.eval_quadrant)] = row.delta_success
    figure, (axes,) = new_figure(width=5.5, height=1.5 + 0.3 * len(models))
    heat(axes, values, models, list(QUADRANTS), unit="success minus base")
    axes.set_xlabel("tried on")
    return figure
