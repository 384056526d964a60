"""Ask in words: a trained model, its sources, and what it takes to say how sure an answer is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.jepa.asking.answer import Answer, FoundSource, SimilarQuestion
from sightline.jepa.asking.changes import as_many, category_number, check_text, with_sources, without_sources
from sightline.jepa.asking.contents import AnswererError, Category, Contents, read_contents, write_contents
from sightline.jepa.asking.encoders import TextEncoder, TunedEncoder, encoded, unit_rows
from sightline.jepa.asking.fitting import HeldOut, embedded_sources, fit_contents, predict_function
from sightline.jepa.asking.own_encoder import open_own_encoder
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.explaining.decisions import Threshold
from sightline.jepa.explaining.explanation import Explainer, Explanation
from sightline.jepa.explaining.page import REASONS, SIGNALS
from sightline.jepa.models.model import JEPAModel
from sightline.jepa.ranking.fusion import SharedWords
from sightline.jepa.ranking.lexical import LexicalIndex
from sightline.jepa.ranking.source_index import NUM_RESULTS, SourceIndex, best, scores_of

_SAME_ENCODER: Final = 0.99
"""Least cosine of what an encoder makes of a source with what it made of it before; rounding costs far less."""


class Answerer:
    """Ranks sources for questions in words, says how sure that is and what to do, and takes sources in and out.

    Make one with `from_pretrained` or `fit`. Adding and removing sources does not train anything: probabilities are
    those learned with the sources of the training data, so train anew when most of them have changed.
    """

    def __init__(self, contents: Contents, encoder: TextEncoder) -> None:
        """Put an answerer together.

        Raises:
            AnswererError: the encoder is not the one that the contents were made with.
        """
        _check_encoder(contents, encoder)
        self._contents = contents
        self._encoder = encoder
        self._index: SourceIndex | None = None
        self._lexical: LexicalIndex | None = None

    @classmethod
    def from_pretrained(cls, folder: Path | str, encoder: TextEncoder | None = None) -> Answerer:
        """Read an answerer that `save_pretrained`, or the command `sightline-jepa train`, wrote.

        Args:
            folder: its folder.
            encoder: the encoder that it was trained with. None opens it: a tuned one lies in the folder, any other is
                one that `open_encoder` knows by its name.

        Raises:
            FileNotFoundError: there is no answerer in the folder.
            AnswererError: a file is damaged, or the encoder is another one.
            ImportError: the encoder needs sentence-transformers, which is not installed.
        """
        contents = read_contents(Path(folder))
        return cls(contents, open_own_encoder(folder) if encoder is None else encoder)

    @classmethod
    def fit(
        cls,
        model: JEPAModel,
        dataset: SteeringDataset,
        encoder: TextEncoder,
        *,
        descriptions: Sequence[str] | None = None,
        source_ids: Sequence[str] | None = None,
        held_out: Sequence[HeldOut] = (),
    ) -> Answerer:
        """Make an answerer of a trained model, and learn on the validation questions when it is to be trusted.

        They also choose how much words count that a question shares with a source (BM25), which may be nothing. They
        are asked without steering, with their category, with keywords where there are any, and with categories of
        which three in ten are wrong or missing. Probabilities hold for questions that come in such a mixture.

        Args:
            model: trained on this data set.
            dataset: the data, with its texts.
            encoder: the encoder that made its vectors.
            descriptions: `K` texts that say what a category is; None for the names.
            source_ids: `S` names of the sources; None for their numbers.
            held_out: models that were trained without a part of the training questions each, which then teach when to
                trust as well. Four folds of them make the evidence several times as much.

        Raises:
            ValueError: the data set has no texts, or too few sources, training pairs or validation questions; what is
                held out are no training questions of it, or the same ones twice.
            AnswererError: the encoder is another one.
        """
        return cls(fit_contents(model, dataset, encoder, descriptions, source_ids, held_out), encoder)

    def save_pretrained(self, folder: Path | str) -> None:
        """Write everything that answering needs; whoever reads the folder finds the old answerer or this one.

        A tuned encoder is written as well. Any other must be there under its name when the folder is read.
        """
        tuned = self._encoder if isinstance(self._encoder, TunedEncoder) else None
        write_contents(Path(folder), self._contents, tuned)

    @property
    def categories(self) -> tuple[Category, ...]:
        """What questions can be steered to."""
        return self._contents.categories

    @property
    def sources(self) -> dict[str, str]:
        """Text of every source by its id."""
        return {source.id: source.text for source in self._contents.sources}

    @property
    def shared_words(self) -> SharedWords | None:
        """How much words count that a question shares with a source; None in folders from before words counted."""
        return self._contents.shared_words

    @property
    def trust(self) -> Threshold:
        """From which confidence on an answer is trusted, and what that promises."""
        return self._contents.policy.trust

    def ask(
        self,
        question: str | ArrayLike,
        *,
        category: str | None = None,
        keywords: str | Sequence[str] | None = None,
        steering_strength: float = 1.0,
        top_k: int = NUM_RESULTS,
    ) -> Answer:
        """Answer one question.

        Args:
            question: the question in words, or its vector `[D]` by the same encoder. A vector shares no words with any
                source; where words count, no probabilities have been learned for it, and none are given.
            category: name of the area to steer to; None for none. Other areas are not ruled out.
            keywords: words that steer, in place of a category or beside it.
            steering_strength: how far to follow them: 0 ignores them, 1 is as trained, more exaggerates; infinity ranks
                all of the likeliest category first, if the model is a scorer. Probabilities are given for 1 alone.
            top_k: how many sources to return; the decision is about the first ten.

        Raises:
            TypeError: several questions were given.
            ValueError: the question is empty, the category is unknown, or a number is out of range.
        """
        if isinstance(question, list | tuple) and question and isinstance(question[0], str):
            raise TypeError("ask takes one question; give several to ask_batch")
        return self.ask_batch(
            [question],
            categories=[category],
            keywords=[keywords],
            steering_strength=steering_strength,
            top_k=top_k,
        )[0]

    def ask_batch(
        self,
        questions: Sequence[str | ArrayLike],
        *,
        categories: Sequence[str | None] | None = None,
        keywords: Sequence[str | Sequence[str] | None] | None = None,
        steering_strength: float = 1.0,
        top_k: int = NUM_RESULTS,
    ) -> list[Answer]:
        """Answer several questions, with the same answers as one at a time.

        Args:
            questions: B questions, each in words or as a vector `[D]`.
            categories: B names or None; None for no category at all.
            keywords: B keywords or None; None for no keywords at all.
            steering_strength: strength of the steering, as in `ask`.
            top_k: number of sources, as in `ask`.

        Raises:
            TypeError: a single string was given.
            ValueError: as `ask`, or another number of categories or keywords than of questions.
        """
        if isinstance(questions, str):
            raise TypeError("ask_batch takes a list of questions; give a single one to ask")
        most = np.inf if self._contents.model.config.model == "scorer" else np.finfo(np.float32).max
        if not 0 <= steering_strength <= most:
            raise ValueError(
                f"steering_strength must be a number of at least 0, not {steering_strength!r}"
                + ("; only model 'scorer' takes infinity" if steering_strength == np.inf else "")
            )
        if isinstance(top_k, bool) or top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k!r}")
        named = as_many("categories", categories, len(questions))
        typed = [_joined(words) for words in as_many("keywords", keywords, len(questions))]
        if not len(questions):
            return []
        vectors, steering, has_steering = self._vectors(
            questions, [category_number(self._contents.categories, name) for name in named], typed
        )
        predict = predict_function(self._contents.model, self._contents.centroids)
        predict = partial(predict, steering_strength=float(steering_strength))
        index = self._searched()
        shared = self._shared_words([question if isinstance(question, str) else "" for question in questions])
        explainer = Explainer(predict, index, self._contents.policy)
        explanations = explainer.explain_batch(vectors, steering, has_steering, added=shared.__getitem__)
        found = np.array([explanation.prediction for explanation in explanations], dtype=np.float32)
        scores = scores_of(found, index) + shared
        ids = best(scores, min(top_k, len(index.sources)))
        return [
            self._answer(
                question if isinstance(question, str) else "",
                _in_words(name, words),
                explanation,
                [(int(place), float(row_scores[place]), float(row_shared[place])) for place in row],
                calibrated=steering_strength == 1.0 and (isinstance(question, str) or not self._counts_words),
            )
            for question, name, words, explanation, row, row_scores, row_shared in zip(
                questions, named, typed, explanations, ids, scores, shared, strict=True
            )
        ]

    def add_sources(
        self, texts: Sequence[str], categories: Sequence[str], *, ids: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """Take new sources in, without training.

        Args:
            texts: n texts.
            categories: n names of categories that there are; new ones need training.
            ids: n names that are not taken; None makes some up.

        Returns:
            The n ids.

        Raises:
            TypeError: a single string was given.
            ValueError: a text is empty, a category unknown, or the numbers differ.
            AnswererError: an id is taken.
        """
        self._contents, names = with_sources(self._contents, self._encoder, texts, categories, ids)
        self._index = self._lexical = None
        return names

    def remove_sources(self, ids: Iterable[str]) -> None:
        """Take sources out, without training; training questions that only they answer are forgotten.

        Raises:
            TypeError: a single string was given.
            AnswererError: there is no such source, or too few sources or known questions would be left.
        """
        self._contents = without_sources(self._contents, ids)
        self._index = self._lexical = None

    def _vectors(
        self, questions: Sequence[str | ArrayLike], categories: Sequence[int | None], keywords: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Return questions and steering as unit rows `[B, D]`, and whether there is steering `[B]`."""
        contents = self._contents
        asked = [question for question in questions if isinstance(question, str)]
        for place, question in enumerate(questions):
            if isinstance(question, str):
                check_text(question, f"question {place}")
        texts = list(dict.fromkeys([*asked, *(words for words in keywords if words)]))
        rows = encoded(self._encoder, texts, contents.dimension) if texts else np.zeros((0, contents.dimension))
        row_of = dict(zip(texts, rows, strict=True))
        vectors = np.stack(
            [
                row_of[question]
                if isinstance(question, str)
                else unit_rows(np.atleast_2d(question), "a question's vector", 1, contents.dimension)[0]
                for question in questions
            ]
        )
        steering = np.zeros_like(vectors)
        for place, (category, words) in enumerate(zip(categories, keywords, strict=True)):
            if category is not None:
                steering[place] += contents.category_vectors[category]
            if words:
                steering[place] += row_of[words]
        lengths = np.linalg.norm(steering, axis=1, keepdims=True)
        has_steering = lengths[:, 0] > 1e-6  # keywords that say the opposite of the category cancel out
        return vectors, np.where(has_steering[:, None], steering / np.maximum(lengths, 1e-6), 0), has_steering

    def _searched(self) -> SourceIndex:
        if self._index is None:
            self._index = index_of(self._contents)
        return self._index

    @property
    def _counts_words(self) -> bool:
        return self._contents.shared_words is not None and self._contents.shared_words.weight > 0

    def _shared_words(self, questions: Sequence[str]) -> NDArray[np.float32]:
        """Return what every source's score gains by words shared with each question, `[B, S]` float32."""
        words, sources = self._contents.shared_words, self._contents.sources
        if words is None or not self._counts_words:
            return np.zeros((len(questions), len(sources)), dtype=np.float32)
        if self._lexical is None:
            self._lexical = words.index([source.text for source in sources])
        return words.scores(self._lexical, questions)

    def _answer(
        self,
        question: str,
        steering: str | None,
        explanation: Explanation,
        found: list[tuple[int, float, float]],
        *,
        calibrated: bool,
    ) -> Answer:
        sources, categories = self._contents.sources, self._contents.categories
        return Answer(
            question=question,
            steering=steering if explanation.has_steering else None,
            decision=explanation.actionable_signal,
            advice=SIGNALS[explanation.actionable_signal],
            reasons=tuple(REASONS[reason] for reason in explanation.reasons),
            confidence=explanation.confidence if calibrated else None,
            results_confidence=explanation.results_confidence if calibrated else None,
            sources=tuple(
                FoundSource(
                    rank=rank,
                    id=sources[place].id,
                    text=sources[place].text,
                    category=categories[sources[place].category].name,
                    score=score,
                    shared_words=shared,
                )
                for rank, (place, score, shared) in enumerate(found, start=1)
            ),
            similar_questions=tuple(
                SimilarQuestion(
                    question=self._contents.known[pair.known].question,
                    source=sources[pair.source].id,
                    similarity=pair.similarity,
                )
                for pair in explanation.similar_known_pairs
            ),
            explanation=explanation,
            explained_texts=tuple(sources[result.source].text for result in explanation.results),
        )


def index_of(contents: Contents) -> SourceIndex:
    """Return what is searched."""
    category = np.array([source.category for source in contents.sources], dtype=np.int64)
    return SourceIndex(
        sources=embedded_sources(contents.model, contents.source_vectors, category),
        source_category=category,
        names=contents.model.names,
        known_questions=contents.known_vectors,
        known_sources=np.array([pair.source for pair in contents.known], dtype=np.int64),
    )


def _check_encoder(contents: Contents, encoder: TextEncoder) -> None:
    if encoder.name != contents.encoder:
        raise AnswererError(
            f"the answerer was trained with encoder {contents.encoder!r}, not {encoder.name!r:.80}: their vectors do "
            "not compare; leave the encoder out, and from_pretrained opens the one that the folder names"
        )
    try:
        again = encoded(encoder, [contents.sources[0].text], contents.dimension)
    except ValueError as error:
        raise AnswererError(f"encoder {encoder.name!r} does not fit the answerer: {error}") from error
    cosine = float(again[0] @ contents.source_vectors[0])
    if cosine < _SAME_ENCODER:
        raise AnswererError(
            f"encoder {encoder.name!r} has the right name, but gives other vectors than in training (cosine "
            f"{cosine:.2f} for the first source): it is another version, or a model of another kind"
        )


def _joined(words: str | Sequence[str] | None) -> str:
    return " ".join((words if isinstance(words, str) else " ".join(words or ())).split())


def _in_words(category: str | None, keywords: str) -> str | None:
    parts = [*([] if category is None else [f"category {category}"]), *([f"keywords {keywords}"] if keywords else [])]
    return ", ".join(parts) or None
