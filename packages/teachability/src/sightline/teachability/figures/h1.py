"""H1: what a moment is worth depends on where it stands in the map of uncertainty and leverage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sightline.teachability.figures.finding import Finding, Verdict, p_text
from sightline.teachability.labels.quadrants import Thresholds
from sightline.teachability.records import QUADRANTS, LabelledSnapshot
from sightline.teachability.statistics import cluster_mean, permute_clusters
from sightline.teachability.tables import Table

CLAIM = "What a moment is worth differs between the quadrants of uncertainty and leverage."

_PERMUTATIONS = 2000
_SMALLEST = 40

WORTH = 0.02
"""Difference of payoffs that would matter."""


def analyse_h1(labelled: Sequence[LabelledSnapshot], *, patches_work: bool = True, seed: int = 0) -> Finding:
    """Return the finding: quadrants' mean payoff, and whether quadrant labels of groups can be exchanged.

    Args:
        labelled: snapshots with quadrants.
        patches_work: whether teaching texts mean something to the student; if not, the payoff is the gain of a small
            learning step (s2) in place of ELP.
        seed: seed of bootstrap and permutations.
    """
    usable = [one for one in labelled if one.quadrant in QUADRANTS and payoff(one, patches_work) is not None]
    values = np.array([payoff(one, patches_work) for one in usable], dtype=np.float64)
    places = np.array([QUADRANTS.index(one.quadrant) for one in usable if one.quadrant in QUADRANTS], dtype=np.int64)
    what = "ELP" if patches_work else "s2"
    rows = []
    for index, quadrant in enumerate(QUADRANTS):
        inside = [one for one, place in zip(usable, places, strict=True) if place == index]
        mean = cluster_mean(values[places == index], [one.snapshot.group for one in inside], seed=seed)
        shares = [
            sum(one.patches is not None and one.patches.route == f for one in inside)
            for f in ("demo", "contrast", "hint")
        ]
        rows.append((quadrant, len(inside), mean.value, mean.low, mean.high, *shares))
    groups = [one.snapshot.group for one in usable]
    enough = len(usable) >= 2 * _SMALLEST
    p = _permutation_p(values, places, groups, seed) if enough else math.nan
    filled = [row for row in rows if row[1]]
    verdict: Verdict = "cannot tell"
    if enough and p < 0.05:
        verdict = "supported"
    elif enough and max(row[4] for row in filled) - min(row[3] for row in filled) < WORTH:
        verdict = "not supported"
    sentence = f"Only {len(usable)} moments have a quadrant and {what}; {2 * _SMALLEST} are needed."
    if enough:
        spread = max(row[2] for row in filled) - min(row[2] for row in filled)
        sentence = (
            f"Mean {what} of the quadrants spreads over {spread:.3f} in {len(usable)} moments; with quadrants "
            f"exchanged between groups {p_text(p)}."
        )
    columns = ("quadrant", "moments", f"mean {what}", "low", "high", "route demo", "route contrast", "route hint")
    return Finding("H1", CLAIM, verdict, sentence, Table(f"H1: {what} by quadrant", columns, tuple(rows)))


def payoff(one: LabelledSnapshot, patches_work: bool) -> float | None:
    """Return what a moment is worth: ELP, or the gain of a small learning step."""
    if patches_work:
        return one.patches.elp.estimate if one.patches else None
    return one.first_order.supervised if one.first_order else None


def draw_h1(labelled: Sequence[LabelledSnapshot], thresholds: Thresholds, *, patches_work: bool = True) -> Any:
    """Draw the map, coloured by payoff with L's intervals, beside the payoffs of each quadrant."""
    from sightline.teachability.figures.style import COLOURS, NAMES, new_figure

    figure, (chart, violins) = new_figure(2)
    points = [
        (one.uncertainty.entropy_normalised, one.values.L_local, payoff(one, patches_work), one.quadrant)
        for one in labelled
        if one.uncertainty and one.values
    ]
    what = "ELP" if patches_work else "s2"
    for u, lead, _, _ in points:
        chart.plot([u, u], [lead.low, lead.high], color="#dddddd", linewidth=0.8, zorder=1)
    known = [(u, lead.estimate, worth) for u, lead, worth, _ in points if worth is not None]
    if known:
        drawn = chart.scatter(
            [u for u, _, _ in known],
            [lead for _, lead, _ in known],
            c=[worth for _, _, worth in known],
            cmap="viridis",
            s=12,
            zorder=2,
        )
        figure.colorbar(drawn, ax=chart, label=what)
    chart.axvline(thresholds.u, color="black", linewidth=0.8)
    chart.axhline(thresholds.l_local, color="black", linewidth=0.8)
    chart.set_xlabel("U: normalised entropy of the student")
    chart.set_ylabel("L_local: what the teacher's action adds")
    for place, quadrant in enumerate(QUADRANTS):
        values = [worth for _, _, worth, of in points if of == quadrant and worth is not None]
        if len(values) > 1:
            (body,) = violins.violinplot([values], positions=[place], showmedians=True)["bodies"]
            body.set_facecolor(COLOURS[quadrant])
    violins.axhline(0, color="black", linewidth=0.8)
    violins.set_xticks(range(len(QUADRANTS)), [NAMES[one] for one in QUADRANTS], rotation=15)
    violins.set_ylabel(what)
    return figure


def _permutation_p(values: np.ndarray, places: np.ndarray, groups: Sequence[str], seed: int) -> float:
    """Permutation test of the F statistic of a one-way layout."""
    generator = np.random.default_rng(seed)

    def between(labels: np.ndarray) -> float:
        counts = np.bincount(labels, minlength=len(QUADRANTS))
        sums = np.bincount(labels, weights=values, minlength=len(QUADRANTS))
        filled = counts > 0
        return float((sums[filled] ** 2 / counts[filled]).sum())

    observed = between(places) - 1e-12
    exceeding = sum(between(permute_clusters(places, groups, generator)) >= observed for _ in range(_PERMUTATIONS))
    return (exceeding + 1) / (_PERMUTATIONS + 1)
