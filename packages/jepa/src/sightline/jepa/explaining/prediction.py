"""A model as a function of arrays, so that what explains and measures models does not know how they are built.

Axes: B questions, D dimensions, K subspaces. `routed_predictions` and `plain_predictions` make such functions of
trained models; anything else that keeps to `PredictFunction` can be explained just as well.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.models.model import JEPAModel
from sightline.jepa.models.routed_predictor import RoutedPredictor
from sightline.jepa.ranking.source_index import SourceIndex


@dataclass(frozen=True, slots=True)
class PredictionParts:
    """A prediction and the parts it is made of."""

    vectors: NDArray[np.float32]
    """`[B, E]` float32, what the index is searched with: `unit(coarse + fine)`, and in a routed model K further
    coordinates, what each subspace adds to the scores of its sources.
    """
    routing: NDArray[np.float32]
    """`[B, K]` float32 weights of the subspaces; rows are not negative and sum to 1."""
    coarse: NDArray[np.float32]
    """`[B, D]` float32, what follows from the routing weights alone."""
    fine: NDArray[np.float32]
    """`[B, D]` float32, the rest."""


class PredictFunction(Protocol):
    """A model, as a function of arrays; the same inputs must give the same outputs."""

    def __call__(
        self,
        question: NDArray[np.float32],
        steering: NDArray[np.float32],
        has_steering: NDArray[np.bool_],
        /,
        *,
        steering_strength: float = 1.0,
        routing: NDArray[np.float32] | None = None,
    ) -> PredictionParts:
        """Predict.

        Args:
            question: `[B, D]` unit rows.
            steering: `[B, D]` unit rows; rows without steering do not matter.
            has_steering: `[B]` whether the row has steering.
            steering_strength: strength with which to follow the steering: 0 ignores it, 1 is as trained.
            routing: `[B, K]` weights to use in place of the model's own (an intervention); None leaves them.
        """
        ...


def index_for(model: JEPAModel, dataset: SteeringDataset) -> SourceIndex:
    """Index all sources of a data set as a model searches them, with its training pairs as what is known."""
    index = model.embed_index(*_tensors(model, dataset.sources, dataset.source_category))
    return SourceIndex.from_dataset(dataset, index.cpu().numpy())


def routed_predictions(model: JEPAModel) -> PredictFunction:
    """Return a routed model as a function; the model keeps its mode, device and gradients.

    Raises:
        TypeError: the model's predictor is not a `RoutedPredictor`.
    """
    if not isinstance(model.predictor, RoutedPredictor):
        raise TypeError("this model routes nothing; use plain_predictions")

    def predict(
        question: NDArray[np.float32],
        steering: NDArray[np.float32],
        has_steering: NDArray[np.bool_],
        /,
        *,
        steering_strength: float = 1.0,
        routing: NDArray[np.float32] | None = None,
    ) -> PredictionParts:
        weights = None if routing is None else _tensors(model, routing)[0]
        parts = model.decompose(
            *_tensors(model, question, steering, has_steering), steering_strength, routing_weights=weights
        )
        return PredictionParts(
            vectors=parts.query.cpu().numpy(),
            routing=parts.routing_weights.cpu().numpy(),
            coarse=parts.coarse.cpu().numpy(),
            fine=parts.fine.cpu().numpy(),
        )

    return predict


def plain_predictions(
    model: JEPAModel, centroids: NDArray[np.float32], *, temperature: float = 0.05
) -> PredictFunction:
    """Return a model as a function, with subspaces read off its prediction afterwards.

    A plain model routes nothing, so its routing is a reading: `softmax(prediction . centroids / temperature)`; coarse
    is the mean of the centroids under it, fine the rest. Overriding the routing is therefore refused. A scorer adds
    what each category gains by the steering to the cosines, so that the reading says where its results are.

    Args:
        model: plain, or a scorer; of a routed one the routing would be ignored.
        centroids: `[K, D]` float32 unit rows, in the space of the predictions.
        temperature: temperature of the reading, in units of cosine.
    """

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
            raise ValueError("a plain model routes nothing, so its routing cannot be overridden")
        inputs = _tensors(model, question, steering, has_steering)
        vectors = model.predict(*inputs, steering_strength).cpu().numpy()
        prediction, prior = np.split(vectors, [centroids.shape[1]], axis=1)
        logits = (prediction @ centroids.T + (prior if prior.shape[1] else 0.0)) / temperature
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        coarse = weights @ centroids
        return PredictionParts(vectors=vectors, routing=weights, coarse=coarse, fine=prediction - coarse)

    return predict


def with_random_router(model: JEPAModel, *, seed: int) -> JEPAModel:
    """Return a copy whose router's maps are random, everything else untouched.

    The control for explanations (Adebayo et al. 2018): what the original says must not survive in the copy. The router
    adds the identity to each of its maps, so that zeros would still be a sensible router; here both are replaced by
    noise that keeps lengths, and the bias is shuffled.

    Args:
        model: a trained, routed model; it is not changed.
        seed: seed of the noise.

    Raises:
        TypeError: the model's predictor is not a `RoutedPredictor`.
    """
    predictor = copy.deepcopy(model.predictor)
    if not isinstance(predictor, RoutedPredictor):
        raise TypeError("this model has no router to randomise")
    router = predictor.router
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in (router.question_map, router.steering_map):
            dimension = layer.weight.shape[0]
            noise = torch.randn(dimension, dimension, generator=generator) / dimension**0.5
            layer.weight.copy_(noise - torch.eye(dimension))
        router.bias.copy_(router.bias[torch.randperm(len(router.bias), generator=generator)])
    return JEPAModel(model.config, predictor, encoder=model.encoder, names=model.names, projection=model.projection)


def _tensors(model: JEPAModel, *arrays: NDArray[np.generic]) -> list[torch.Tensor]:
    """Return copies on the model's device: a memory-mapped array is read-only, which torch cannot express."""
    return [torch.from_numpy(np.array(array)).to(model.device) for array in arrays]
