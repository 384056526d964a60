"""What a growth environment asks of the networks that it grows, whatever these are.

Stacks of small hosts (`StackedTraining`) are one kind; whoever has another gives the same functions. A network has K
slots, and its training is cut into intervals. Letters: E networks, K slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.growth.governor import RestorableHosts
from sightline.tamiyo_policy.hosts.stacked.routing import SeedSetting
from sightline.tamiyo_policy.hosts.training import TrainingReport


class GrowingNetworks(Protocol):
    """E networks that are trained interval by interval while modules come and go in their slots."""

    @property
    def num_networks(self) -> int:
        """E."""
        ...

    @property
    def num_slots(self) -> int:
        """K."""
        ...

    @property
    def families(self) -> tuple[str, ...]:
        """Names of the kinds of network that can be drawn."""
        ...

    @property
    def num_classes(self) -> float:
        """Number of answers among which guessing is by chance; whoever has a varying number gives a mean."""
        ...

    @property
    def prices(self) -> Mapping[int, int]:
        """Parameters of each module, by the blueprint's id."""
        ...

    def allowances(self) -> NDArray[np.float64]:
        """Return [E], parameters that may be planted in each network in all; infinite where there is no budget."""
        ...

    def host_sizes(self) -> NDArray[np.int64]:
        """Return [E], trained parameters of each network without any module."""
        ...

    def seed_sizes(self, blueprint: NDArray[np.int64], operator: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [E, K], parameters of the module in each slot, 0 where there is none; ids are -1 there."""
        ...

    def reset(self, seeds: Sequence[int], families: Sequence[str]) -> None:
        """Draw fresh networks with empty slots."""
        ...

    def plant(self, network: int, slot: int, blueprint: int, step: int) -> None:
        """Put a module as it is at birth, where it changes no output, into a slot."""
        ...

    def interval(self, setting: SeedSetting, frozen: NDArray[np.bool_], step: int) -> TrainingReport:
        """Train every network for one interval, numbered from 0; modules where `frozen` [E, K] run and do not learn."""
        ...

    def measure(
        self, setting: SeedSetting, wanted: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return accuracies in percent and losses in nats of wanted coalitions on the validation part, [E, 2^K]."""
        ...

    def test_accuracy(self, setting: SeedSetting) -> NDArray[np.float64]:
        """Return [E] accuracies in percent on the test part, which only final reports may read."""
        ...


class Snapshots(RestorableHosts, Protocol):
    """One remembered state of each network."""

    def start(self) -> None:
        """Remember all networks as they are, without fossils."""
        ...

    def keep_fossils(self, fossils: Tensor) -> None:
        """Say which seeds, bool [E, K], belong to the networks for good."""
        ...
