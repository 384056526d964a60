"""How baselines are trained. Imports nothing that trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """How one adapter is trained."""

    temperature: float = 0.05
    """Temperature of the softmax over cosines."""
    negatives: Literal["batch", "corpus"] = "batch"
    """What to contrast with: the other sources of a batch, in both directions, or every source there is."""
    learning_rate: float = 1e-3
    """Learning rate of Adam (Kingma and Ba 2015)."""
    max_epochs: int = 60
    """Number of epochs at most; training stops early when validation MRR has not risen for `patience`."""
    patience: int = 6
    """Epochs without a better validation MRR after which training stops."""
    taught: float = 0.0
    """Share of the loss, in [0, 1], that asks for a teacher's softmax over candidates; the rest asks for the answer."""
    teacher_temperature: float = 1.0
    """Divisor of the teacher's scores, and of the adapter's own beside its temperature."""


GRID = (
    AdapterSettings(temperature=0.03),
    AdapterSettings(temperature=0.05),
    AdapterSettings(temperature=0.05, negatives="corpus"),
)
"""The settings that `fit_adapter` chooses from."""
