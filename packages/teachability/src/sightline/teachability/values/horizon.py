"""Finite-horizon values and arrivals on a partly known Markov chain, as sparse arrays. Knows nothing of states.

With N states and a set of them expanded, a backward pass gives for every number of steps left the certain part of each
value and the probability of meeting a state that was not expanded, which is exactly the width of the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chain:
    """A Markov chain with endings and open states."""

    sources: Integers
    """[E] state that an edge leaves."""
    targets: Integers
    """[E] state that it enters."""
    weights: Floats
    """[E] probability of taking it."""
    success: Floats
    """[N] probability of a successful ending at the next step."""
    reward: Floats
    """[N] expected reward of endings at the next step."""
    open: NDArray[np.bool_]
    """[N] whether nothing is known of what follows."""


@dataclass(frozen=True, slots=True)
class Values:
    """Values by steps left; H + 1 rows, the first for no step left."""

    success: Floats
    """[H + 1, N] chance of success if open states fail."""
    reward: Floats
    """[H + 1, N] expected reward if open states bring none."""
    gap: Floats
    """[H + 1, N] probability of meeting an open state with steps left: what either can be more at most."""


def backward(chain: Chain, horizon: int) -> Values:
    """Return values for 0 to `horizon` steps left.

    V_h(s) = sum_a pi(a|s) [ending: its worth, else V_{h-1}(s')], V_0 = 0.
    """
    size = len(chain.success)
    success, reward, gap = (np.zeros((horizon + 1, size)) for _ in range(3))
    for left in range(1, horizon + 1):
        for values, immediate in ((success, chain.success), (reward, chain.reward), (gap, None)):
            flow = chain.weights * values[left - 1, chain.targets]
            values[left] = np.bincount(chain.sources, weights=flow, minlength=size)
            if immediate is not None:
                values[left] += immediate
        gap[left, chain.open] = 1.0
    return Values(success, reward, gap)


def arrivals(chain: Chain, roots: Sequence[tuple[int, int, float]], horizon: int) -> Floats:
    """Return the expected arrivals at open states, by steps left.

    Args:
        chain: the chain.
        roots: (state, steps left, weight) of where episodes begin.
        horizon: most steps left of any root.

    Returns:
        [horizon + 1, N]; the row of no step left and the columns of expanded states are zero.
    """
    size = len(chain.success)
    mass = np.zeros((horizon + 1, size))
    for state, left, weight in roots:
        mass[left, state] += weight
    for left in range(horizon, 0, -1):
        flow = chain.weights * mass[left, chain.sources]
        mass[left - 1] += np.bincount(chain.targets, weights=flow, minlength=size)
    mass[0] = 0.0
    mass[:, ~chain.open] = 0.0
    return mass
