"""Which rows of a store's view answer a query: exactly, filtered, or through the approximate index.

This module knows rows and vectors; documents and texts are for others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.store.nearest.exact import RankedRows, best_rows, merge, rank
from sightline.retrieval.store.nearest.hnsw import ApproximateIndex
from sightline.retrieval.store.nearest.view import View
from sightline.retrieval.text.protocol import Vectors


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an approximate index covers and how well it does."""

    document_count: int
    """Documents in the index."""
    recall: float
    """Share of the 10 nearest documents that are found, mean over `sample_size` documents as queries (0 to 1)."""
    sample_size: int
    seconds: float
    """Time to build and measure."""


def exact_rows(
    view: View, queries: Vectors, *, top_k: int, min_score: float | None, selected: NDArray[np.bool_] | None = None
) -> list[RankedRows]:
    """Return the best rows of a view for every query.

    Args:
        view: state of the store to search.
        queries: `[q, D]` unit rows.
        top_k: most rows to return per query.
        min_score: least cosine of a row; None for any.
        selected: `[n]`, which rows a filter holds for; None for all.
    """
    if selected is not None:
        selected = selected & view.alive
    elif view.live_count < len(view.alive):
        selected = view.alive
    return best_rows(view.vectors, queries, top_k=top_k, selected=selected, min_score=min_score)


def approximate_rows(
    view: View, index: ApproximateIndex, queries: Vectors, *, top_k: int, min_score: float | None
) -> list[RankedRows]:
    """Return good rows for every query: the best of what the index proposes and of the rows that it lacks.

    Where deletions leave fewer proposals than there should be hits, the query is answered exactly.

    Args:
        view: state of the store to search.
        index: an index over the view's first rows.
        queries: `[q, D]` unit rows.
        top_k: most rows to return per query.
        min_score: least cosine of a row; None for any.
    """
    covered = index.row_count
    enough = min(top_k, int(np.count_nonzero(view.alive[:covered])))
    recent = best_rows(view.vectors[covered:], queries, top_k=top_k, selected=view.alive[covered:], min_score=min_score)
    ranked = []
    for query, proposed, later in zip(queries, index.candidates(queries, top_k), recent, strict=True):
        rows = proposed[view.alive[proposed]]
        if len(rows) < enough:
            ranked += exact_rows(view, query[None], top_k=top_k, min_score=min_score)
            continue
        found = rank(rows, view.vectors[rows], query, -2.0 if min_score is None else min_score)
        ranked.append(merge(found, RankedRows(covered + later.rows, later.scores), top_k))
    return ranked


def measured_recall(view: View, index: ApproximateIndex, *, top_k: int, sample_size: int) -> tuple[float, int]:
    """Return the share of the exact `top_k` neighbours of stored rows, but for themselves, that the index finds.

    Args:
        view: the view that the index was built from.
        index: the index.
        top_k: neighbours per row.
        sample_size: rows to ask with, at most; always the same ones for the same view.

    Returns:
        The mean share (1.0 where there are no neighbours), and how many rows it was measured with.
    """
    alive = np.flatnonzero(view.alive)
    sample = np.random.default_rng(0).choice(alive, size=min(sample_size, len(alive)), replace=False)
    queries = view.vectors[sample]
    exact = exact_rows(view, queries, top_k=top_k + 1, min_score=None)
    approximate = approximate_rows(view, index, queries, top_k=top_k + 1, min_score=None)
    shares = []
    for row, truth, found in zip(sample, exact, approximate, strict=True):
        neighbours = set(truth.rows.tolist()) - {int(row)}
        if neighbours:
            shares.append(len(neighbours & set(found.rows.tolist())) / len(neighbours))
    return (float(np.mean(shares)) if shares else 1.0), len(sample)
