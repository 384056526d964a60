"""Hits that are near the query and far from one another: maximal marginal relevance.

Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing summaries",
SIGIR 1998. This module does not know how the hits were found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sightline.retrieval.store.document import SearchHit


def maximal_marginal_relevance(
    relevance: ArrayLike, vectors: ArrayLike, *, top_k: int, relevance_weight: float = 0.5
) -> list[int]:
    """Choose items one by one: each the best by `weight * relevance - (1 - weight) * nearness to one chosen before`.

    Args:
        relevance: `[m]` cosines with the query.
        vectors: `[m, D]` unit rows of the items.
        top_k: most items to choose.
        relevance_weight: weight of relevance against novelty; 1 is the order of relevance.

    Returns:
        Places of the items, in the order of their choice; of equal ones the earlier.

    Raises:
        ValueError: shapes do not fit, `top_k` is below 1, or the weight is not between 0 and 1.
    """
    scores, rows = np.asarray(relevance, dtype=np.float64), np.asarray(vectors, dtype=np.float64)
    if scores.ndim != 1 or rows.ndim != 2 or len(rows) != len(scores):
        raise ValueError(f"expected relevance [m] and vectors [m, D], not {list(scores.shape)} and {list(rows.shape)}")
    if top_k < 1 or not 0.0 <= relevance_weight <= 1.0:
        raise ValueError(
            f"top_k must be at least 1 and relevance_weight 0 to 1, not {top_k!r} and {relevance_weight!r}"
        )
    chosen: list[int] = []
    nearest = np.zeros(len(scores))  # to nothing chosen yet, all are equally far
    open_places = np.ones(len(scores), dtype=np.bool_)
    while len(chosen) < min(top_k, len(scores)):
        marginal = relevance_weight * scores - (1.0 - relevance_weight) * nearest
        place = int(np.where(open_places, marginal, -np.inf).argmax())
        near = rows @ rows[place]
        nearest = near if not chosen else np.maximum(nearest, near)
        chosen.append(place)
        open_places[place] = False
    return chosen


def diversified(hits: Sequence[SearchHit], *, top_k: int, relevance_weight: float = 0.5) -> list[SearchHit]:
    """Choose hits by maximal marginal relevance.

    Args:
        hits: hits of a search with `with_vectors=True`, several times `top_k`.
        top_k: most hits to choose.
        relevance_weight: weight of relevance against novelty, 0 to 1.

    Raises:
        ValueError: a hit has no vector, or a number is out of range.
    """
    if any(hit.vector is None for hit in hits):
        raise ValueError("a hit has no vector; search with with_vectors=True")
    rows = np.array([hit.vector for hit in hits]).reshape(len(hits), -1)
    places = maximal_marginal_relevance(
        [hit.score for hit in hits], rows, top_k=top_k, relevance_weight=relevance_weight
    )
    return [hits[place] for place in places]
