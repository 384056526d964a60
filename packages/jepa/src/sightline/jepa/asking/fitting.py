"""From a trained model and its data set to what an answerer consists of; when to trust is learned on validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from sightline.jepa.asking.contents import AnswererError, Category, Contents, KnownPair, StoredSource
from sightline.jepa.asking.encoders import TextEncoder, encoded
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.splits import TRAIN, pair_components
from sightline.jepa.data.steering import Steering, steering, unreliable_steering
from sightline.jepa.explaining.decisions import AnswerPolicy, fit_policy
from sightline.jepa.explaining.evidence import gather_evidence, judge
from sightline.jepa.explaining.prediction import PredictFunction, PredictionParts, routed_predictions
from sightline.jepa.models.model import JEPAModel
from sightline.jepa.models.routed_predictor import RoutedPredictor
from sightline.jepa.ranking.source_index import SourceIndex

PROBE: Final = "What is this encoder? It is known by the vector of this text."
"""Text whose vector tells one encoder from another of the same name."""
_LEAST_GROUPS: Final = 5
_UNRELIABLE: Final = 0.3
_TEMPERATURE: Final = 0.05


def fit_contents(
    model: JEPAModel,
    dataset: SteeringDataset,
    encoder: TextEncoder,
    descriptions: Sequence[str] | None,
    source_ids: Sequence[str] | None,
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
    searched = embedded_sources(model, dataset.sources, dataset.source_category)
    centroids = _centroids(searched, np.asarray(dataset.source_category), len(dataset.names))
    index = SourceIndex.from_dataset(dataset, searched)
    known = dataset.pairs[dataset.pair_split == TRAIN]
    return Contents(
        encoder=dataset.encoder,
        categories=tuple(
            Category(name=name, description=text) for name, text in zip(dataset.names, about, strict=True)
        ),
        model=model,
        policy=_policy(predict_function(model, centroids), index, dataset),
        sources=tuple(
            StoredSource(id=name, text=text, category=category)
            for name, text, category in zip(ids, dataset.source_texts, dataset.source_category.tolist(), strict=True)
        ),
        known=tuple(
            KnownPair(question=dataset.question_texts[question], source=source) for question, source in known.tolist()
        ),
        source_vectors=np.array(dataset.sources),
        category_vectors=np.array(dataset.category_vectors),
        centroids=centroids,
        known_vectors=np.array(dataset.questions[known[:, 0]]),
        probe=encoded(encoder, [PROBE], dataset.sources.shape[1]),
    )


def embedded_sources(
    model: JEPAModel, sources: NDArray[np.float32], category: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return sources `[S, D]` as a model searches them, `[S, E]` float32."""
    rows, numbers = torch.from_numpy(np.array(sources)), torch.from_numpy(np.array(category))
    return model.embed_index(rows.to(model.device), numbers.to(model.device)).cpu().numpy()


def predict_function(model: JEPAModel, centroids: NDArray[np.float32]) -> PredictFunction:
    """Return any model as a function of arrays, with its own routing if it has one.

    The routing of others is read off what they search with: `softmax(query . centroids / 0.05)`. Where a model adds to
    the scores of a category's sources, that is in the query and so in the reading.

    Args:
        model: model of any kind.
        centroids: `[K, E]` float32, the mean of what is searched of each category.
    """
    if isinstance(model.predictor, RoutedPredictor):
        return routed_predictions(model)

    def predict(
        question: NDArray[np.float32],
        steering: NDArray[np.float32],
        has_steering: NDArray[np.bool_],
        /,
        *,
        steering_strength: float = 1.0,
        routing: NDArray[np.float32] | None = None,
    ) -> PredictionParts:
        if routing is not None:
            raise ValueError("this model routes nothing, so its routing cannot be overridden")
        inputs = [torch.from_numpy(np.array(array)).to(model.device) for array in (question, steering, has_steering)]
        vectors = model.predict(*inputs, steering_strength).cpu().numpy()
        logits = vectors @ centroids.T / _TEMPERATURE
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        dimension = question.shape[1]
        coarse = weights @ centroids[:, :dimension]
        return PredictionParts(vectors=vectors, routing=weights, coarse=coarse, fine=vectors[:, :dimension] - coarse)

    return predict


def validation_groups(dataset: SteeringDataset) -> NDArray[np.int64]:
    """Return `[q]` int64, the component of each validation question: questions of one depend on each other.

    Raises:
        ValueError: there are too few to learn from when an answer is to be trusted.
    """
    components = pair_components(dataset.pairs, dataset.question_text_ids, dataset.source_text_ids)
    paired, first = np.unique(dataset.pairs[:, 0], return_index=True)
    groups = components[first[np.searchsorted(paired, dataset.queries("validation"))]]
    if len(np.unique(groups)) < _LEAST_GROUPS:
        raise ValueError(
            f"{len(np.unique(groups))} independent validation questions are too few to learn when to trust an answer: "
            f"{_LEAST_GROUPS} are needed, and some hundred to promise anything; give more pairs"
        )
    return groups


def _centroids(searched: NDArray[np.float32], category: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """Return the means `[K, E]` of what is searched of each category, zeros where there is none."""
    sums = np.zeros((count, searched.shape[1]), dtype=np.float64)
    np.add.at(sums, category, searched)
    return (sums / np.maximum(np.bincount(category, minlength=count), 1)[:, None]).astype(np.float32)


def _policy(predict: PredictFunction, index: SourceIndex, dataset: SteeringDataset) -> AnswerPolicy:
    """Learn probabilities on the validation questions, each asked in every way that it can be steered."""
    questions = dataset.queries("validation")
    groups = validation_groups(dataset)
    modes: list[Steering] = [
        steering(dataset, questions, "none"),
        steering(dataset, questions, "category"),
        steering(dataset, questions, "keywords"),
        unreliable_steering(dataset, questions, _UNRELIABLE),
    ]
    modes = [modes[0], *(mode for mode in modes[1:] if mode.has_steering.any())]
    evidence = gather_evidence(
        predict,
        index,
        np.tile(np.asarray(dataset.questions[questions]), (len(modes), 1)),
        np.concatenate([mode.vectors for mode in modes]),
        np.concatenate([mode.has_steering for mode in modes]),
    )
    outcomes = judge(evidence, index, [*dataset.relevant(questions)] * len(modes))
    return fit_policy(evidence.features, outcomes, np.tile(groups, len(modes)))
