"""How baselines are trained. Imports nothing that trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """How one adapter is trained.

    Attributes:
        temperature: temperature of the softmax over cosines.
        negatives: what to contrast with: the other sources of a batch, in both directions, or every source there is.
        learning_rate: learning rate of Adam (Kingma and Ba 2015).
        max_epochs: number of epochs at most; training stops early when validation MRR has not risen for `patience`.
        patience: number of epochs.
    """

    temperature: float = 0.05
    negatives: Literal["batch", "corpus"] = "batch"
    learning_rate: float = 1e-3
    max_epochs: int = 60
    patience: int = 6


GRID = (
    AdapterSettings(temperature=0.03),
    AdapterSettings(temperature=0.05),
    AdapterSettings(temperature=0.05, negatives="corpus"),
)
"""The settings that `fit_adapter` chooses from."""
