"""A trained model as it is used and kept: a predictor, and the projection of its space if there is one.

A model folder holds `model.safetensors`, `model.json` and a model card; nothing in it is executed when it is read.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from torch import Tensor, nn

from sightline.jepa.config import JEPAConfig
from sightline.jepa.files import atomic_file
from sightline.jepa.models.inputs import unit_rows
from sightline.jepa.models.model_card import model_card
from sightline.jepa.models.predictor import SteeredPredictor, in_evaluation_mode
from sightline.jepa.models.projection import SharedProjection
from sightline.jepa.models.routed_predictor import Decomposition, RoutedPredictor, extended
from sightline.jepa.models.scorer import FilterAwareScorer, FilteredQuery

Predictor = FilterAwareScorer | SteeredPredictor | RoutedPredictor


class ModelError(ValueError):
    """A model folder cannot be used; the message says which file and why."""


class ModelManifest(BaseModel):
    """The file `model.json`: what the tensors beside it are."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    schema_version: Literal[2] = 2
    """Version of this record."""
    encoder: str
    """Name of the frozen encoder of the model's inputs."""
    names: list[str]
    """Names of the K subspaces."""
    config: JEPAConfig
    """Configuration that it was trained with."""

    @model_validator(mode="before")
    @classmethod
    def _read_first_version(cls, values: Any) -> Any:
        return from_first_version(values)


class JEPAModel:
    """Predicts where in the index the right source lies.

    Questions, steering and sources may be of any floating type, of any length other than 0, and on any device: they are
    brought to float32 unit rows where the model is. One question may come as `[D]`, with steering `[D]` and one bool;
    what is returned then lacks the axis B.

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

        E is D and the rows are unit vectors if the predictor is plain; others append what each of the K subspaces adds
        to the score of its sources, so that E is D + K.

        Args:
            question: `[B, D]` float, as the frozen encoder gives them.
            steering: `[B, D]` float; rows without steering do not matter.
            has_steering: `[B]` bool.
            steering_strength: strength with which to follow the steering: 0 ignores it, 1 is as trained.

        Raises:
            TypeError: question or steering are no floating-point numbers.
            ValueError: a shape does not fit, or a row is not finite or all zeros.
        """
        inputs = self._inputs(question, steering, has_steering)
        found = self.predictor.predict(*inputs, steering_strength)
        return found if question.ndim > 1 else found[0]

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
            question: `[B, D]` float, as the frozen encoder gives them.
            steering: `[B, D]` float; rows without steering do not matter.
            has_steering: `[B]` bool.
            steering_strength: strength with which to follow the steering: 0 ignores it, 1 is as trained.
            routing_weights: `[B, K]` float weights to use in place of the router's; None for the router's.

        Raises:
            TypeError: the predictor is no routed one, or inputs are no floating-point numbers.
            ValueError: a shape does not fit, or a row is not finite or all zeros.
        """
        if not isinstance(self.predictor, RoutedPredictor):
            raise TypeError("this model routes nothing, so its predictions have no parts; use predict")
        inputs = self._inputs(question, steering, has_steering)
        return self.predictor.decompose(*inputs, steering_strength, routing_weights=routing_weights)

    @torch.no_grad()
    def filter(
        self, question: Tensor, steering: Tensor, has_steering: Tensor, steering_strength: float = 1.0
    ) -> FilteredQuery:
        """Return a scorer's query, which is that of `predict`, with the probabilities of categories behind it.

        Args:
            question: `[B, D]` float, as the frozen encoder gives them.
            steering: `[B, D]` float; rows without steering do not matter.
            has_steering: `[B]` bool.
            steering_strength: strength with which to follow the steering: 0 ignores it, 1 is as trained.

        Raises:
            TypeError: the predictor is no scorer, or inputs are no floating-point numbers.
            ValueError: a shape does not fit, or a row is not finite or all zeros.
        """
        if not isinstance(self.predictor, FilterAwareScorer):
            raise TypeError("this model is no scorer, so it has no distribution over categories; use predict")
        inputs = self._inputs(question, steering, has_steering)
        return in_evaluation_mode(self.predictor, *inputs, steering_strength)

    @torch.no_grad()
    def embed_index(self, sources: Tensor, category: Tensor) -> Tensor:
        """Return what is searched, `[S, E]`: mapped or projected, and extended if subspaces add to scores.

        Args:
            sources: `[S, D]` float, as the frozen encoder gives them.
            category: `[S]` int64, the subspace that each is filed under, in [0, K).

        Raises:
            TypeError: the sources are no floating-point numbers.
            ValueError: a shape does not fit, a row is not finite or all zeros, or a subspace does not exist.
        """
        sources = unit_rows("sources", sources.to(self.device), self.config.predictor.dimension)
        category = self._checked_categories(category, len(sources)).to(self.device)
        if isinstance(self.predictor, FilterAwareScorer):
            sources = self.predictor.embed_sources(sources)
        if self.projection is not None:
            sources = self.projection(sources)
        if isinstance(self.predictor, SteeredPredictor):
            return sources
        return extended(sources, category, len(self.names))

    @torch.no_grad()
    def score(
        self,
        question: Tensor,
        steering: Tensor,
        has_steering: Tensor,
        candidates: Tensor,
        category: Tensor,
        *,
        mask: Tensor | None = None,
        steering_strength: float = 1.0,
    ) -> Tensor:
        """Return the scores `[B, N]` of candidates that each question brings along, such as what is on its page.

        Args:
            question: `[B, D]` float, as the frozen encoder gives them.
            steering: `[B, D]` float; rows without steering do not matter.
            has_steering: `[B]` bool.
            candidates: `[B, N, D]` float, each question's own, or `[N, D]`, the same for all.
            category: `[B, N]` or `[N]` int64, the subspace of each, in [0, K).
            mask: `[B, N]` bool, False for places that hold no candidate, whose score is -inf; None if all do.
            steering_strength: strength with which to follow the steering: 0 ignores it, 1 is as trained.

        Raises:
            TypeError: question, steering or candidates are no floating-point numbers.
            ValueError: a shape does not fit, or a row is not finite or all zeros.
        """
        queries = self.predict(question, steering, has_steering, steering_strength)
        shared = candidates.ndim == 2
        if not shared and (candidates.ndim != 3 or queries.ndim != 2 or len(candidates) != len(queries)):
            raise ValueError(
                f"candidates must be [N, D], or [B, N, D] for B questions; they are {list(candidates.shape)} for "
                f"questions {list(question.shape)}"
            )
        expected = (*queries.shape[:-1], candidates.shape[-2])
        if category.shape != candidates.shape[:-1] or (mask is not None and mask.shape != expected):
            raise ValueError(
                f"candidates {list(candidates.shape)} need as many categories, not {list(category.shape)}, and a mask "
                f"of {list(expected)} if any"
            )
        present = torch.ones(category.shape, dtype=torch.bool) if mask is None or shared else mask
        scores = queries.new_full(expected, -torch.inf)
        if shared:
            scores = queries @ self.embed_index(candidates, category).T
        else:
            index = self.embed_index(candidates[present], category[present])
            scores[present] = (queries[present.nonzero(as_tuple=True)[0]] * index).sum(dim=1)
        return scores if mask is None else scores.masked_fill(~mask.to(scores.device), -torch.inf)

    def with_categories(self, names: tuple[str, ...], descriptions: Tensor) -> JEPAModel:
        """Return the same scorer for other categories, seen in training or not; nothing is trained.

        Args:
            names: names of the K new categories.
            descriptions: `[K, D]` float, their descriptions as the frozen encoder gives them.

        Raises:
            TypeError: the predictor is no scorer, or the descriptions are no floating-point numbers.
            ValueError: there are not as many descriptions as names, or a row is not finite or all zeros.
        """
        if not isinstance(self.predictor, FilterAwareScorer):
            raise TypeError(f"a {self.config.model} model keeps the categories of its training; train a scorer")
        if len(descriptions) != len(names):
            raise ValueError(f"{len(names)} names need as many descriptions, not {len(descriptions)}")
        predictor = copy.deepcopy(self.predictor)
        predictor.with_descriptions(unit_rows("descriptions", descriptions, self.config.predictor.dimension))
        return JEPAModel(self.config, predictor, encoder=self.encoder, names=names, projection=self.projection)

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

    def _inputs(self, question: Tensor, steering: Tensor, has_steering: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return questions `[B, D]`, steering and whether it is given as the predictor wants them."""
        dimension = width = self.config.predictor.dimension
        if isinstance(self.predictor, FilterAwareScorer):
            width = self.predictor.steering_dimension
        if question.ndim == 1:
            question, steering, has_steering = question[None], steering[None], has_steering.reshape(1)
        question, steering, has_steering = (each.to(self.device) for each in (question, steering, has_steering))
        if has_steering.shape != question.shape[:1] or has_steering.dtype != torch.bool:
            raise ValueError(
                f"has_steering must be bool [{len(question)}], not {has_steering.dtype} {list(has_steering.shape)}"
            )
        if len(steering) != len(question):
            raise ValueError(f"{len(question)} questions need as many rows of steering, not {len(steering)}")
        question = unit_rows("question", question, dimension)
        steering = unit_rows("steering", steering, width, needed=has_steering)
        if self.projection is not None:
            question, steering = self.projection(question), self.projection(steering)
        return question, steering, has_steering

    def _checked_categories(self, category: Tensor, count: int) -> Tensor:
        if category.shape != (count,) or category.dtype != torch.int64:
            raise ValueError(f"category must be int64 [{count}], not {category.dtype} {list(category.shape)}")
        if count and not 0 <= int(category.min()) <= int(category.max()) < len(self.names):
            wrong = int(category.max()) if int(category.max()) >= len(self.names) else int(category.min())
            raise ValueError(
                f"category {wrong} is none of the model's 0 to {len(self.names) - 1}; a scorer takes new ones by "
                "with_categories(names, descriptions), other models must be trained with them"
            )
        return category


def make_predictor(config: JEPAConfig, centroids: Tensor, descriptions: Tensor) -> Predictor:
    """Return an untrained predictor of the configured kind.

    Args:
        config: configuration of the run.
        centroids: `[K, D]` float, unit rows, for the routed predictor.
        descriptions: `[K, D]` float, unit rows, for the scorer and the routed predictor.
    """
    if config.model == "plain":
        return SteeredPredictor(config.predictor)
    if config.model == "scorer":
        return FilterAwareScorer(config.predictor, config.scorer, descriptions)
    return RoutedPredictor(config.predictor, config.router, centroids, descriptions)


def from_first_version(values: Any) -> Any:
    """Return the fields of a record of version 1, in which `negatives: corpus` meant every source, as version 2.

    Args:
        values: fields of a record that holds a configuration; anything else is returned as it is.
    """
    if not isinstance(values, dict) or values.get("schema_version") != 1 or not isinstance(values.get("config"), dict):
        return values
    config = dict(values["config"])
    if isinstance(config.get("loss"), dict) and config["loss"].get("negatives") == "corpus":
        config["loss"] = config["loss"] | {"negatives": "corpus_all"}
    return values | {"schema_version": 2, "config": config}


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
    config, known = manifest.config, len(manifest.names)
    if config.model == "plain":
        return SteeredPredictor(config.predictor)
    if config.model == "scorer":
        descriptions = centroids = tensors["predictor.descriptions"]
    else:
        centroids = tensors["predictor.router.centroids"]
        descriptions = tensors["predictor.router.descriptions"]
    if len(descriptions) != known:
        raise ValueError(f"there are {len(descriptions)} descriptions for {known} names")
    return make_predictor(config, centroids, descriptions)
