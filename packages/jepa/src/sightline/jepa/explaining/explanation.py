"""Explain a prediction: what was found, how sure that is, what steering changed, and what to do.

Every number is measured on the model that predicts, or calibrated on validation questions;
`explaining.faithfulness` tests whether they tell the truth. This module knows nothing of texts: sources and known pairs
appear by number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from sightline.jepa.explaining.decisions import ActionableSignal, AnswerPolicy, Decisions, Reason
from sightline.jepa.explaining.evidence import Evidence, gather_evidence
from sightline.jepa.explaining.prediction import PredictFunction
from sightline.jepa.files import atomic_file
from sightline.jepa.ranking.metrics import ScoreBlock
from sightline.jepa.ranking.source_index import SourceIndex

WITHOUT_STEERING = "without steering"
"""Label of the first explanation of `Explainer.compare_steering`."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class ExplainedResult(_Record):
    """One source that was found."""

    source: int
    """Id of the source."""
    subspace: str
    """Name of the source's subspace."""
    score: float
    """Cosine with the prediction, and what was added to it: by its subspace in a routed model or a scorer, and by words
    shared with the question.
    """
    rank_without_steering: int
    """Rank, from 1, that the source would have were no steering given."""


class SimilarKnownPair(_Record):
    """A training question close to the one asked, and what answers it."""

    known: int
    """Row among the known pairs of the index."""
    source: int
    """Id of the source that answers it."""
    similarity: float
    """Cosine of the two questions."""


class Explanation(_Record):
    """All that is known about one prediction; one JSON object."""

    schema_version: Literal[1] = 1
    """Version of this record."""
    actionable_signal: ActionableSignal
    """What to do."""
    reasons: tuple[Reason, ...]
    """Why, as codes."""
    confidence: float
    """Calibrated probability that the first result is right."""
    results_confidence: float
    """Calibrated probability that at least one of the results is right."""
    primary_subspace: str
    """The name with the largest routing weight."""
    subspace_confidence: float
    """Calibrated probability that it holds a right source."""
    routing_distribution: dict[str, float]
    """Routing weight of every subspace by name; they sum to 1."""
    routing_entropy: float
    """Entropy of these weights, in nats."""
    has_steering: bool
    """Whether there was any steering."""
    steering_influence: float
    """KL(routing with steering || without), in nats."""
    rank_change: float
    """Mean of |log2 rank with - log2 rank without steering| over the results."""
    primary_without_steering: str
    """The primary subspace, were no steering given."""
    atypicality: float
    """Share of validation predictions that lean on their subspace more than this one does, in [0, 1]."""
    results: tuple[ExplainedResult, ...]
    """Sources by falling score."""
    similar_known_pairs: tuple[SimilarKnownPair, ...]
    """Training questions like this one, by falling similarity."""
    prediction: tuple[float, ...]
    """What was searched with: D coordinates of the predicted embedding, a unit vector, and in a routed model what each
    of the K subspaces adds to the scores of its sources.
    """


@dataclass(frozen=True, slots=True)
class Explainer:
    """Explains one question or many, with the same numbers for a question alone and in company."""

    predict: PredictFunction
    """The model."""
    index: SourceIndex
    """What is searched, and what is known."""
    policy: AnswerPolicy
    """Fitted to the same model and index by `sightline.jepa.explaining.decisions.fit_policy`."""

    def explain(self, question: NDArray[np.float32], steering: NDArray[np.float32] | None = None) -> Explanation:
        """Explain one prediction.

        Args:
            question: `[D]` float32, unit.
            steering: `[D]` float32, unit; None if there is none.

        Raises:
            ValueError: a shape does not fit, or a value is not finite.
        """
        vectors = np.zeros_like(question) if steering is None else steering
        return self.explain_batch(question[None], vectors[None], np.array([steering is not None]))[0]

    def explain_batch(
        self,
        question: NDArray[np.float32],
        steering: NDArray[np.float32],
        has_steering: NDArray[np.bool_],
        *,
        added: ScoreBlock | None = None,
    ) -> list[Explanation]:
        """Explain the predictions of B questions, in their order.

        Args:
            question: `[B, D]` float32, unit rows.
            steering: `[B, D]` float32, unit rows where there is steering.
            has_steering: `[B]` bool.
            added: what every source's score gains besides, as when the policy was fitted (`gather_evidence`).

        Raises:
            ValueError: a shape does not fit, there is no question, or a value is not finite.
        """
        evidence = gather_evidence(self.predict, self.index, question, steering, has_steering, added=added)
        decisions = self.policy.decide(evidence.features)
        return [_explanation(evidence, decisions, self.index, row) for row in range(len(evidence))]

    def compare_steering(
        self, question: NDArray[np.float32], steerings: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, Explanation]:
        """Explain one question without steering and under each of several, by label.

        Args:
            question: `[D]` float32, unit.
            steerings: label -> `[D]` float32, unit. The label "without steering" is taken.

        Raises:
            ValueError: as `explain_batch`, or a label is taken.
        """
        if WITHOUT_STEERING in steerings:
            raise ValueError(f"the label {WITHOUT_STEERING!r} is that of the explanation without any; choose another")
        vectors = np.stack([np.zeros_like(question), *steerings.values()])
        has_steering = np.arange(len(vectors)) > 0
        explanations = self.explain_batch(np.tile(question, (len(vectors), 1)), vectors, has_steering)
        return dict(zip((WITHOUT_STEERING, *steerings), explanations, strict=True))


def write_explanations(path: Path, explanations: Sequence[Explanation]) -> None:
    """Write one JSON object per line, atomically; `Explanation.model_validate_json` reads a line."""
    with atomic_file(path) as file:
        file.writelines(explanation.model_dump_json().encode() + b"\n" for explanation in explanations)


def _explanation(evidence: Evidence, decisions: Decisions, index: SourceIndex, row: int) -> Explanation:
    results = zip(
        evidence.result_ids[row], evidence.result_scores[row], evidence.ranks_without_steering[row], strict=True
    )
    known = zip(evidence.known_ids[row], evidence.known_similarities[row], strict=True)
    return Explanation(
        actionable_signal=decisions.signals[row],
        reasons=decisions.reasons[row],
        confidence=float(decisions.confidence[row]),
        results_confidence=float(decisions.among_results[row]),
        primary_subspace=index.names[int(evidence.routing[row].argmax())],
        subspace_confidence=float(decisions.subspace_confidence[row]),
        routing_distribution=dict(zip(index.names, evidence.routing[row].astype(float).tolist(), strict=True)),
        routing_entropy=float(evidence.feature("routing_entropy")[row]),
        has_steering=bool(evidence.feature("has_steering")[row]),
        steering_influence=float(evidence.steering_influence[row]),
        rank_change=float(evidence.rank_change[row]),
        primary_without_steering=index.names[int(evidence.routing_without_steering[row].argmax())],
        atypicality=float(decisions.atypicality[row]),
        results=tuple(
            ExplainedResult(
                source=int(source),
                subspace=index.names[int(index.source_category[source])],
                score=float(score),
                rank_without_steering=int(rank),
            )
            for source, score, rank in results
        ),
        similar_known_pairs=tuple(
            SimilarKnownPair(known=int(pair), source=int(index.known_sources[pair]), similarity=float(similarity))
            for pair, similarity in known
        ),
        prediction=tuple(evidence.vectors[row].astype(float).tolist()),
    )
