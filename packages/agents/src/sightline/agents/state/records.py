"""What a training run of the state model found. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.agents.state.model import RecurrentStateModel


@dataclass(frozen=True)
class NextActionMetrics:
    """One epoch of training; accuracies are over all decisions of the held-out episodes."""

    epoch: int
    """Number of the epoch, from 1."""
    loss: float
    """Mean training cross-entropy of the recurrent model's prediction, in nats."""
    model_acc: float
    """Accuracy of the recurrent model."""
    baseline_last_obs_acc: float
    """Accuracy of the learned head that sees the last observation only."""
    majority_class_baseline: float
    """Accuracy of always answering the most frequent type of the training decisions."""


@dataclass(frozen=True)
class NextActionResult:
    """A trained state model."""

    model: RecurrentStateModel
    """The model on the CPU, in evaluation mode, with the weights of the best epoch."""
    metrics: tuple[NextActionMetrics, ...]
    """One entry per epoch."""
    best_epoch: int
    """The first epoch with the highest `model_acc`."""

    @property
    def best(self) -> NextActionMetrics:
        """The best epoch's metrics."""
        return self.metrics[self.best_epoch - 1]
