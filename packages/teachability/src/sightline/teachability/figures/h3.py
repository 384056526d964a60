"""H3: the best format depends on the quadrant."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.figures.finding import Finding, Verdict, p_text
from sightline.teachability.records import PATCH_FORMATS, QUADRANTS
from sightline.teachability.statistics import cluster_mean, permute_clusters
from sightline.teachability.tables import Cell, Table
from sightline.teachability.training_records import MicroRow

CLAIM = "Which format of supervision is best depends on the quadrant."

_PERMUTATIONS = 2000


def format_gains(rows: Sequence[MicroRow]) -> tuple[NDArray[np.float64], list[str], list[str]]:
    """Return [moments, formats] first-step gains over rates and seeds, with quadrants and groups.

    Only moments that were taught in every format, and stand in a quadrant, are kept.
    """
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    where: dict[str, tuple[str, str]] = {}
    for row in rows:
        if row.quadrant in QUADRANTS:
            found[row.snapshot_id][row.format].append(row.first_step_gain)
            where[row.snapshot_id] = (str(row.quadrant), row.group)
    ids = [name for name, of in found.items() if set(of) == set(PATCH_FORMATS)]
    table = np.array([[np.mean(found[name][one]) for one in PATCH_FORMATS] for name in ids], dtype=np.float64)
    return (
        table.reshape(len(ids), len(PATCH_FORMATS)),
        [where[name][0] for name in ids],
        [where[name][1] for name in ids],
    )


def analyse_h3(rows: Sequence[MicroRow], *, seed: int = 0) -> Finding:
    """Return the finding: is there an interaction of quadrant and format beyond what exchanged quadrants show?"""
    gains, quadrants, groups = format_gains(rows)
    table: list[tuple[Cell, ...]] = []
    best: dict[str, str] = {}
    for quadrant in QUADRANTS:
        inside = [i for i, of in enumerate(quadrants) if of == quadrant]
        cells = [
            cluster_mean(gains[inside, j], [groups[i] for i in inside], seed=seed) for j in range(len(PATCH_FORMATS))
        ]
        if inside:
            best[quadrant] = PATCH_FORMATS[int(np.argmax([cell.value for cell in cells]))]
        for format_, cell in zip(PATCH_FORMATS, cells, strict=True):
            table.append((quadrant, format_, len(inside), cell.value, cell.low, cell.high))
    p = _interaction_p(gains, quadrants, groups, seed) if len(gains) >= 20 and len(set(quadrants)) > 1 else math.nan
    verdict: Verdict = "cannot tell"
    if not math.isnan(p):
        verdict = "supported" if p < 0.05 and len(set(best.values())) > 1 else "cannot tell"
    chosen = ", ".join(f"{quadrant} {format_}" for quadrant, format_ in best.items())
    sentence = f"Best format by first-step gain over {len(gains)} moments: {chosen or 'none'}; interaction {p_text(p)}."
    if not math.isnan(p) and p < 0.05 and len(set(best.values())) == 1:
        verdict = "not supported"
        sentence += " The formats differ by more in some quadrants than in others, but the best is the same."
    columns = ("quadrant", "format", "moments", "first-step gain", "low", "high")
    return Finding("H3", CLAIM, verdict, sentence, Table("H3: gain by quadrant and format", columns, tuple(table)))


def draw_h3(rows: Sequence[MicroRow]) -> Any:
    """Draw the 4 x 3 heat map of first-step gains."""
    from sightline.teachability.figures.style import NAMES, heat, new_figure

    gains, quadrants, _ = format_gains(rows)
    table = [
        gains[[i for i, of in enumerate(quadrants) if of == quadrant]].mean(axis=0)
        if quadrant in quadrants
        else np.full(len(PATCH_FORMATS), np.nan)
        for quadrant in QUADRANTS
    ]
    figure, (axes,) = new_figure()
    heat(axes, table, [NAMES[one] for one in QUADRANTS], list(PATCH_FORMATS), unit="first-step gain")
    return figure


def _interaction_p(gains: NDArray[np.float64], quadrants: Sequence[str], groups: Sequence[str], seed: int) -> float:
    """Permutation test: moments' gains, centred by moment and by format, summed by quadrant."""
    residual = gains - gains.mean(axis=1, keepdims=True)
    residual = residual - residual.mean(axis=0)
    labels = np.array([QUADRANTS.index(one) for one in quadrants if one in QUADRANTS], dtype=np.int64)
    generator = np.random.default_rng(seed)

    def statistic(of: NDArray[np.int64]) -> float:
        members = np.eye(len(QUADRANTS))[of]
        counts = np.maximum(members.sum(axis=0), 1)
        return float((((members.T @ residual) ** 2) / counts[:, None]).sum())

    observed = statistic(labels) - 1e-15
    exceeding = sum(statistic(permute_clusters(labels, groups, generator)) >= observed for _ in range(_PERMUTATIONS))
    return (exceeding + 1) / (_PERMUTATIONS + 1)
