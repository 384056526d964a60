"""Ranking metrics, one value per example, so that means, intervals and paired comparisons are the caller's choice.

Every function takes scores `[N, n]` with -inf for padding, and positives `[N, n]` (bool). Equal scores rank in
page order, so a scorer that cannot tell chunks apart is judged as "the first chunks of the page".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def recall_at_k(scores: ArrayLike, positives: ArrayLike, k: int) -> NDArray[np.float64]:
    """Return `[N]`: 1.0 for every example with at least one positive among its k best chunks, else 0.0.

    The mean is the share of pages on which an agent that sees k chunks sees its target. It is also called hit rate or
    success@k; where an example has several positives, finding one of them is enough.

    Args:
        scores: `[N, n]`, -inf for padding.
        positives: `[N, n]` booleans, at least one true per example.
        k: number of chunks that are seen, at least 1.

    Raises:
        ValueError: k is not positive, shapes differ, a score is NaN, or an example has no positive.
    """
    _check_k(k)
    return (_ranked_positives(scores, positives).argmax(axis=1) < k).astype(np.float64)


def reciprocal_rank(scores: ArrayLike, positives: ArrayLike) -> NDArray[np.float64]:
    """Return `[N]`: 1 / rank of the best-ranked positive, ranks counted from 1. The mean is MRR.

    Args:
        scores: `[N, n]`, -inf for padding.
        positives: `[N, n]` booleans, at least one true per example.

    Raises:
        ValueError: shapes differ, a score is NaN, or an example has no positive.
    """
    return 1.0 / (1.0 + _ranked_positives(scores, positives).argmax(axis=1))


def ndcg_at_k(scores: ArrayLike, positives: ArrayLike, k: int) -> NDArray[np.float64]:
    """Return `[N]` in [0, 1]: the normalised discounted cumulative gain with binary gains.

    `sum over ranks r <= k of positive(r) / log2(r + 1)`, divided by its value for the best order of the page
    (Järvelin and Kekäläinen 2002).

    Args:
        scores: `[N, n]`, -inf for padding.
        positives: `[N, n]` booleans, at least one true per example.
        k: number of chunks that count, at least 1.

    Raises:
        ValueError: k is not positive, shapes differ, a score is NaN, or an example has no positive.
    """
    _check_k(k)
    ranked = _ranked_positives(scores, positives)
    discount = 1.0 / np.log2(np.arange(2, ranked.shape[1] + 2))
    gain = ranked[:, :k] @ discount[:k]
    best = np.cumsum(discount)[np.minimum(ranked.sum(axis=1), min(k, ranked.shape[1])) - 1]
    return gain / best


def _ranked_positives(scores: ArrayLike, positives: ArrayLike) -> NDArray[np.bool_]:
    """Return positives `[N, n]` reordered from best to worst score."""
    scores, positives = np.asarray(scores), np.asarray(positives)
    if scores.ndim != 2 or positives.shape != scores.shape or positives.dtype != np.bool_:
        raise ValueError(
            f"scores and positives (bool) must have one shape [N, n], not {list(scores.shape)} and "
            f"{list(positives.shape)} ({positives.dtype})"
        )
    if np.isnan(scores).any():
        raise ValueError(f"the scores of example {int(np.isnan(scores).any(axis=1).argmax())} hold NaN")
    if not positives.any(axis=1).all():
        raise ValueError(f"example {int((~positives.any(axis=1)).argmax())} has no positive; leave it out")
    if (positives & np.isneginf(scores)).any():
        raise ValueError("a positive has the score -inf, which stands for padding")
    return np.take_along_axis(positives, np.argsort(-scores, axis=1, kind="stable"), axis=1)


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k!r}")
