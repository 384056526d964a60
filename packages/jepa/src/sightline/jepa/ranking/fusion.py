"""Late fusion: scores by vectors plus a multiple of BM25's, where validation says that shared words help.

Whatever made the vectors stays as it is. The weight of words is the best for all kinds of steering together, and may
be zero. This module knows the data set and how methods are measured; it knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from sightline.jepa.data.dataset import Ids, SteeringDataset
from sightline.jepa.data.steering import steering, steering_modes
from sightline.jepa.ranking.evaluation import Method, evaluate, method_scores, of_fixed_vectors
from sightline.jepa.ranking.lexical import LexicalIndex, TermCounts
from sightline.jepa.ranking.metrics import ScoreBlock, relevant_ranks
from sightline.jepa.ranking.source_index import blocks_of

_SATURATIONS: Final = (0.4, 0.9, 1.5)
_LENGTH_PENALTIES: Final = (0.5, 0.75, 1.0)
_WEIGHTS: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0)

_Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class SharedWords(BaseModel):
    """How much words that a question shares with a source count, as validation chose it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    weight: Annotated[FiniteFloat, Field(ge=0)]
    """What a source's score gains if it has all the question's words; 0 where words do not help."""
    saturation: Annotated[FiniteFloat, Field(gt=0)]
    """BM25's k1."""
    length_penalty: _Share
    """BM25's b."""
    validation: _Share
    """MRR of the validation questions with this weight, a mean over the kinds of steering."""
    validation_without: _Share
    """The same without words."""

    def index(self, texts: Sequence[str]) -> LexicalIndex:
        """Index texts with these settings."""
        return TermCounts.of(texts).weighted(self.saturation, self.length_penalty)

    def scores(self, index: LexicalIndex, questions: Sequence[str]) -> NDArray[np.float32]:
        """Return what every source's score gains by words shared with each of B questions, `[B, S]` float32."""
        return np.float32(self.weight) * index.shares(questions)


def fit_lexical_index(dataset: SteeringDataset) -> LexicalIndex:
    """Index the sources' texts, with the k1 and b under which BM25 alone has the highest MRR on validation questions.

    Raises:
        ValueError: the data set has no texts.
    """
    terms = TermCounts.of(texts_of(dataset)[1])
    questions = dataset.queries("validation")
    unsteered = steering(dataset, questions, "none")

    def score(index: LexicalIndex) -> float:
        return float(evaluate(bm25(index, dataset), dataset, questions, unsteered).reciprocal_rank.mean())

    return max((terms.weighted(k1, b) for k1 in _SATURATIONS for b in _LENGTH_PENALTIES), key=score)


def bm25(index: LexicalIndex, dataset: SteeringDataset) -> Method:
    """Return BM25 itself as a method; no steering."""
    settings = {"k1": index.saturation, "b": index.length_penalty}
    return of_fixed_vectors("BM25", index.sources, index.counts_of(texts_of(dataset)[0]), settings)


def fit_shared_words(
    index: LexicalIndex, questions: Sequence[str], modes: Sequence[ScoreBlock], relevant: Sequence[Ids]
) -> SharedWords:
    """Choose the weight of words that has the highest MRR, a mean over all modes; the smallest of equals.

    Args:
        index: sources' texts.
        questions: texts of q validation questions.
        modes: scores of all sources for these questions without words, once for each kind of steering.
        relevant: ids of the right sources of each question.
    """
    found = np.zeros(len(_WEIGHTS))
    for rows in blocks_of(len(relevant)):
        shares, wanted = index.shares(questions[rows]), relevant[rows]
        for scores in modes:
            without = scores(rows)
            for place, weight in enumerate(_WEIGHTS):
                fused = without + np.float32(weight) * shares
                found[place] += sum(1 / ranks[0] for ranks in relevant_ranks(fused.__getitem__, wanted))
    means = found / (len(modes) * len(relevant))
    best = int(means.argmax())
    return SharedWords(
        weight=_WEIGHTS[best],
        saturation=index.saturation,
        length_penalty=index.length_penalty,
        validation=float(means[best]),
        validation_without=float(means[0]),
    )


def with_bm25(
    method: Method, index: LexicalIndex, dataset: SteeringDataset, *, unreliable_share: float = 0.3
) -> Method:
    """Return a method to whose scores a multiple of BM25's is added, none where validation prefers that.

    Args:
        method: method to add to; its scores should be of the size of cosines.
        index: texts of the data set's sources.
        dataset: the data, with its texts.
        unreliable_share: share of wrong or missing categories among the kinds of steering that are weighed up.

    Raises:
        ValueError: the data set has no texts.
    """
    texts, questions = texts_of(dataset)[0], dataset.queries("validation")
    words = fit_shared_words(
        index,
        [texts[question] for question in questions],
        [method_scores(method, questions, mode) for mode in steering_modes(dataset, questions, unreliable_share)],
        dataset.relevant(questions),
    )
    chosen = {"k1": words.saturation, "b": words.length_penalty, "words": words.weight}
    fused = replace(method, name=f"{method.name} with BM25", settings={**method.settings, **chosen})
    if not words.weight:
        return fused
    added = of_fixed_vectors("BM25", index.sources, np.float32(words.weight) * index.normalised(texts))
    return replace(fused, added=replace(added, added=method.added))


def texts_of(dataset: SteeringDataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the texts of questions and of sources.

    Raises:
        ValueError: the data set has none.
    """
    if not (dataset.question_texts and dataset.source_texts):
        raise ValueError("shared words need the texts, and this data set was made without; build it with them")
    return dataset.question_texts, dataset.source_texts
