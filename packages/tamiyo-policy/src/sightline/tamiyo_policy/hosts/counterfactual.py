"""What a seed is worth: the accuracy of a host with some of its seeds switched off, compared with that of others.

A *coalition* is a set of slots that are on, written as a number whose bit k stands for slot k; `values[e, c]` is what
host e reaches with coalition c, NaN where it was not measured. Letters: E hosts, K slots, C = 2^K coalitions.

*Players* are the seeds in question; *fixed* seeds (fossils) stay on except where everything is off. Knows nothing about
how coalitions are measured.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MAX_SLOTS = 8

Scope = Literal["leave_one_out", "pairs", "every"]
"""Coalitions to measure; each scope includes the one before it."""


def members(num_slots: int) -> NDArray[np.bool_]:
    """Return which slots are on in each coalition, bool [C, K].

    Raises:
        ValueError: for fewer than one or more than `MAX_SLOTS` slots.
    """
    if not 1 <= num_slots <= MAX_SLOTS:
        raise ValueError(f"coalitions need 1 to {MAX_SLOTS} slots, got {num_slots}")
    return (np.arange(2**num_slots)[:, None] >> np.arange(num_slots) & 1).astype(np.bool_)


def coalition(slots: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return numbers [...] of the coalitions whose slots [..., K] are on."""
    return (slots.astype(np.int64) << np.arange(slots.shape[-1])).sum(-1)


def wanted_coalitions(players: NDArray[np.bool_], fixed: NDArray[np.bool_], scope: Scope) -> NDArray[np.bool_]:
    """Return the coalitions that must be measured.

    Args:
        players: bool [E, K].
        fixed: bool [E, K], disjoint from players.
        scope: "leave_one_out" for all on, all off, fixed only, and all but one player; "pairs" for single players and
            pairs beside the fixed ones too; "every" for all subsets of players and fixed ones together, which Shapley
            values of all of them need.

    Returns:
        bool [E, C].
    """
    table = members(players.shape[1])
    present = players | fixed
    inside = (~table[None] | present[:, None]).min(2)
    if scope == "every":
        return inside
    absent_players = (players[:, None] & ~table[None]).sum(2)
    present_players = (players[:, None] & table[None]).sum(2)
    regular = inside & (~fixed[:, None] | table[None]).min(2)
    chosen = (absent_players <= 1) | (present_players == 0)
    if scope == "pairs":
        chosen |= present_players <= 2
    wanted = regular & chosen
    wanted[:, 0] = True
    return wanted


def contributions(
    values: NDArray[np.float64], players: NDArray[np.bool_], fixed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the value with all on minus value without one player: c_i = f(N) - f(N - i).

    What changes every coalition's value alike, such as the host learning by itself, changes no contribution.

    Args:
        values: [E, C] with the coalitions of scope "leave_one_out".
        players: bool [E, K].
        fixed: bool [E, K].

    Returns:
        [E, K], NaN for slots that are no players.
    """
    everything = coalition(players | fixed)
    lost = [_at(values, everything) - _at(values, everything & ~(1 << slot)) for slot in range(players.shape[1])]
    return np.where(players, np.stack(lost, 1), np.nan)


def gain(values: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the value with all seeds on minus value with all off, [E].

    Args:
        values: [E, C].
        present: bool [E, K], players and fixed ones.
    """
    return _at(values, coalition(present)) - values[:, 0]


def interactions(
    values: NDArray[np.float64], players: NDArray[np.bool_], fixed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return how much more pairs reach than their members alone, summed over a player's pairs.

    I_ij = f(F + i + j) - f(F + i) - f(F + j) + f(F), with F the fixed seeds; it is 0 where seeds add up.

    Args:
        values: [E, C] with the coalitions of scope "pairs".
        players: bool [E, K].
        fixed: bool [E, K].

    Returns:
        [E, K], NaN for slots that are no players.
    """
    base = coalition(fixed)
    total = np.zeros(players.shape)
    for one in range(players.shape[1]):
        for other in range(one):
            alone = _at(values, base | 1 << one) + _at(values, base | 1 << other)
            pair = _at(values, base | 1 << one | 1 << other) - alone + _at(values, base)
            both = players[:, one] & players[:, other]
            total[:, one] += np.where(both, pair, 0.0)
            total[:, other] += np.where(both, pair, 0.0)
    return np.where(players, total, np.nan)


def shapley_values(values: NDArray[np.float64], players: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return exact Shapley values: the mean over all orders of joining of what a player adds (Shapley 1953).

    Args:
        values: [E, C] with every subset of the players.
        players: bool [E, K].

    Returns:
        [E, K], NaN for slots that are no players; they sum to the gain.
    """
    table = members(players.shape[1])
    inside = (~table[None] | players[:, None]).min(2)
    size = table.sum(1)
    count = players.sum(1)
    factorial = np.array([math.factorial(number) for number in range(players.shape[1] + 1)], np.float64)
    result = np.full(players.shape, np.nan)
    for slot in range(players.shape[1]):
        without = np.flatnonzero(~table[:, slot])
        rest = np.maximum(count[:, None] - size[without] - 1, 0)
        weight = factorial[size[without]] * factorial[rest] / factorial[count][:, None]
        added = values[:, without | 1 << slot] - values[:, without]
        joined = np.where(inside[:, without | 1 << slot], weight * added, 0.0).sum(1)
        result[:, slot] = np.where(players[:, slot], joined, np.nan)
    return result


def _at(values: NDArray[np.float64], index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return values[e, index[e]] for every e, [E]."""
    return values[np.arange(len(values)), index]
