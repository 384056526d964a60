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
from sightline.jepa.ranking.metrics import QueryMetrics, ScoreBlock, query_metrics, relevant_ranks, vector_scores

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
    added: Method | None = None
    """Method in another space whose scores are added to this one's."""


def of_fixed_vectors(name: str, sources: Any, questions: Any, settings: Mapping[str, float] | None = None) -> Method:
    """Return a method that knows a vector of every question, however it is steered.

    Args:
        name: name of it in tables.
        sources: `[S, D]`, numpy or SciPy sparse.
        questions: `[Q, D]`, of the same kind.
        settings: what was chosen on validation.
    """

    def query_vectors(question_ids: Ids, steered: Steering) -> Any:
        del steered
        return questions[question_ids]

    return Method(name, sources, query_vectors, settings or {})


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
    scores = method_scores(
        method, question_ids, steering, categories=filter_categories, source_category=dataset.source_category
    )
    return query_metrics(relevant_ranks(scores, dataset.relevant(question_ids)))


def method_scores(
    method: Method,
    question_ids: Ids,
    steering: Steering,
    *,
    categories: Ids | None = None,
    source_category: Ids | None = None,
) -> ScoreBlock:
    """Return a function to the scores of all sources, block by block; filters are those of `vector_scores`."""
    vectors = method.query_vectors(question_ids, steering)
    own = vector_scores(vectors, method.sources, categories=categories, source_category=source_category)
    if method.added is None:
        return own
    more = method_scores(method.added, question_ids, steering)
    return lambda block: own(block) + more(block)
