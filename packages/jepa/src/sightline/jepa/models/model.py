"""A trained model as it is used and kept: a predictor, and the projection of its space if there is one.

A model folder holds `model.safetensors`, `model.json` and a model card; nothing in it is executed when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from sightline.jepa.config import JEPAConfig
from sightline.jepa.files import atomic_file
from sightline.jepa.models.model_card import model_card
from sightline.jepa.models.predictor import SteeredPredictor
from sightline.jepa.models.projection import SharedProjection
from sightline.jepa.models.routed_predictor import Decomposition, RoutedPredictor, extended

Predictor = SteeredPredictor | RoutedPredictor


class ModelError(ValueError):
    """A model folder cannot be used; the message says which file and why."""


class ModelManifest(BaseModel):
    """The file `model.json`: what the tensors beside it are."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    """Version of this record."""
    encoder: str
    """Name of the frozen encoder of the model's inputs."""
    names: list[str]
    """Names of the K subspaces."""
    config: JEPAConfig
    """Configuration that it was trained with."""


class JEPAModel:
    """Predicts where in the index the right source lies.

    Args:
        config: configuration that it was trained with.
        predictor: plain or routed predictor.
        encoder: name of the frozen encoder of its inputs.
        names: names of the K subspaces.
        projection: module that questions, steering and index go through; None in the encoder's own space.
    """

    def __init__(
        self,
        config: JEPAConfig,
        predictor: Predictor,
        *,
        encoder: str,
        names: tuple[str, ...],
        projection: nn.Module | None = None,
    ) -> None:
        self.config = config
        self.encoder = encoder
        self.names = names
        self.predictor = predictor
        self.projection = projection

    @property
    def device(self) -> torch.device:
        """Where the predictor is."""
        return next(self.predictor.parameters()).device

    @torch.no_grad()
    def predict(
        self, question: Tensor, steering: Tensor, has_steering: Tensor, steering_strength: float = 1.0
    ) -> Tensor:
        """Return what to search `embed_index` with, by inner product: `[B, E]`.

        E is D and the rows are unit vectors if the predictor is plain; a routed one appends what each of the K
        subspaces adds to the score of its sources, so that E is D + K.

        Args:
            question: `[B, D]` float, unit rows, as the frozen encoder gives them.
            steering: `[B, D]` float, unit rows; rows without steering do not matter.
            has_steering: `[B]` bool.
            steering_strength: strength with which to follow the steering: 0 ignores it, 1 is as trained.
        """
        return self.predictor.predict(*self._projected(question, steering), has_steering, steering_strength)

    @torch.no_grad()
    def decompose(
        self,
        question: Tensor,
        steering: Tensor,
        has_steering: Tensor,
        steering_strength: float = 1.0,
        *,
        routing_weights: Tensor | None = None,
    ) -> Decomposition:
        """Return a routed model's prediction, whose `query` is that of `predict`, with the parts it is made of.

        Args:
            question: `[B, D]` float, unit rows, as the frozen encoder gives them.
            steering: `[B, D]` float, unit rows; rows without steering do not matter.
            has_steering: `[B]` bool.
            steering_strength: strength with which to follow the steering: 0 ignores it, 1 is as trained.
            routing_weights: `[B, K]` float weights to use in place of the router's; None for the router's.

        Raises:
            TypeError: the predictor is plain.
        """
        if not isinstance(self.predictor, RoutedPredictor):
            raise TypeError("this model routes nothing, so its predictions have no parts; use predict")
        return self.predictor.decompose(
            *self._projected(question, steering), has_steering, steering_strength, routing_weights=routing_weights
        )

    @torch.no_grad()
    def embed_index(self, sources: Tensor, category: Tensor) -> Tensor:
        """Return what is searched, `[S, E]`: projected if there is a projection, extended if there is a router.

        Args:
            sources: `[S, D]` float, unit rows, as the frozen encoder gives them.
            category: `[S]` int64, the subspace that each is filed under.
        """
        projected = sources if self.projection is None else self.projection(sources)
        if isinstance(self.predictor, RoutedPredictor):
            return extended(projected, category, self.predictor.router.num_subspaces)
        return projected

    def save_pretrained(self, folder: Path, validation: Mapping[str, float] | None = None) -> None:
        """Write `model.safetensors`, `model.json` and a model card; each file is replaced whole, the tensors first.

        Args:
            folder: folder to write into, made if need be.
            validation: validation MRR under each steering mode, for the model card.
        """
        tensors = {f"predictor.{name}": value.contiguous() for name, value in self.predictor.state_dict().items()}
        if self.projection is not None:
            tensors |= {f"projection.{name}": value for name, value in self.projection.state_dict().items()}
        manifest = ModelManifest(encoder=self.encoder, names=list(self.names), config=self.config)
        contents = {
            "model.safetensors": safetensors.torch.save(tensors),
            "model.json": manifest.model_dump_json(indent=2).encode(),
            "README.md": model_card(self.config, self.encoder, len(self.names), validation).encode(),
        }
        for name, content in contents.items():
            with atomic_file(folder / name) as file:
                file.write(content)

    @classmethod
    def from_pretrained(cls, folder: Path) -> JEPAModel:
        """Read what `save_pretrained` wrote.

        Raises:
            FileNotFoundError: a file is missing.
            ModelError: a file is damaged, or the two do not belong together.
        """
        path = folder / "model.json"
        try:
            manifest = ModelManifest.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ModelError(f"{path}, field {'.'.join(map(str, first['loc']))!r}: {first['msg']}") from error
        tensors = read_tensors(folder / "model.safetensors")
        try:
            predictor = _untrained(manifest, tensors)
            predictor.load_state_dict(with_prefix(tensors, "predictor."))
            projection = None
            if manifest.config.target == "projection":
                projection = SharedProjection(manifest.config.predictor.dimension)
                projection.load_state_dict(with_prefix(tensors, "projection."))
                projection.requires_grad_(False).eval()
        except (KeyError, RuntimeError, ValueError) as error:
            raise ModelError(f"{folder}: model.safetensors does not fit model.json: {str(error)[:300]}") from error
        predictor.requires_grad_(False).eval()
        return cls(
            manifest.config,
            predictor,
            encoder=manifest.encoder,
            names=tuple(manifest.names),
            projection=projection,
        )

    def _projected(self, question: Tensor, steering: Tensor) -> tuple[Tensor, Tensor]:
        """Return questions and steering `[B, D]` in the space that the model predicts in."""
        if self.projection is None:
            return question, steering
        return self.projection(question), self.projection(steering)


def make_predictor(config: JEPAConfig, centroids: Tensor, descriptions: Tensor) -> Predictor:
    """Return an untrained predictor of the configured kind.

    Args:
        config: configuration of the run.
        centroids: `[K, D]` float, unit rows, for the routed predictor.
        descriptions: `[K, D]` float, unit rows, for the routed predictor.
    """
    if config.model == "plain":
        return SteeredPredictor(config.predictor)
    return RoutedPredictor(config.predictor, config.router, centroids, descriptions)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        FileNotFoundError: there is no such file.
        ModelError: it is damaged.
    """
    try:
        return safetensors.torch.load(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path} is damaged or no safetensors file: {error}") from error


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _untrained(manifest: ModelManifest, tensors: dict[str, Tensor]) -> Predictor:
    if manifest.config.model == "plain":
        return SteeredPredictor(manifest.config.predictor)
    centroids = tensors["predictor.router.centroids"]
    if len(centroids) != len(manifest.names):
        raise ValueError(f"there are {len(centroids)} centroids for {len(manifest.names)} names")
    return make_predictor(manifest.config, centroids, tensors["predictor.router.descriptions"])
