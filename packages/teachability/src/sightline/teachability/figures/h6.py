"""H6: a cheap predictor ranks moments well, and better than what is free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.teachability.figures.finding import Finding, decide, interval_text
from sightline.teachability.predictor.ranking import (
    auroc,
    average_precision,
    calibration_error,
    ndcg_at_k,
    precision_at_k,
    top_k_overlap,
)
from sightline.teachability.statistics import cluster_bootstrap, kendall, spearman
from sightline.teachability.tables import Cell, Table

CLAIM = "A predictor from cheap features ranks moments by their payoff better than uncertainty and other free scores."
WORTH = 0.05
"""Lead in rank correlation that would matter."""

PREDICTOR = "predictor"
_CUTS = (10, 50)
_SMALLEST = 40


def analyse_h6(
    scores: Mapping[str, ArrayLike],
    payoffs: ArrayLike,
    groups: Sequence[str],
    *,
    free: Sequence[str],
    seed: int = 0,
    draws: int = 2000,
) -> Finding:
    """Return the finding: rank correlation of the predictor minus that of the best free score, groups resampled.

    Args:
        scores: per name, [N]; `predictor` out of fold, and rivals.
        payoffs: [N] measured ELP.
        groups: [N] group of each moment.
        free: names of scores that need no labels; the best of them is the rival. Scores that need labels (s1, s2) are
            in the table only.
        seed: seed of the bootstrap.
        draws: its resamples.
    """
    truth = np.asarray(payoffs, dtype=np.float64)
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    rows = tuple(_row(name, values, truth, groups, seed, draws) for name, values in arrays.items())
    names = [name for name in free if name in arrays]

    def lead(index: NDArray[np.int64]) -> float:
        rivals = [spearman(arrays[name][index], truth[index]) for name in names]
        rivals = [one for one in rivals if not math.isnan(one)]
        own = spearman(arrays[PREDICTOR][index], truth[index])
        return own - max(rivals, default=0.0)

    found = cluster_bootstrap(lead, groups, seed=seed, draws=draws)
    best = max(names, key=lambda name: _known(spearman(arrays[name], truth)), default="nothing")
    own = spearman(arrays[PREDICTOR], truth)
    sentence = (
        f"Rank correlation with ELP over {len(truth)} moments: predictor {own:.3f}, best free score ({best}) "
        f"{_known(spearman(arrays[best], truth)) if best in arrays else 0.0:.3f}; lead {interval_text(found)}."
    )
    columns = (
        "score", "Spearman", "low", "high", "Kendall", *(f"NDCG@{k}" for k in _CUTS),
        *(f"precision@{k}" for k in _CUTS), *(f"overlap@{k}" for k in _CUTS), "AUROC", "AUPRC",
    )  # fmt: skip
    verdict = decide(found, worth=WORTH) if len(truth) >= _SMALLEST else "cannot tell"
    return Finding("H6", CLAIM, verdict, sentence, Table("H6: ranking of moments", columns, rows))


def draw_h6(scores: Mapping[str, ArrayLike], payoffs: ArrayLike) -> Any:
    """Draw NDCG against k for all scores, and how predicted payoffs agree with measured ones."""
    from sightline.teachability.figures.style import new_figure

    truth = np.asarray(payoffs, dtype=np.float64)
    figure, (curve, reliability) = new_figure(2)
    cuts = [k for k in (5, 10, 20, 30, 50, 75, 100, 150, 200, 300) if k <= len(truth)] or [len(truth)]
    for name, values in scores.items():
        curve.plot(
            cuts, [ndcg_at_k(values, truth, k) for k in cuts], label=name, linewidth=2 if name == PREDICTOR else 1
        )
    curve.set_xlabel("k")
    curve.set_ylabel("NDCG@k")
    curve.legend(frameon=False, fontsize=7)
    guess = np.asarray(scores[PREDICTOR], dtype=np.float64)
    parts = [part for part in np.array_split(np.argsort(guess, kind="stable"), 10) if len(part)]
    reliability.plot([guess[part].mean() for part in parts], [truth[part].mean() for part in parts], marker="o")
    ends = [float(min(guess.min(), truth.min())), float(max(guess.max(), truth.max()))]
    reliability.plot(ends, ends, color="black", linewidth=0.6)
    reliability.set_xlabel("predicted ELP")
    reliability.set_ylabel(f"measured ELP (calibration error {calibration_error(guess, truth):.3f})")
    return figure


def _row(
    name: str, values: NDArray[np.float64], truth: NDArray[np.float64], groups: Sequence[str], seed: int, draws: int
) -> tuple[Cell, ...]:
    found = cluster_bootstrap(lambda rows: spearman(values[rows], truth[rows]), groups, seed=seed, draws=draws)
    positive = truth > 0
    return (
        name,
        found.value,
        found.low,
        found.high,
        kendall(values, truth),
        *(ndcg_at_k(values, truth, k) for k in _CUTS),
        *(precision_at_k(values, positive, k) for k in _CUTS),
        *(top_k_overlap(values, truth, k) for k in _CUTS),
        auroc(values, positive),
        average_precision(values, positive),
    )


def _known(number: float) -> float:
    return -math.inf if math.isnan(number) else number
