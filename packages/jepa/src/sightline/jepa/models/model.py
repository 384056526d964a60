"""A trained model as it is used and kept: a predictor, and the projection of its space if there is one.

A model folder holds `model.safetensors` and `model.json`; nothing in it is executed when it is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from sightline.jepa.config import JEPAConfig
from sightline.jepa.files import atomic_file
from sightline.jepa.models.predictor import SteeredPredictor
from sightline.jepa.models.projection import SharedProjection
from sightline.jepa.models.routed_predictor import DecomposedPredictor, extended

Predictor = SteeredPredictor | DecomposedPredictor


class ModelError(ValueError):
    """A model folder cannot be used; the message says which file and why."""


class ModelCard(BaseModel):
    """The file `model.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    encoder: str
    names: list[str]
    config: JEPAConfig


class JEPAModel:
    """Predicts where in the index the right source lies.

    Attributes:
        config: what it was trained with.
        encoder: name of the frozen encoder of its inputs.
        names: of the K subspaces.
        predictor: plain or routed.
        projection: what questions, steering and index go through; None in the encoder's own space.
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

    @torch.no_grad()
    def predict(self, question: Tensor, steering: Tensor, given: Tensor, obedience: float = 1.0) -> Tensor:
        """What to search `embed_index` with, by inner product: `[B, E]`.

        E is D and the rows are unit vectors if the predictor is plain; a routed one appends what each of the K
        subspaces adds to the score of its sources, so that E is D + K.

        Args:
            question: `[B, D]` float, unit rows, as the frozen encoder gives them.
            steering: `[B, D]` float, unit rows; rows that are not given do not matter.
            given: `[B]` bool.
            obedience: how far to follow the steering: 0 ignores it, 1 is as trained.
        """
        if self.projection is not None:
            question, steering = self.projection(question), self.projection(steering)
        return self.predictor.predict(question, steering, given, obedience)

    @torch.no_grad()
    def embed_index(self, sources: Tensor, category: Tensor) -> Tensor:
        """What is searched, `[S, E]`: the sources, projected if there is a projection, extended if there is a router.

        Args:
            sources: `[S, D]` float, unit rows, as the frozen encoder gives them.
            category: `[S]` int64, the subspace that each is filed under.
        """
        projected = sources if self.projection is None else self.projection(sources)
        if isinstance(self.predictor, DecomposedPredictor):
            return extended(projected, category, self.predictor.router.num_subspaces)
        return projected

    def save(self, folder: Path) -> None:
        """Write the model; each of the two files is replaced whole, the tensors first."""
        tensors = {f"predictor.{name}": value.contiguous() for name, value in self.predictor.state_dict().items()}
        if self.projection is not None:
            tensors |= {f"projection.{name}": value for name, value in self.projection.state_dict().items()}
        card = ModelCard(encoder=self.encoder, names=list(self.names), config=self.config)
        with atomic_file(folder / "model.safetensors") as file:
            file.write(safetensors.torch.save(tensors))
        with atomic_file(folder / "model.json") as file:
            file.write(card.model_dump_json(indent=2).encode())

    @classmethod
    def open(cls, folder: Path) -> JEPAModel:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: a file is missing.
            ModelError: a file is damaged, or the two do not belong together.
        """
        path = folder / "model.json"
        try:
            card = ModelCard.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ModelError(f"{path}, field {'.'.join(map(str, first['loc']))!r}: {first['msg']}") from error
        tensors = read_tensors(folder / "model.safetensors")
        try:
            predictor = _untrained(card, tensors)
            predictor.load_state_dict(with_prefix(tensors, "predictor."))
            projection = None
            if card.config.target == "projection":
                projection = SharedProjection(card.config.predictor.dimension)
                projection.load_state_dict(with_prefix(tensors, "projection."))
                projection.requires_grad_(False).eval()
        except (KeyError, RuntimeError, ValueError) as error:
            raise ModelError(f"{folder}: model.safetensors does not fit model.json: {str(error)[:300]}") from error
        predictor.requires_grad_(False).eval()
        return cls(card.config, predictor, encoder=card.encoder, names=tuple(card.names), projection=projection)


def make_predictor(config: JEPAConfig, centroids: Tensor, descriptions: Tensor) -> Predictor:
    """An untrained predictor of the configured kind; centroids and descriptions `[K, D]` are for the routed one."""
    if config.model == "plain":
        return SteeredPredictor(config.predictor)
    return DecomposedPredictor(config.predictor, config.router, centroids, descriptions)


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
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _untrained(card: ModelCard, tensors: dict[str, Tensor]) -> Predictor:
    if card.config.model == "plain":
        return SteeredPredictor(card.config.predictor)
    centroids = tensors["predictor.router.centroids"]
    if len(centroids) != len(card.names):
        raise ValueError(f"there are {len(centroids)} centroids for {len(card.names)} names")
    return make_predictor(card.config, centroids, tensors["predictor.router.descriptions"])
