"""The settings of the experiment with steered predictors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lab.settings import HASHING, EncoderSettings
from sightline.jepa import JEPAConfig
from sightline.jepa.baselines import GRID, AdapterSettings
from sightline.jepa.tuning import EncoderTuning, LowRankTuning

DataName = Literal["shop", "documentation", "docstrings"]


class TunedRows(EncoderTuning):
    """How the encoder itself is tuned, for rows of its own."""

    epochs: int = Field(default=0, ge=0)
    """Passes over the training pairs; 0 leaves these rows out, as they take minutes where others take seconds."""
    seeds: int = Field(default=1, ge=1)
    """How many of the seeds it is tuned with."""
    folds: int = Field(default=0, ge=0)
    """Parts of the training questions that it is also tuned without, with the first seed, as `folds` of the run are."""


class Distillation(LowRankTuning):
    """How a cross-encoder, which never reads longer pairs than in its tuning, is tuned and teaches an adapter."""

    epochs: int = Field(default=0, ge=0)
    """Passes over the training pairs; 0 leaves these rows out, as they take minutes where others take seconds."""
    seeds: int = Field(default=1, ge=1)
    """How many of the seeds it is tuned with."""
    batch_size: int = Field(default=8, ge=1)
    """Training pairs of a step, each with its candidates."""
    pairs: int = Field(default=700, ge=1)
    """Training pairs of an epoch at most, drawn at random; once tuned, it scores candidates of every training pair."""
    candidates: int = Field(default=6, ge=2)
    """Sources of a training pair that are told apart: the right one, and wrong ones drawn among the nearest."""
    reranked: int = Field(default=20, ge=2)
    """How many of the best sources of a validation or test question the cross-encoder scores."""


class SteeringSettings(EncoderSettings):
    """Does a learned predictor use steering better than simple baselines do, and do its explanations tell the truth?"""

    SMOKE: ClassVar[Mapping[str, Any]] = {
        "threads": 1,
        "seeds": (0, 1),
        "generated_products": 140,
        "instructions_per_product": 1,
        "documentation_sources": 250,
        "documentation_characters": 150,
        "docstring_pairs": 50,
        "adapter_epochs": 3,
        "adapter_choices": 1,
        "folds": 2,
        "scorer": {"model": "scorer", "training": {"epochs": 4, "batch_size": 64}},
        "plain": {"model": "plain", "training": {"epochs": 4, "batch_size": 64}},
        "routed": {"model": "routed", "training": {"epochs": 4, "batch_size": 64}},
        "cards": 2,
    }
    INCIDENTAL: ClassVar[frozenset[str]] = EncoderSettings.INCIDENTAL | {"threads"}

    threads: int = Field(default=2, ge=1)
    """Threads of PyTorch."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2, 3, 4), min_length=1)
    """Everything that is trained is trained once for each."""
    data: tuple[DataName, ...] = Field(default=("shop", "documentation", "docstrings"), min_length=1)
    """Which data sets to use: requests and products of the generated shop, the documentation bundled with awscli, the
    docstrings of Python's own library."""

    generated_products: int = Field(default=2000, ge=100)
    """Products in the generated catalogue."""
    shop_seed: int = 42
    """Seed of the generated catalogue and its goals."""
    instructions_per_product: int = Field(default=3, ge=1)
    """Questions about each product that name its kind, as people put them, and as many as the shop makes them up;
    questions that do not name it are made wherever possible."""
    documentation_sources: int | None = Field(default=None, ge=50)
    """Use only some services, with at most so many sources together; without it all of them."""
    documentation_characters: int = Field(default=1000, ge=100)
    """Characters kept of each documentation text, and of each docstring."""
    docstring_pairs: int = Field(default=5, ge=1)
    """Modules of Python's standard library with fewer pairs are left out."""

    adapter_epochs: int = Field(default=60, ge=1)
    """Epochs at most of each adapter that is tried."""
    adapter_choices: int = Field(default=len(GRID), ge=1, le=len(GRID))
    """How many of the settings of adapters are tried; validation decides between them."""
    negatives: Literal["auto", "batch", "corpus"] = "auto"
    """What models are contrasted with: the sources of the batch, those of all training pairs, or what validation
    prefers with the first seed. Sources of validation and test never serve as wrong answers."""
    ablation_seeds: int = Field(default=2, ge=0)
    """How many of the seeds also train the plain predictor with single parts of its objective changed; 0 for none."""
    scorer: JEPAConfig = JEPAConfig(model="scorer")
    """The filter-aware scorer; its dimension, negatives, residual, stages and seed are set by the run."""
    plain: JEPAConfig = JEPAConfig(model="plain")
    """The predictor; its dimension, negatives and seed are set by the run."""
    routed: JEPAConfig = JEPAConfig(model="routed")
    """The predictor with named subspaces."""
    tuning: TunedRows = TunedRows()
    """The encoder itself, tuned by LoRA; left out unless --tuning.epochs says otherwise."""
    distillation: Distillation = Distillation()
    """A cross-encoder, and an adapter that it teaches; left out unless --distillation.epochs says otherwise."""
    folds: int = Field(default=4, ge=0)
    """Parts of the training questions that predictors of the first seed do without, one at a time, to be asked them as
    further evidence of when an answer is right; 0 for the validation questions alone."""
    unreliable_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of questions whose category is wrong or missing, half of each, in the unreliable mode."""
    cards: int = Field(default=4, ge=0)
    """Explanations to show as pages, for each data set."""

    @model_validator(mode="after")
    def _models_are_what_they_are_called(self) -> Self:
        for name in ("scorer", "plain", "routed"):
            if getattr(self, name).model != name:
                raise ValueError(f"{name}.model must be {name!r}")
        for name, values in (("seeds", self.seeds), ("data", self.data)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} must not hold anything twice: {list(values)}")
        for name, tuned in (("tuning", self.tuning), ("distillation", self.distillation)):
            if tuned.epochs and self.encoder == HASHING:
                raise ValueError(f"{name}.epochs needs an encoder with a model, which {HASHING!r} has not")
        return self

    def adapter_grid(self, chosen: Mapping[str, float] | None = None) -> tuple[AdapterSettings, ...]:
        """Return the settings of adapters that are tried.

        Args:
            chosen: settings of an adapter, as its method names them, to try no others than these.
        """
        grid = (replace(each, max_epochs=self.adapter_epochs) for each in GRID[: self.adapter_choices])
        return tuple(
            each
            for each in grid
            if chosen is None
            or (each.temperature == chosen["temperature"] and (each.negatives == "corpus") == bool(chosen["corpus"]))
        )
