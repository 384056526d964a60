"""What may still be planted: parameters are bought when a seed germinates, and no prune gives them back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.hosts.operations import NOOP, NUM_BLUEPRINTS


class Budget:
    """The budgets of E hosts. A module's price is its number of parameters, without a gate's.

    Args:
        prices: price of each module there is, by the blueprint's id.
        num_envs: E.

    Attributes:
        spent: float32 [E], parameters that were bought.
    """

    def __init__(self, prices: Mapping[int, int], num_envs: int) -> None:
        self._prices = torch.full((NUM_BLUEPRINTS,), torch.inf)
        for index, price in prices.items():
            if index != NOOP:
                self._prices[index] = price
        self._allowance = torch.full((num_envs,), torch.inf)
        self.spent = torch.zeros(num_envs)

    def start(self, allowances: NDArray[np.float64]) -> None:
        """Begin episodes with nothing spent.

        Args:
            allowances: [E], parameters that may be bought; infinite for any number.
        """
        self._allowance = torch.from_numpy(allowances).float()
        self.spent = torch.zeros(len(allowances))

    def affordable(self) -> Tensor:
        """Return bool [E, blueprints], the modules that there are and that what is left pays for."""
        known = self._prices < torch.inf
        return known & (self._prices <= (self._allowance - self.spent)[:, None])

    def buy(self, germinated: Tensor, blueprint: Tensor) -> None:
        """Charge for new seeds.

        Args:
            germinated: bool [E, K], where they are.
            blueprint: int64 [E, K], what was planted.
        """
        prices = self._prices[blueprint.clamp(min=0)]
        self.spent = self.spent + torch.where(germinated, prices, 0.0).sum(1)
