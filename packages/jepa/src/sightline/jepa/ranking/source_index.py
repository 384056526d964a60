"""What is searched: sources divided into named subspaces, with the question-source pairs that are known already.

Axes: B questions, D dimensions, S sources, K subspaces, N known pairs, k = 10 results. E
dimensions of what is searched, which are D or, with a model that routes, D + K. Search is exact, by inner product. This
module knows nothing of models or of texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from sightline.jepa.data.splits import TRAIN
from sightline.jepa.ranking.metrics import relevant_ranks

if TYPE_CHECKING:
    from sightline.jepa.data.dataset import SteeringDataset

NUM_RESULTS: Final = 10
"""k. Fixed, because probabilities learned from the features of ten results do not hold for those of another number."""
NUM_KNOWN: Final = 5
"""n, the most similar known questions that are kept."""

_BLOCK: Final = 256


@dataclass(frozen=True, slots=True)
class SourceIndex:
    """What is searched, how it is divided into subspaces, and which answers are known already.

    Raises:
        ValueError: shapes do not fit, an id is out of range, a name stands twice, or there are fewer than 10 sources
            or 5 known pairs.
    """

    sources: NDArray[np.float32]
    """`[S, E]` float32, as the model's queries want them (`JEPAModel.embed_index`)."""
    source_category: NDArray[np.int64]
    """`[S]` int64 subspace of each source, in [0, K)."""
    names: tuple[str, ...]
    """Names of the K subspaces."""
    known_questions: NDArray[np.float32]
    """`[N, D]` float32 unit rows, the training questions as the frozen encoder gives them."""
    known_sources: NDArray[np.int64]
    """`[N]` int64, the source that answers each of them; a question with several has several rows."""

    def __post_init__(self) -> None:
        known = self.known_questions
        if self.sources.ndim != 2 or known.ndim != 2 or len(known) != len(self.known_sources):
            raise ValueError(
                f"sources must be [S, E] and known_questions [{len(self.known_sources)}, D], one for each known "
                f"source; they are {list(self.sources.shape)} and {list(known.shape)}"
            )
        if self.source_category.shape != self.sources.shape[:1]:
            raise ValueError(
                f"{len(self.sources)} sources need as many categories, not {list(self.source_category.shape)}"
            )
        if len(set(self.names)) != len(self.names):
            raise ValueError("two subspaces have the same name; an explanation could not tell them apart")
        if len(self.sources) < NUM_RESULTS or len(self.known_sources) < NUM_KNOWN:
            raise ValueError(
                f"at least {NUM_RESULTS} sources and {NUM_KNOWN} known pairs are needed, "
                f"not {len(self.sources)} and {len(self.known_sources)}"
            )
        _check_ids("source_category", self.source_category, len(self.names))
        _check_ids("known_sources", self.known_sources, len(self.sources))

    @classmethod
    def from_dataset(cls, dataset: SteeringDataset, sources: NDArray[np.float32] | None = None) -> SourceIndex:
        """Index all sources of a data set, with its training pairs as what is known.

        Args:
            dataset: the data.
            sources: `[S, E]` float32, the same sources as `JEPAModel.embed_index` gives them; None for those of the
                data set, which will do for a plain model without a projection.
        """
        known = dataset.pairs[dataset.pair_split == TRAIN]
        return cls(
            sources=np.asarray(dataset.sources if sources is None else sources),
            source_category=np.asarray(dataset.source_category),
            names=dataset.names,
            known_questions=np.asarray(dataset.questions[known[:, 0]]),
            known_sources=known[:, 1],
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What a search with given vectors finds."""

    ids: NDArray[np.int64]
    """`[B, k]` int64 sources by falling score."""
    reciprocal_rank: NDArray[np.float64]
    """`[B]` float64, 1 / rank of the best true source in the whole corpus."""

    def share_from(self, subspace: NDArray[np.int64], index: SourceIndex) -> NDArray[np.float64]:
        """Return the share of each question's results that lie in its `subspace [B]`; `[B]`."""
        return (index.source_category[self.ids] == subspace[:, None]).mean(axis=1)


def search(vectors: NDArray[np.float32], index: SourceIndex, relevant: Sequence[NDArray[np.int64]]) -> Found:
    """Search the whole corpus by inner product, in blocks.

    Args:
        vectors: `[B, E]` float32.
        index: index to search.
        relevant: ids of all true sources of each row.

    Raises:
        ValueError: another number of rows, or one without a true source.
    """
    check_relevant(relevant, len(vectors))
    ids = np.empty((len(vectors), NUM_RESULTS), dtype=np.int64)

    def scores(rows: slice) -> NDArray[np.float32]:
        block = scores_of(vectors[rows], index)
        ids[rows] = best(block, NUM_RESULTS)
        return block

    ranks = np.array([answers[0] for answers in relevant_ranks(scores, relevant)], dtype=np.float64)
    return Found(ids=ids, reciprocal_rank=1.0 / ranks)


def scores_of(vectors: NDArray[np.float32], index: SourceIndex) -> NDArray[np.float32]:
    """Return the inner products `[B, S]` of queries `[B, E]` with all sources.

    Raises:
        ValueError: the queries have another width than what is searched.
    """
    if vectors.shape[1] != index.sources.shape[1]:
        raise ValueError(
            f"the model asks with vectors of {vectors.shape[1]} numbers, but the index holds {index.sources.shape[1]} "
            "for each source; make the index with index_for(model, dataset)"
        )
    return vectors @ index.sources.T


def best(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return columns of the `count` largest scores of every row, largest first, equal ones by id; `[B, count]`."""
    part = np.sort(np.argpartition(-scores, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(scores, part, axis=1), axis=1, kind="stable")
    return np.take_along_axis(part, order, axis=1)


def blocks_of(count: int) -> Iterator[slice]:
    """Return slices that cut `count` rows into pieces whose scores fit into memory."""
    return (slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK))


def check_questions(
    index: SourceIndex, question: NDArray[np.float32], steering: NDArray[np.float32], has_steering: NDArray[np.bool_]
) -> None:
    """Hold questions and steering to the dimension of the known questions.

    Raises:
        ValueError: a shape or dtype does not fit, there is no question, or a value is not finite.
    """
    dimension = index.known_questions.shape[1]
    if question.ndim != 2 or question.shape[1] != dimension or steering.shape != question.shape or not len(question):
        raise ValueError(
            f"question and steering must both be [B, {dimension}] with at least one row; "
            f"they are {list(question.shape)} and {list(steering.shape)}"
        )
    if has_steering.shape != question.shape[:1] or has_steering.dtype != np.bool_:
        raise ValueError(
            f"has_steering must be bool [{len(question)}], not {has_steering.dtype} {list(has_steering.shape)}"
        )
    if not np.isfinite(question).all() or not np.isfinite(steering[has_steering]).all():
        raise ValueError("question and steering must be finite")


def check_subspaces(index: SourceIndex, subspace: NDArray[np.int64], expected: int) -> None:
    """Hold subspace ids to one for each question.

    Raises:
        ValueError: they are not `[expected]` ids in [0, K).
    """
    if subspace.shape != (expected,) or subspace.min() < 0 or subspace.max() >= len(index.names):
        raise ValueError(
            f"there must be {expected} subspace ids in [0, {len(index.names)}); they are {list(subspace.shape)} "
            f"from {subspace.min()} to {subspace.max()}"
        )


def check_relevant(relevant: Sequence[NDArray[np.int64]], expected: int) -> None:
    """Hold the true sources to one non-empty array for each question.

    Raises:
        ValueError: they are not as many as the questions, or one is empty.
    """
    if len(relevant) != expected:
        raise ValueError(f"{expected} questions need as many arrays of true sources, not {len(relevant)}")
    empty = [position for position, true in enumerate(relevant) if not len(true)]
    if empty:
        raise ValueError(f"question {empty[0]} has no true source; leave it out")


def _check_ids(name: str, ids: NDArray[np.int64], limit: int) -> None:
    wrong = (ids < 0) | (ids >= limit)
    if ids.ndim != 1 or wrong.any():
        place = int(wrong.argmax()) if ids.ndim == 1 else 0
        raise ValueError(f"{name} must be [n] with ids in [0, {limit}); entry {place} is {ids.flat[place]}")
