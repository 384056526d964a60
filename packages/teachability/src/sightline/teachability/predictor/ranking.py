"""How well scores rank moments. Pure functions of arrays; ties are averaged over, never broken by position."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.teachability.statistics import ranks

Floats = NDArray[np.float64]


def ndcg_at_k(scores: ArrayLike, gains: ArrayLike, k: int) -> float:
    """Return the normalised discounted cumulative gain of the k best-scored, gains below 0 counting as 0.

    Returns:
        From 0 to 1; nan where no gain is positive.
    """
    clipped = np.maximum(np.asarray(gains, dtype=np.float64), 0.0)
    best = _dcg(clipped, clipped, k)
    return _dcg(np.asarray(scores, dtype=np.float64), clipped, k) / best if best > 0 else math.nan


def precision_at_k(scores: ArrayLike, positive: ArrayLike, k: int) -> float:
    """Return the expected share of positives among the k best-scored, ties drawn by chance."""
    weights = _top(np.asarray(scores, dtype=np.float64), k)
    return float(weights @ np.asarray(positive, dtype=np.float64)) / float(weights.sum())


def top_k_overlap(scores: ArrayLike, truth: ArrayLike, k: int) -> float:
    """Return the expected share of the k truly best among the k best-scored."""
    first, second = (_top(np.asarray(one, dtype=np.float64), k) for one in (scores, truth))
    return float(first @ second) / float(first.sum())


def auroc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Return the chance that a positive scores above a negative, ties counting half; nan with one class alone."""
    labels = np.asarray(positive, dtype=np.bool_)
    ups, downs = int(labels.sum()), int((~labels).sum())
    if not ups or not downs:
        return math.nan
    return float((ranks(scores)[labels].sum() - ups * (ups + 1) / 2) / (ups * downs))


def average_precision(scores: ArrayLike, positive: ArrayLike) -> float:
    """Return the area under the precision-recall curve as a sum of steps; nan without positives."""
    labels, values = np.asarray(positive, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if not labels.sum():
        return math.nan
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.diff(values[order]) != 0, True)
    hits = np.cumsum(labels[order])[ends]
    counts = np.arange(1, len(labels) + 1)[ends]
    steps = np.diff(hits, prepend=0.0) / labels.sum()
    return float(steps @ (hits / counts))


def calibration_error(predicted: ArrayLike, truth: ArrayLike, *, bins: int = 10) -> float:
    """Return the mean distance between predicted and true means over equally filled bins of predictions."""
    guess, real = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    parts = [part for part in np.array_split(np.argsort(guess, kind="stable"), bins) if len(part)]
    return float(sum(len(part) * abs(guess[part].mean() - real[part].mean()) for part in parts) / len(guess))


def macro_f1(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Return the mean F1 over the classes that occur in either."""
    guess, real = np.asarray(predicted), np.asarray(truth)
    scores = []
    for label in np.unique(np.concatenate([guess, real])):
        hits = int(((guess == label) & (real == label)).sum())
        scores.append(2 * hits / (int((guess == label).sum()) + int((real == label).sum())))
    return float(np.mean(scores)) if scores else math.nan


def confusion(predicted: ArrayLike, truth: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Return [classes, classes] counts, true class by predicted class."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (np.asarray(truth, dtype=np.int64), np.asarray(predicted, dtype=np.int64)), 1)
    return table


def _top(values: Floats, k: int) -> Floats:
    """Return each item's chance of being among the k best: 1, 0, or shared among those tied at the border."""
    k = min(k, len(values))
    border = np.sort(values)[::-1][k - 1] if k else math.inf
    above, tied = values > border, values == border
    weights = above.astype(np.float64)
    if tied.any():
        weights[tied] = (k - above.sum()) / tied.sum()
    return weights


def _dcg(scores: Floats, gains: Floats, k: int) -> float:
    """Discounted gain of the k best-scored, the expectation over the order of ties."""
    discounts = np.zeros(len(scores))
    discounts[: min(k, len(scores))] = 1 / np.log2(np.arange(2, min(k, len(scores)) + 2))
    order = np.argsort(-scores, kind="stable")
    groups = np.cumsum(np.append(0, np.diff(scores[order]) != 0))
    mean_gain = np.bincount(groups, weights=gains[order]) / np.bincount(groups)
    return float(np.bincount(groups, weights=discounts) @ mean_gain)
