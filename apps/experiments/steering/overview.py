"""The first screen of the report: which method finds the right source, by the quality of steering."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from experiments.steering.findings import COSINE, SOFT_FILTER, UNSTEERED_ADAPTER, DataFindings
from experiments.steering.methods import DEFAULT_WITH_BM25, PLAIN, ROUTED, SCORER
from experiments.steering.plots import steering_quality
from lab.figures import save_figure
from lab.palette import COLOURS
from lab.report import Section
from sightline.agents import Table
from sightline.agents.evaluation import Interval, resampled_by, show_interval

QUALITIES: Final = ("none", "unreliable", "keywords", "category")
"""Modes from the poorest steering to the best."""
HARD_FILTER: Final = f"{UNSTEERED_ADAPTER}, hard filter"
"""Method that searches the given category alone, wherever there is one."""
_FILTERED: Final = {"unreliable": "filter, unreliable", "category": "filter, category"}


def overview_section(plots: Path, findings: Sequence[DataFindings]) -> Section:
    """Return the main figure and the main table; the figure is written into a folder now."""
    curves: dict[str, dict[str, list[float]]] = {
        found.data.name: {method: [_mrr(found, method, mode) for mode in QUALITIES] for method in methods(found)}
        for found in findings
    }
    labels: dict[str, list[str]] = {
        found.data.name: [found.data.label_of(mode) for mode in QUALITIES] for found in findings
    }
    named = (*_compared(findings), ROUTED, PLAIN)[: len(COLOURS)]
    figure = save_figure(steering_quality(curves, labels, named), plots / "steering-quality.svg")
    return Section("Which method finds the right source", (_caution(findings),), (main_table(findings),), (figure,))


def main_table(findings: Sequence[DataFindings]) -> Table:
    """Return, for every data set and kind of steering, the best method beside the scorer and what it has to beat."""
    shown = _compared(findings)
    rows, intervals = [], []
    for found in findings:
        for mode in QUALITIES:
            best = max(methods(found), key=lambda method: np.nan_to_num(_mrr(found, method, mode)))
            leading = _interval(found, best, mode)
            intervals.append(leading)
            values = (_mrr(found, method, mode) for method in shown)
            rows.append(
                (
                    found.data.name,
                    found.data.label_of(mode),
                    found.preferred(mode),
                    best,
                    "" if leading is None else show_interval(leading, ".3f"),
                    *(f"{value:.3f}" if np.isfinite(value) else "" for value in values),
                )
            )
    return Table(
        columns=("data", "steering", "best on validation", "best on test", "its MRR", *shown),
        rows=tuple(rows),
        caption="Means over test questions and training seeds; brackets hold 95 % bootstrap intervals over "
        f"{resampled_by(intervals)}. The best of many on test is flattered; the best on validation is the one to take.",
    )


def _compared(findings: Sequence[DataFindings]) -> tuple[str, ...]:
    """Return what is shown of every data set: the default, the scorer, and what they have to beat."""
    defaults = dict.fromkeys((findings[0].default, DEFAULT_WITH_BM25))
    return (*defaults, SCORER, SOFT_FILTER, HARD_FILTER, "BM25", COSINE)


def methods(found: DataFindings) -> list[str]:
    """Return the methods to compare: no parts of an ablation, and the hard filter as one of its own."""
    names = [name for name in found.scores.values if not name.startswith(f"{PLAIN}, ")]
    return [*names, *([HARD_FILTER] if UNSTEERED_ADAPTER in names else [])]


def _interval(found: DataFindings, method: str, mode: str) -> Interval | None:
    if method != HARD_FILTER:
        return found.interval(method, mode) if method in found.scores.values else None
    return found.interval(UNSTEERED_ADAPTER, _FILTERED[mode]) if mode in _FILTERED else None


def _mrr(found: DataFindings, method: str, mode: str) -> float:
    """Return a mean reciprocal rank; NaN where the method has none under the mode."""
    interval = _interval(found, method, mode)
    return float("nan") if interval is None else interval.value


def _caution(findings: Sequence[DataFindings]) -> str:
    """Say where the category is the answer's own."""
    oracles = [found.data.name for found in findings if found.data.is_oracle]
    if not oracles:
        return "No data set takes its categories from the answers alone."
    return (
        f"Of {', '.join(oracles)}, every question's category is that of its answer: an oracle, and a bound from above. "
        "Keywords and unreliable categories are nearer to what somebody who asks can give."
    )
