"""How good rankings of the whole corpus are, one value per question, so that differences can be paired.

A rank counts from 1. Equal scores are counted against the right answer: a method that scores everything the same is
last, not first. The module knows scores and right answers; it knows nothing of where they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightline.jepa.data.splits import Ids

Scores: TypeAlias = NDArray[np.floating]
ScoreBlock: TypeAlias = Callable[[slice], Scores]
"""Scores `[b, S]` of the questions in a slice, higher for better; -inf for sources that are filtered out."""

_BLOCK_QUESTIONS = 256


@dataclass(frozen=True, slots=True, eq=False)
class QueryMetrics:
    """One value per question; each array is `[q]` float64."""

    reciprocal_rank: NDArray[np.float64]
    """1 / rank of the best right answer in the whole corpus; the mean is MRR."""
    ndcg_at_10: NDArray[np.float64]
    """Normalised discounted cumulative gain with binary gains (Järvelin and Kekäläinen 2002)."""
    recall_at_1: NDArray[np.float64]
    """Share of the right answers among the first; at most `1 / n` for `n` right answers."""
    recall_at_10: NDArray[np.float64]
    """Share of the right answers among the first ten."""
    recall_at_100: NDArray[np.float64]
    """Share of the right answers among the first hundred."""
    accuracy_at_1: NDArray[np.float64]
    """1.0 where the first is a right answer."""
    first_rank: NDArray[np.float64]
    """Rank of the best right answer."""

    def means(self) -> dict[str, float]:
        """Return the mean of every metric over the questions; of `first_rank` the median, called `median_rank`."""
        means = {field.name: float(getattr(self, field.name).mean()) for field in fields(self)}
        del means["first_rank"]
        return means | {"median_rank": float(np.median(self.first_rank))}


def relevant_ranks(scores: ScoreBlock, relevant: Sequence[Ids]) -> list[Ids]:
    """Return the ranks of all right answers of every question in the whole corpus.

    The j-th best right answer has rank `j` plus the number of wrong ones that score at least as much.

    Args:
        scores: function to the scores of a slice of the questions, `[b, S]`.
        relevant: ids of the right answers of each of the q questions.

    Returns:
        For each question its right answers' ranks, ascending, int64.

    Raises:
        ValueError: a score is NaN, a question has no right answer, or the numbers of rows differ.
    """
    ranks = []
    for start in range(0, len(relevant), _BLOCK_QUESTIONS):
        wanted = relevant[start : start + _BLOCK_QUESTIONS]
        block = np.asarray(scores(slice(start, start + len(wanted))))
        if len(block) != len(wanted):
            raise ValueError(f"{len(block)} rows of scores for {len(wanted)} questions")
        if np.isnan(block).any():
            raise ValueError(f"the scores of question {start + int(np.isnan(block).any(axis=1).argmax())} hold NaN")
        for number, (row, ids) in enumerate(zip(block, wanted, strict=True), start=start):
            if not len(ids):
                raise ValueError(f"question {number} has no right answer; leave it out")
            right = np.sort(row[ids])[::-1]
            wrong_above = (row >= right[:, None]).sum(axis=1) - (right >= right[:, None]).sum(axis=1)
            ranks.append(wrong_above + np.arange(1, len(right) + 1))
    return ranks


def vector_scores(
    queries: Any,
    sources: Any,
    *,
    categories: Ids | None = None,
    source_category: Ids | None = None,
) -> ScoreBlock:
    """Return a function to cosines of unit vectors, block by block, for `relevant_ranks`.

    Args:
        queries: `[q, D]`, numpy float32 or SciPy sparse.
        sources: `[S, D]`, of the same kind.
        categories: `[q]` to search only within that category; -1 searches everything.
        source_category: `[S]`; needed with `categories`.

    Raises:
        ValueError: categories are given without those of the sources.
    """
    if categories is not None and source_category is None:
        raise ValueError("a filter by category needs source_category")
    transposed = sources.T

    def scores(block: slice) -> Scores:
        product = queries[block] @ transposed
        dense = product if isinstance(product, np.ndarray) else product.toarray()
        if categories is None:
            return dense
        wanted = categories[block, None]
        return np.where((wanted < 0) | (wanted == source_category), dense, -np.inf)

    return scores


def query_metrics(ranks: Sequence[Ids]) -> QueryMetrics:
    """Compute all metrics from the ranks of the right answers (`relevant_ranks`)."""
    first = np.array([answers[0] for answers in ranks], dtype=np.float64)
    ideal = np.cumsum(1 / np.log2(np.arange(2, 12)))
    gains = np.array([(1 / np.log2(answers[answers <= 10] + 1)).sum() for answers in ranks])
    recalls = {k: np.array([(answers <= k).mean() for answers in ranks], dtype=np.float64) for k in (1, 10, 100)}
    return QueryMetrics(
        reciprocal_rank=1 / first,
        ndcg_at_10=gains / ideal[[min(len(answers), 10) - 1 for answers in ranks]],
        recall_at_1=recalls[1],
        recall_at_10=recalls[10],
        recall_at_100=recalls[100],
        accuracy_at_1=(first == 1).astype(np.float64),
        first_rank=first,
    )
