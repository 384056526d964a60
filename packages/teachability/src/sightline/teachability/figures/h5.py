"""H5: success rises without what could be done before being lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sightline.teachability.evaluation.records import OverallRow, RetentionRow
from sightline.teachability.figures.finding import Finding, Verdict, excludes, interval_text, p_text
from sightline.teachability.statistics import Estimate
from sightline.teachability.tables import Table

CLAIM = "Training on moments raises success without losing what the student could do."
WORTH = 0.03
MOST_LOST = 0.1
"""Drop on the retention tasks that counts as forgetting."""


def analyse_h5(overall: Sequence[OverallRow], retention: Sequence[RetentionRow]) -> Finding:
    """Return the finding over all trained models: does any gain, adjusted for their number, and keep?"""
    kept = {row.model: row for row in retention}
    trained = [row for row in overall if row.delta is not None]
    good = [
        row
        for row in trained
        if (row.delta or 0) > 0
        and (row.p_holm or 1.0) < 0.05
        and row.model in kept
        and kept[row.model].drop_high < MOST_LOST
    ]
    verdict: Verdict = "cannot tell"
    if good:
        verdict = "supported"
    elif trained and all(excludes(row.delta_high or 0.0, worth=WORTH, count=row.n) for row in trained):
        verdict = "not supported"
    best = max(trained, key=lambda row: row.delta or 0.0, default=None)
    sentence = "No trained model was evaluated."
    if best is not None:
        gain = Estimate(best.delta or 0.0, best.delta_low or 0.0, best.delta_high or 0.0)
        sentence = (
            f"Best of {len(trained)}: {best.model}, {interval_text(gain, points=True)} points of success (adjusted "
            f"{p_text(best.p_holm if best.p_holm is not None else 1)})"
        )
        if best.model in kept:
            row = kept[best.model]
            drop = Estimate(row.retention_drop, row.drop_low, row.drop_high)
            sentence += f", retention drop {interval_text(drop, points=True)} points"
        sentence += f"; {len(good)} models gain and keep."
        if best.smallest_effect is not None:
            sentence += f" A difference of {100 * best.smallest_effect:.1f} points would have been found 4 times of 5."
    rows = tuple(
        (
            row.model, row.n, row.success_rate, row.success_low, row.success_high,
            row.delta, row.delta_low, row.delta_high, row.p_holm, row.positive_flips, row.negative_flips,
            row.smallest_effect, kept[row.model].retention_drop if row.model in kept else None,
            "yes" if row.collapsed else "",
        )
        for row in overall
    )  # fmt: skip
    columns = (
        "model", "tasks", "success", "low", "high", "difference", "low", "high", "p (Holm)", "won", "lost",
        "would be seen", "retention drop", "collapsed",
    )  # fmt: skip
    return Finding("H5", CLAIM, verdict, sentence, Table("H5: success and retention", columns, rows))


def draw_h5(overall: Sequence[OverallRow], retention: Sequence[RetentionRow]) -> Any:
    """Draw gain against retention drop, and retention sorted by model."""
    from sightline.teachability.figures.style import new_figure

    figure, (frontier, curve) = new_figure(2)
    kept = {row.model: row for row in retention}
    for row in overall:
        if row.delta is None or row.model not in kept:
            continue
        x, y = 100 * kept[row.model].retention_drop, 100 * row.delta
        frontier.errorbar(
            x, y, yerr=[[y - 100 * (row.delta_low or 0)], [100 * (row.delta_high or 0) - y]], fmt="o", markersize=4,
            color="#0072b2", ecolor="#cccccc",
        )  # fmt: skip
        frontier.annotate(row.model, (x, y), fontsize=6, xytext=(3, 3), textcoords="offset points")
    frontier.axhline(0, color="black", linewidth=0.6)
    frontier.axvline(100 * MOST_LOST, color="#d55e00", linewidth=0.8, linestyle="--")
    frontier.set_xlabel("retention drop, points")
    frontier.set_ylabel("success minus base, points")
    ordered = sorted(retention, key=lambda row: -row.retention_success_rate)
    curve.plot(range(len(ordered)), [100 * row.retention_success_rate for row in ordered], marker="o", markersize=3)
    curve.set_xticks(range(len(ordered)), [row.model for row in ordered], rotation=90, fontsize=6)
    curve.set_ylabel("success on the retention tasks, %")
    curve.set_ylim(0, 100)
    return figure
