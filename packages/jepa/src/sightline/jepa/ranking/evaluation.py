"""One way to evaluate every method: vectors for questions, sources to compare them with, ranks in the whole corpus.

A method may rank in a space of its own (sparse terms, a trained projection): it brings its sources with it. The module
knows the data set and the metrics; it knows nothing of how a method was made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sightline.jepa.data.dataset import Ids, SteeringDataset
from sightline.jepa.data.steering import Steering
from sightline.jepa.ranking.metrics import QueryMetrics, query_metrics, relevant_ranks, vector_scores

QueryVectors: TypeAlias = Callable[[Ids, Steering], Any]
"""Question ids `[B]` and their steering to rows `[B, D]`: float32 unit rows, or SciPy sparse rows."""


@dataclass(frozen=True, slots=True)
class Method:
    """A fitted way of asking."""

    name: str
    """Name of it in tables."""
    sources: Any
    """`[S, D]`, the corpus in the method's space; numpy, or SciPy sparse."""
    query_vectors: QueryVectors
    """Questions and their steering to rows of the same space; the score is the inner product."""
    settings: Mapping[str, float] = field(default_factory=dict)
    """What was chosen on validation, for the report."""


def evaluate(
    method: Method,
    dataset: SteeringDataset,
    question_ids: Ids,
    steering: Steering,
    *,
    filter_categories: Ids | None = None,
) -> QueryMetrics:
    """Rank the whole corpus for every question.

    Args:
        method: method to evaluate.
        dataset: the data it was fitted on.
        question_ids: `[q]`.
        steering: steering of these questions, `[q, D]`.
        filter_categories: `[q]`: search only within the sources of this category, -1 for all (the "hard filter").
            A right answer that is filtered out ranks last.
    """
    scores = vector_scores(
        method.query_vectors(question_ids, steering),
        method.sources,
        categories=filter_categories,
        source_category=dataset.source_category,
    )
    return query_metrics(relevant_ranks(scores, dataset.relevant(question_ids)))
