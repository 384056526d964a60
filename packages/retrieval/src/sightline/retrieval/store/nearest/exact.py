"""The rows most similar to each of several queries, found exactly, block by block.

Scores of a matrix product depend in their last bits on the shapes that are multiplied. So products only choose
candidates, with a margin that no rounding exceeds, and candidates are scored again one by one: a row's score depends on
the row and the query alone, equal rows score equally, and equal scores keep the order of rows. This module knows
nothing of documents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.text.protocol import Vectors

_SCORES_PER_BLOCK = 2**22
_MIN_BLOCK_ROWS, _MAX_BLOCK_ROWS = 2**12, 2**17
_SAMPLE_ROWS = 2**12


@dataclass(frozen=True, slots=True)
class RankedRows:
    """Rows `[m]`, best first, equal scores in the order of rows, with their cosines `[m]`."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


def best_rows(
    vectors: Vectors,
    queries: Vectors,
    *,
    top_k: int,
    selected: NDArray[np.bool_] | None = None,
    min_score: float | None = None,
) -> list[RankedRows]:
    """Return the best rows for every query.

    Args:
        vectors: `[n, D]` unit rows.
        queries: `[q, D]` unit rows.
        top_k: most rows to return per query.
        selected: `[n]`, which rows may be found; None for all.
        min_score: least cosine of a row; None for any.

    Returns:
        One ranking per query.
    """
    margin = _margin(vectors.shape[1])
    least = -2.0 if min_score is None else min_score
    best = [RankedRows(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
    bounds = [least - margin] * len(queries)
    block = min(max(_SCORES_PER_BLOCK // max(len(queries), 1), _MIN_BLOCK_ROWS), _MAX_BLOCK_ROWS)
    for start in range(0, len(vectors), block):
        rows, block_vectors, excluded = _block(vectors, selected, start, min(start + block, len(vectors)))
        if not len(block_vectors):
            continue
        scores = queries @ block_vectors.T
        if excluded is not None:
            scores[:, excluded] = -np.inf
        for number, query in enumerate(queries):
            places = _candidates(scores[number], bounds[number], top_k, margin)
            if not len(places):
                continue
            found = rank(start + places if rows is None else rows[places], block_vectors[places], query, least)
            best[number] = merge(best[number], found, top_k)
            if len(best[number].rows) == top_k:
                bounds[number] = max(bounds[number], float(best[number].scores[-1]) - margin)
    return best


def rank(rows: NDArray[np.int64], vectors: Vectors, query: Vectors, least: float) -> RankedRows:
    """Score rows one by one and rank those that reach a score.

    Args:
        rows: `[m]` numbers of the rows, ascending.
        vectors: `[m, D]` the rows.
        query: `[D]`.
        least: the score to reach.
    """
    scores = np.clip((vectors * query).sum(axis=1), -1.0, 1.0)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= least]
    return RankedRows(rows[order], scores[order])


def merge(first: RankedRows, second: RankedRows, top_k: int) -> RankedRows:
    """Return the best `top_k` of two rankings; at equal scores those of `first` come before those of `second`."""
    scores = np.concatenate([first.scores, second.scores])
    order = np.argsort(-scores, kind="stable")[:top_k]
    return RankedRows(np.concatenate([first.rows, second.rows])[order], scores[order])


def _margin(dimension: int) -> float:
    # Two float32 dot products of unit vectors differ by at most dimension * 2**-23 (Higham 2002, eq. 3.5, for each).
    # Both the bound and the score compared with it may be off by so much.
    return dimension * 2.0**-22


def _block(
    vectors: Vectors, selected: NDArray[np.bool_] | None, start: int, stop: int
) -> tuple[NDArray[np.int64] | None, Vectors, NDArray[np.bool_] | None]:
    """Return rows of a block (None: all from `start` on), their vectors, and which do not count (None: all do).

    Copying a few selected rows is cheaper than scoring all; leaving out a few scores is cheaper than copying the rest.
    """
    block, chosen = vectors[start:stop], None if selected is None else selected[start:stop]
    count = stop - start if chosen is None else int(np.count_nonzero(chosen))
    if chosen is None or count == len(chosen):
        return None, block, None
    if 2 * count >= len(chosen):
        return None, block, ~chosen
    places = np.flatnonzero(chosen)
    return start + places, block[places], None


def _candidates(scores: NDArray[np.float32], bound: float, top_k: int, margin: float) -> NDArray[np.int64]:
    """Return places in `scores` [m], ascending, among which the `top_k` best that reach `bound` are certain to be."""
    if top_k < _SAMPLE_ROWS < len(scores):
        # The best of a sample give a bound that spares most rows the costlier selection below.
        bound = max(bound, _kth_best(scores[:_SAMPLE_ROWS], top_k) - margin)
    places = np.flatnonzero(scores >= max(bound, -2.0))  # never a row that was left out at minus infinity
    if len(places) > top_k:
        chosen = scores[places]
        places = places[chosen >= _kth_best(chosen, top_k) - margin]
    return places


def _kth_best(scores: NDArray[np.float32], k: int) -> float:
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])
