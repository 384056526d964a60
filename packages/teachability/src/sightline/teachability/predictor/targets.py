"""What all predictors share: what they learn, with what settings, on what scale. Knows none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sightline.teachability.records import Record

Floats = NDArray[np.float64]

NUMBERS = ("elp", "L_local", "L_upper", "depth")
"""Predicted by regression."""

CLASSES: dict[str, int] = {"quadrant": 4, "route": 3}
"""Predicted by classification, with their number of classes."""

PREDICTOR_FILE = "predictor.json"


class PredictorConfig(Record):
    """How a predictor is made."""

    kind: Literal["ridge", "mlp"] = "ridge"
    """`ridge` or `mlp`."""
    penalty: float = Field(30.0, gt=0)
    """Of the squared weights of the ridge, in units of examples."""
    hidden: tuple[int, ...] = (256, 128)
    """Widths of the network's layers."""
    members: int = Field(5, ge=1)
    """Networks of the ensemble."""
    epochs: int = Field(60, ge=1)
    """Most passes."""
    patience: int = Field(10, ge=1)
    """Passes without improvement on the held-out tenth before it stops; the best weights are kept."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of AdamW."""
    weight_decay: float = Field(1e-2, ge=0)
    """Of AdamW."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of hidden units left out in training."""
    seed: int = 0
    """Seed of the networks."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What is learnt."""

    numbers: Mapping[str, Floats]
    """Per head of `NUMBERS`, [N]; nan where it was not measured."""
    weights: Mapping[str, Floats]
    """Per head, [N] how much a number counts."""
    classes: Mapping[str, NDArray[np.int64]]
    """Per head of `CLASSES`, [N] class, -1 where it was not decided."""

    def rows(self, index: NDArray[np.int64]) -> Targets:
        """Return the targets of some rows."""
        return Targets(
            {name: values[index] for name, values in self.numbers.items()},
            {name: values[index] for name, values in self.weights.items()},
            {name: values[index] for name, values in self.classes.items()},
        )


class Predictor(Protocol):
    """A fitted model."""

    def predict(self, features: Floats) -> dict[str, Floats]:
        """Return, per head, [N] numbers or [N, C] probabilities, and `spread`, [N] disagreement about ELP."""
        ...

    def save_pretrained(self, folder: Path) -> None:
        """Write the model into a folder."""
        ...


class Scaler:
    """Centres features and scales them to unit variance; constant ones become 0."""

    def __init__(self, mean: Floats, scale: Floats) -> None:
        self.mean, self.scale = mean, scale

    @classmethod
    def of(cls, features: Floats) -> Scaler:
        """Return the scaler of some features, [N, D]."""
        spread = features.std(axis=0)
        return cls(features.mean(axis=0), np.where(spread > 1e-9, spread, np.inf))

    def __call__(self, features: Floats) -> Floats:
        """Return scaled features."""
        if features.shape[1] != len(self.mean):
            raise ValueError(f"the predictor was made for {len(self.mean)} features, not {features.shape[1]}")
        return (features - self.mean) / self.scale
