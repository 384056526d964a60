"""What can be seen of a prediction without knowing the answer: results, routing, steering's effect, known neighbours.

Axes: B questions, D dimensions, S sources, K subspaces, N known pairs, k = 10 results. A model enters as a
`PredictFunction`; this module knows nothing of networks, of texts, or of how evidence becomes a decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.jepa.explaining.prediction import PredictFunction, PredictionParts
from sightline.jepa.ranking.metrics import ScoreBlock, Scores
from sightline.jepa.ranking.source_index import (
    NUM_KNOWN,
    NUM_RESULTS,
    SourceIndex,
    best,
    blocks_of,
    check_questions,
    check_relevant,
    scores_of,
)

FEATURES: Final = (
    "top_score",
    "margin",
    "lead",
    "crowd",
    "routing_confidence",
    "routing_entropy",
    "subspace_share",
    "fine_norm",
    "known_similarity",
    "has_steering",
    "dispute",
)
"""Columns of `Evidence.features`, described there."""

_CROWD: Final = 0.1
"""Score below that of the first result within which sources count as its crowd."""
_SAME_SCORE: Final = 1e-5
"""Scores closer than this belong to copies of one text: float32 cosines of equal rows differ by rounding only."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What `gather_evidence` saw of each question. `taken` selects rows."""

    vectors: NDArray[np.float32]
    """`[B, E]` float32, what was searched with."""
    routing: NDArray[np.float32]
    """`[B, K]` float32."""
    routing_without_steering: NDArray[np.float32]
    """`[B, K]` float32, what the model would do were no steering given."""
    result_ids: NDArray[np.int64]
    """`[B, k]` int64 sources by falling score."""
    result_scores: NDArray[np.float32]
    """`[B, k]` float32 inner products, and what was added to them."""
    ranks_without_steering: NDArray[np.int64]
    """`[B, k]` int64 rank, from 1, that each result would have were no steering given."""
    steering_influence: NDArray[np.float64]
    """`[B]` float64 KL(routing with steering || without), in nats."""
    rank_change: NDArray[np.float64]
    """`[B]` float64 mean over the results of |log2 rank with - log2 rank without|: 1 means that a typical result's rank
    doubled or halved.
    """
    known_ids: NDArray[np.int64]
    """`[B, n]` int64 rows of the most similar known questions."""
    known_similarities: NDArray[np.float32]
    """`[B, n]` float32 their cosines with the question."""
    features: NDArray[np.float64]
    """`[B, F]` float64, by column: score of the first result; its margin over the next different one, as log2; its lead
    over the mean of the k results; log2 of the number of sources within 0.1 of it; largest routing weight; routing
    entropy in nats; share of the results in the primary subspace; length of the fine part relative to the whole `|fine|
    / (|coarse| + |fine|)`; cosine with the nearest known question; 1 if steering is given; routing weight that the
    primary subspace lacks, were no steering given, to the one preferred then (0 where they agree).
    """

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def primary(self) -> NDArray[np.int64]:
        """`[B]` subspace with the largest routing weight."""
        return self.routing.argmax(axis=1)

    def feature(self, name: str) -> NDArray[np.float64]:
        """Return one column of the features, `[B]`."""
        return self.features[:, FEATURES.index(name)]

    def taken(self, rows: ArrayLike) -> Evidence:
        """Return the evidence of some rows, in the order given (ids or a bool mask)."""
        rows = np.asarray(rows)
        return Evidence(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def gather_evidence(
    predict: PredictFunction,
    index: SourceIndex,
    question: NDArray[np.float32],
    steering: NDArray[np.float32],
    has_steering: NDArray[np.bool_],
    *,
    added: ScoreBlock | None = None,
) -> Evidence:
    """Predict with and without steering, search, and look at the surroundings; in blocks of questions.

    Args:
        predict: the model.
        index: index to search.
        question: `[B, D]` float32 unit rows.
        steering: `[B, D]` float32 unit rows where there is steering.
        has_steering: `[B]` bool.
        added: what every source's score gains besides, whatever steers, for example by shared words.

    Raises:
        ValueError: shapes do not fit, there is no question, or a value is not finite.
    """
    check_questions(index, question, steering, has_steering)
    blocks = [
        _evidence_block(
            predict, index, question[rows], steering[rows], has_steering[rows], 0.0 if added is None else added(rows)
        )
        for rows in blocks_of(len(question))
    ]
    return Evidence(
        **{field.name: np.concatenate([getattr(block, field.name) for block in blocks]) for field in fields(Evidence)}
    )


def _evidence_block(
    predict: PredictFunction,
    index: SourceIndex,
    question: NDArray[np.float32],
    steering: NDArray[np.float32],
    has_steering: NDArray[np.bool_],
    added: Scores | float,
) -> Evidence:
    parts = predict(question, steering, has_steering)
    without = predict(question, steering, np.zeros_like(has_steering))
    scores, scores_without = (scores_of(each.vectors, index) + added for each in (parts, without))
    result_ids = best(scores, NUM_RESULTS)
    result_scores = np.take_along_axis(scores, result_ids, axis=1)
    ranks = _ranks(scores, result_ids)
    ranks_without = _ranks(scores_without, result_ids)
    similarities = question @ index.known_questions.T
    known_ids = best(similarities, NUM_KNOWN)
    known_similarities = np.take_along_axis(similarities, known_ids, axis=1)
    return Evidence(
        vectors=parts.vectors,
        routing=parts.routing,
        routing_without_steering=without.routing,
        result_ids=result_ids,
        result_scores=result_scores,
        ranks_without_steering=ranks_without,
        steering_influence=divergence(parts.routing, without.routing),
        rank_change=np.abs(np.log2(ranks) - np.log2(ranks_without)).mean(axis=1),
        known_ids=known_ids,
        known_similarities=known_similarities,
        features=_features(parts, without, index, result_ids, scores, known_similarities[:, 0], has_steering),
    )


def _features(
    parts: PredictionParts,
    without: PredictionParts,
    index: SourceIndex,
    result_ids: NDArray[np.int64],
    all_scores: NDArray[np.float32],
    known_similarity: NDArray[np.float32],
    has_steering: NDArray[np.bool_],
) -> NDArray[np.float64]:
    scores = np.take_along_axis(all_scores, result_ids, axis=1).astype(np.float64)
    gaps = scores[:, :1] - scores
    margin = np.where(gaps > _SAME_SCORE, gaps, np.inf).min(axis=1)
    margin = np.where(np.isfinite(margin), margin, _SAME_SCORE)  # all results are copies of one text
    routing = parts.routing.astype(np.float64)
    primary = routing.argmax(axis=1)
    preference = without.routing.max(axis=1) - np.take_along_axis(without.routing, primary[:, None], axis=1)[:, 0]
    coarse, fine = (np.linalg.norm(part.astype(np.float64), axis=1) for part in (parts.coarse, parts.fine))
    columns = {
        "top_score": scores[:, 0],
        "margin": np.log2(margin),
        "lead": gaps.mean(axis=1),
        "crowd": np.log2(np.count_nonzero(all_scores >= scores[:, :1] - _CROWD, axis=1)),
        "routing_confidence": routing.max(axis=1),
        "routing_entropy": -(routing * np.log(np.maximum(routing, 1e-12))).sum(axis=1),
        "subspace_share": (index.source_category[result_ids] == primary[:, None]).mean(axis=1),
        "fine_norm": fine / np.maximum(coarse + fine, 1e-12),
        "known_similarity": known_similarity,
        "has_steering": has_steering,
        "dispute": preference,
    }
    return np.stack([np.asarray(columns[name], dtype=np.float64) for name in FEATURES], axis=1)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What turned out to be true of each question, for fitting and for testing."""

    first_right: NDArray[np.bool_]
    """`[B]` bool, the first result is a true source."""
    among_results: NDArray[np.bool_]
    """`[B]` bool, at least one of the k results is."""
    subspace_right: NDArray[np.bool_]
    """`[B]` bool, the primary subspace holds a true source."""

    @classmethod
    def joined(cls, parts: Sequence[Outcomes]) -> Outcomes:
        """Return the outcomes of several sets of questions as those of one, in their order."""
        return cls(*(np.concatenate([getattr(each, field.name) for each in parts]) for field in fields(cls)))


def judge(evidence: Evidence, index: SourceIndex, relevant: Sequence[NDArray[np.int64]]) -> Outcomes:
    """Compare the evidence with the true sources.

    Args:
        evidence: evidence of B questions.
        index: index that was searched.
        relevant: ids of all true sources of each question.

    Raises:
        ValueError: another number of questions, or one without a true source.
    """
    check_relevant(relevant, len(evidence))
    right = np.stack([np.isin(ids, true) for ids, true in zip(evidence.result_ids, relevant, strict=True)])
    subspace_right = [
        primary in index.source_category[true] for primary, true in zip(evidence.primary, relevant, strict=True)
    ]
    return Outcomes(
        first_right=right[:, 0],
        among_results=np.asarray(right.any(axis=1)),
        subspace_right=np.array(subspace_right, dtype=bool),
    )


def divergence(weights: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return KL(weights || reference) of each row, in nats; `[B]`. Weights below 1e-9 count as 1e-9."""
    first, second = (np.maximum(rows.astype(np.float64), 1e-9) for rows in (weights, reference))
    first, second = (rows / rows.sum(axis=1, keepdims=True) for rows in (first, second))
    return np.maximum((first * (np.log(first) - np.log(second))).sum(axis=1), 0.0)


def _ranks(scores: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank from 1 of each `ids [B, k]` among all columns of `scores [B, S]`, equal scores sharing the best."""
    own = np.take_along_axis(scores, ids, axis=1)
    above = [np.count_nonzero(scores > own[:, column, None], axis=1) for column in range(ids.shape[1])]
    return 1 + np.stack(above, axis=1)
