"""From a trained model and its data set to what an answerer consists of.

When to trust an answer is learned on questions that no model has seen: those of validation, and training questions that
are answered by models which were trained without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from sightline.jepa.asking.contents import AnswererError, Category, Contents, KnownPair, StoredSource
from sightline.jepa.asking.encoders import TextEncoder
from sightline.jepa.data.dataset import Ids, SteeringDataset, unit
from sightline.jepa.data.splits import TRAIN, pair_components
from sightline.jepa.data.steering import Steering, steering_modes
from sightline.jepa.explaining.decisions import AnswerPolicy, fit_policy
from sightline.jepa.explaining.evidence import Outcomes, gather_evidence, judge
from sightline.jepa.explaining.prediction import PredictFunction, plain_predictions, routed_predictions
from sightline.jepa.models.model import JEPAModel
from sightline.jepa.models.routed_predictor import RoutedPredictor
from sightline.jepa.ranking.fusion import SharedWords, fit_lexical_index, fit_shared_words
from sightline.jepa.ranking.lexical import LexicalIndex
from sightline.jepa.ranking.source_index import SourceIndex, scores_of

_LEAST_GROUPS: Final = 5
_UNRELIABLE: Final = 0.3


def fit_contents(
    model: JEPAModel,
    dataset: SteeringDataset,
    encoder: TextEncoder,
    descriptions: Sequence[str] | None,
    source_ids: Sequence[str] | None,
    held_out: Sequence[HeldOut] = (),
) -> Contents:
    """Return what an answerer consists of; the arguments and errors are those of `Answerer.fit`."""
    if not (dataset.source_texts and dataset.question_texts):
        raise ValueError("an answerer returns texts, and this data set was made without; build it with them")
    if encoder.name != dataset.encoder:
        raise AnswererError(f"the data set was made with encoder {dataset.encoder!r}, not {encoder.name!r:.80}")
    count = len(dataset.sources)
    ids = [str(number) for number in range(count)] if source_ids is None else list(source_ids)
    about = list(dataset.names) if descriptions is None else list(descriptions)
    if len(ids) != count or len(about) != len(dataset.names):
        raise ValueError(
            f"there must be {count} source_ids and {len(dataset.names)} descriptions, not {len(ids)} and {len(about)}"
        )
    _check_held_out(held_out, dataset)
    search = _Search.of(model, dataset)
    words, policy = _learned(search, dataset, held_out)
    known = dataset.pairs[dataset.pair_split == TRAIN]
    return Contents(
        encoder=dataset.encoder,
        categories=tuple(
            Category(name=name, description=text) for name, text in zip(dataset.names, about, strict=True)
        ),
        model=model,
        policy=policy,
        sources=tuple(
            StoredSource(id=name, text=text, category=category)
            for name, text, category in zip(ids, dataset.source_texts, dataset.source_category.tolist(), strict=True)
        ),
        known=tuple(
            KnownPair(question=dataset.question_texts[question], source=source) for question, source in known.tolist()
        ),
        source_vectors=np.array(dataset.sources),
        category_vectors=np.array(dataset.category_vectors),
        centroids=search.centroids,
        known_vectors=np.array(dataset.questions[known[:, 0]]),
        shared_words=words,
    )


@dataclass(frozen=True)
class HeldOut:
    """A model that was trained without some training questions, which it can be asked like those of validation."""

    model: JEPAModel
    """Trained on the data set below."""
    dataset: SteeringDataset
    """The data set with these questions as its test part, as `hold_out_fold` returns it; its vectors may be of another
    encoder, such as one that was tuned without these questions."""


def embedded_sources(
    model: JEPAModel, sources: NDArray[np.float32], category: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return sources `[S, D]` as a model searches them, `[S, E]` float32."""
    rows, numbers = torch.from_numpy(np.array(sources)), torch.from_numpy(np.array(category))
    return model.embed_index(rows.to(model.device), numbers.to(model.device)).cpu().numpy()


def predict_function(model: JEPAModel, centroids: NDArray[np.float32]) -> PredictFunction:
    """Return a model of any kind as a function of arrays, with its own routing if it has one.

    Args:
        model: model of any kind.
        centroids: `[K, D]` float32, unit rows: where the sources of each category lie in what is searched.
    """
    if isinstance(model.predictor, RoutedPredictor):
        return routed_predictions(model)
    return plain_predictions(model, centroids)


def validation_groups(dataset: SteeringDataset) -> NDArray[np.int64]:
    """Return `[q]` int64, the component of each validation question: questions of one depend on each other.

    Raises:
        ValueError: there are too few to learn from when an answer is to be trusted.
    """
    groups = _groups(dataset, dataset.queries("validation"))
    if len(np.unique(groups)) < _LEAST_GROUPS:
        raise ValueError(
            f"{len(np.unique(groups))} independent validation questions are too few to learn when to trust an answer: "
            f"{_LEAST_GROUPS} are needed, and some hundred to promise anything; give more pairs"
        )
    return groups


def _groups(dataset: SteeringDataset, questions: Ids) -> NDArray[np.int64]:
    """Return the component `[q]` of each of these questions."""
    components = pair_components(dataset.pairs, dataset.question_text_ids, dataset.source_text_ids)
    paired, first = np.unique(dataset.pairs[:, 0], return_index=True)
    return components[first[np.searchsorted(paired, questions)]]


def _check_held_out(held_out: Sequence[HeldOut], dataset: SteeringDataset) -> None:
    """Refuse questions that are no training questions of the data set, or are held out twice.

    Raises:
        ValueError: there are such questions, or other sources.
    """
    left = set(np.unique(dataset.pairs[dataset.pair_split == TRAIN, 0]).tolist())
    for place, part in enumerate(held_out):
        questions = set(part.dataset.queries("test").tolist())
        if part.dataset.source_texts != dataset.source_texts or not questions <= left:
            raise ValueError(
                f"held_out[{place}] must hold out training questions of the data set, each but once, from the same "
                "sources; make its data set with hold_out_fold"
            )
        left -= questions


def _centroids(searched: NDArray[np.float32], dataset: SteeringDataset) -> NDArray[np.float32]:
    """Return the unit means `[K, D]` of what is searched of each category; without any, its description's vector."""
    dimension = dataset.sources.shape[1]
    sums = np.zeros((len(dataset.names), dimension), dtype=np.float64)
    np.add.at(sums, dataset.source_category, searched[:, :dimension])
    none = np.linalg.norm(sums, axis=1) < 1e-6
    sums[none] = dataset.category_vectors[none]
    return unit(sums)


@dataclass(frozen=True)
class _Search:
    """A model as a function of arrays, with what it searches."""

    predict: PredictFunction
    index: SourceIndex
    centroids: NDArray[np.float32]

    @classmethod
    def of(cls, model: JEPAModel, dataset: SteeringDataset) -> _Search:
        searched = embedded_sources(model, dataset.sources, dataset.source_category)
        centroids = _centroids(searched, dataset)
        return cls(predict_function(model, centroids), SourceIndex.from_dataset(dataset, searched), centroids)


def _learned(
    search: _Search, dataset: SteeringDataset, held_out: Sequence[HeldOut]
) -> tuple[SharedWords, AnswerPolicy]:
    """Learn how much shared words count on the validation questions, and probabilities of what is then found.

    Probabilities are learned on the questions that are held out as well. Each question is asked in every way that it
    can be steered.
    """
    lexical, ids = fit_lexical_index(dataset), dataset.queries("validation")
    questions, texts = np.asarray(dataset.questions[ids]), [dataset.question_texts[question] for question in ids]

    def scores(mode: Steering, rows: slice) -> NDArray[np.float32]:
        vectors = search.predict(questions[rows], mode.vectors[rows], mode.has_steering[rows]).vectors
        return scores_of(vectors, search.index)

    modes = [partial(scores, mode) for mode in steering_modes(dataset, ids, _UNRELIABLE)]
    words = fit_shared_words(lexical, texts, modes, dataset.relevant(ids))

    asked = [_asked(search, dataset, ids, validation_groups(dataset), words, lexical)]
    for part in held_out:
        ids, its_search = part.dataset.queries("test"), _Search.of(part.model, part.dataset)
        asked.append(_asked(its_search, part.dataset, ids, _groups(dataset, ids), words, lexical))
    features, outcomes, groups = zip(*asked, strict=True)
    return words, fit_policy(np.concatenate(features), Outcomes.joined(outcomes), np.concatenate(groups))


def _asked(
    search: _Search, dataset: SteeringDataset, ids: Ids, groups: Ids, words: SharedWords, lexical: LexicalIndex
) -> tuple[NDArray[np.float64], Outcomes, Ids]:
    """Return features `[B, F]`, outcomes and groups `[B]` of questions, each asked in every way it can be steered."""
    modes = steering_modes(dataset, ids, _UNRELIABLE)
    texts = [dataset.question_texts[question] for question in ids] * len(modes)
    evidence = gather_evidence(
        search.predict,
        search.index,
        np.tile(np.asarray(dataset.questions[ids]), (len(modes), 1)),
        np.concatenate([mode.vectors for mode in modes]),
        np.concatenate([mode.has_steering for mode in modes]),
        added=lambda rows: words.scores(lexical, texts[rows]),
    )
    outcomes = judge(evidence, search.index, dataset.relevant(ids) * len(modes))
    return evidence.features, outcomes, np.tile(groups, len(modes))
