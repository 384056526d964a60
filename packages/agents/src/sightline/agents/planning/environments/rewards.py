"""Where a search's rewards come from: the environment (ORACLE) or what the pages say (HONEST). Never both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sightline.agents.grammar import Purchase


class Rewards(Protocol):
    """What purchases are worth.

    Attributes:
        is_oracle: whether the environment's own rewards are used; then `judge` is never asked.
        bounds: lowest and highest value, at which a search stops; None where unknown.
    """

    @property
    def is_oracle(self) -> bool:
        """See the class."""
        ...

    @property
    def bounds(self) -> tuple[float, float] | None:
        """See the class."""
        ...

    def judge(self, purchases: Sequence[Purchase]) -> NDArray[np.float64]:
        """Return what each purchase is worth, `[purchases]`."""
        ...


class OracleReward:
    """The environment's own rewards, which no agent has while it acts: an upper bound of what planning can do.

    Args:
        bounds: lowest and highest reward of the environment, at which a search stops; None where none is to stop.
    """

    is_oracle = True

    def __init__(self, bounds: tuple[float, float] | None = (0.0, 1.0)) -> None:
        self.bounds: tuple[float, float] | None = bounds

    def judge(self, purchases: Sequence[Purchase]) -> NDArray[np.float64]:
        """Refuse: an oracle does not look at pages.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"the oracle's rewards are the environment's, not read off {len(purchases)} pages")
