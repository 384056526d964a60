"""What one gets for a question: sources with their texts, how sure that is, what to do, and the page that shows it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sightline.jepa.explaining.decisions import ActionableSignal
from sightline.jepa.explaining.explanation import Explanation
from sightline.jepa.explaining.page import render_page


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class FoundSource(_Record):
    """One source that was found."""

    rank: int
    """Rank from 1."""
    id: str
    """Name of the source, as it was added."""
    text: str
    """What it says."""
    category: str
    """Category that it is filed under."""
    score: float
    """What it was ranked by; comparable within one answer only."""
    shared_words: Annotated[float, Field(ge=0)] = 0.0
    """How much of the score comes from words that the source shares with the question."""


class SimilarQuestion(_Record):
    """A question of the training data that is like the one asked, and what answered it there."""

    question: str
    """The question."""
    source: str
    """Name of the source that answers it."""
    similarity: float
    """Cosine of the two questions in the encoder's space."""


class Answer(_Record):
    """The answer to one question; one JSON object."""

    question: str
    """The question as it was asked; empty if it came as a vector."""
    steering: str | None
    """What steered, in words; None if nothing did."""
    decision: ActionableSignal
    """What to do: trust, check, ask or abstain."""
    advice: str
    """The same as a sentence."""
    reasons: tuple[str, ...]
    """Why, as sentences."""
    confidence: float | None
    """Calibrated probability that the first source is right; None where none has been learned: if steering was followed
    more or less than as trained, or the question came as a vector where words count.
    """
    results_confidence: float | None
    """Calibrated probability that a right one is among the first ten; None as for confidence."""
    sources: tuple[FoundSource, ...]
    """What was found, best first."""
    similar_questions: tuple[SimilarQuestion, ...]
    """Training questions like this one, most similar first."""
    explanation: Explanation
    """Everything that was measured; its sources are numbers in the order of the answerer's own."""
    explained_texts: tuple[str, ...]
    """Texts of the explanation's results, for the page."""

    def page(self, notice: str = "") -> str:
        """Return the answer as a self-contained HTML page that explains it.

        Args:
            notice: sentence to stand above everything else; empty for none.
        """
        found = {
            result.source: text for result, text in zip(self.explanation.results, self.explained_texts, strict=True)
        }
        known = {
            pair.known: (similar.question, similar.source, pair.source)
            for pair, similar in zip(self.explanation.similar_known_pairs, self.similar_questions, strict=True)
        }
        answers = {source: name for _, name, source in known.values()}
        return render_page(
            self.explanation,
            question=self.question or "(given as a vector)",
            steering=self.steering,
            source_text=lambda source: found.get(source) or answers[source],
            known_text=lambda row: known[row][0],
            notice=notice,
        )
