"""What differs from one growth problem to the next: damage, quality of the data, and what may be spent; without torch.

An instance says how a host departs from the plain one of its family, and is a pure function of a seed. Hosts, data and
what is grown in them know it; no observation shows it. Knows nothing about networks, stages or policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

_INSTANCE = 4  # after the four streams that hosts, samples, noise and seeds draw from

Range = tuple[float, float]
"""Least and greatest value, both possible."""


@dataclass(frozen=True)
class Instance:
    """One draw."""

    depth: int
    """Blocks that learn; those behind hand on what they get."""
    gain: float
    """Factor of the first channel maps."""
    severed: NDArray[np.bool_]
    """bool [2, K], slots without any effect or gradient, before and after the drift."""
    drift_at: float
    """Share of the episode after which the second row holds; 1 for never."""
    label_noise: float
    """Share of training labels that are replaced by random ones."""
    train_share: float
    """Share of the training part that there is."""
    budget: float
    """Parameters that may be planted in all, as a multiple of the host's own; infinite for any number."""


class InstanceDistribution(BaseModel):
    """Which instances there are. The defaults leave every host as its family is, with all its data and no budget."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    shallowest: int | None = Field(default=None, ge=1)
    """Least number of blocks that learn; None for all of them, always."""
    log_gain: Range = (0.0, 0.0)
    """Decimal logarithm of the factor of a host's first channel maps."""
    severed: tuple[int, int] = (0, 0)
    """Least and greatest number of slots whose seeds have no effect."""
    drift: float = Field(default=0.0, ge=0, le=1)
    """Probability that slots are severed anew, at a random step of an episode's middle third."""
    label_noise: Range = (0.0, 0.0)
    """Share of training labels that are replaced by random ones."""
    log_train_share: Range = (0.0, 0.0)
    """Decimal logarithm of the share of the training part that there is."""
    log_budget: Range | None = None
    """Decimal logarithm of the budget, as a multiple of the host's parameters; None for no budget."""

    @model_validator(mode="after")
    def _ranges_are_possible(self) -> Self:
        for name in ("log_gain", "severed", "label_noise", "log_train_share", "log_budget"):
            value = getattr(self, name)
            if value is not None and value[0] > value[1]:
                raise ValueError(f"{name} must be the least and the greatest value, in this order; got {value}")
        if self.severed[0] < 0:
            raise ValueError(f"severed must not be negative, got {self.severed}")
        if not 0 <= self.label_noise[0] <= self.label_noise[1] < 1:
            raise ValueError(f"label_noise must lie in [0, 1), got {self.label_noise}")
        if self.log_train_share[1] > 0:
            raise ValueError(f"log_train_share must be at most 0, all samples there are; got {self.log_train_share}")
        return self

    @property
    def alters_hosts(self) -> bool:
        """Whether drawn hosts may differ from those of their family."""
        return self.shallowest is not None or self.log_gain != (0.0, 0.0)

    def draw(self, seed: int, num_slots: int) -> Instance:
        """Return the instance of a seed.

        Args:
            seed: non-negative; equal ones give equal instances.
            num_slots: K, also the number of blocks.

        Raises:
            ValueError: the host has too few slots or blocks for these settings.
        """
        if self.severed[1] > num_slots or (self.shallowest or 1) > num_slots:
            raise ValueError(f"{num_slots} slots are too few: shallowest is {self.shallowest}, severed {self.severed}")
        generator = np.random.default_rng([seed, _INSTANCE])
        # Every draw is made, whether or not it is used, so that changing one range leaves the others' values alone.
        depth = generator.integers(self.shallowest or num_slots, num_slots, endpoint=True)
        counts = generator.integers(*self.severed, endpoint=True, size=2)
        order = np.stack([generator.permutation(num_slots) for _ in range(2)])
        severed = order < counts[:, None]
        drifts = generator.random() < self.drift
        when = generator.uniform(1 / 3, 2 / 3)
        shares = {
            name: float(generator.uniform(*(getattr(self, name) or (0.0, 0.0))))
            for name in ("log_gain", "label_noise", "log_train_share", "log_budget")
        }
        return Instance(
            depth=int(depth),
            gain=10.0 ** shares["log_gain"],
            severed=severed if drifts else severed[[0, 0]],
            drift_at=when if drifts else 1.0,
            label_noise=shares["label_noise"],
            train_share=10.0 ** shares["log_train_share"],
            budget=np.inf if self.log_budget is None else 10.0 ** shares["log_budget"],
        )
