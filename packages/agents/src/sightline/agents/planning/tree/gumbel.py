"""Policy improvement by Gumbel noise and sequential halving (Danihelka et al. 2022, "Policy improvement by planning").

Letters in shapes: n nodes, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

VISITS_OFFSET = 50.0
VALUE_SCALE = 0.1
LEAST_RANGE = 1e-8
OUT_OF_TURN = 1e9


def improved_logits(
    q: NDArray[np.float64],
    prior: NDArray[np.float64],
    logits: NDArray[np.float64],
    visits: NDArray[np.floating],
    raw: NDArray[np.float64],
    scale: tuple[float, float] | None,
) -> NDArray[np.float64]:
    """Return logits + sigma(completed q), `[A, n]` (the paper's equations 8, 11 and 33).

    sigma(q) = (50 + most visits) 0.1 q, with q in units of the given scale or of the node's own actions. Unvisited
    actions are completed by a mixture of the evaluator's value and the visited ones'. Actions come first because NumPy
    sums along a first axis several times faster than along a short last one.

    Args:
        q: `[A, n]`, NaN where unvisited.
        prior: `[A, n]`.
        logits: `[A, n]`, -inf at illegal actions.
        visits: `[A, n]`.
        raw: `[n]` the evaluator's values.
        scale: lowest and highest value, or None.
    """
    unvisited = np.isnan(q)
    mass = np.where(unvisited, 0.0, prior)
    total = visits.sum(axis=0)
    weight = mass.sum(axis=0)
    weight += weight == 0.0  # nothing is visited
    mass *= np.where(unvisited, 0.0, q)
    mixed = (raw + total * (mass.sum(axis=0) / weight)) / (total + 1)
    completed = np.where(unvisited, mixed, q)
    if scale is None:
        waiting = (unvisited & (logits > -np.inf)).any(axis=0)
        low, high = np.fmin.reduce(q, axis=0), np.fmax.reduce(q, axis=0)
        low = np.where(waiting, np.fmin(low, mixed), low)
        span = np.maximum(np.where(waiting, np.fmax(high, mixed), high) - low, LEAST_RANGE)
    else:
        low, span = np.full(q.shape[1], scale[0]), np.full(q.shape[1], scale[1] - scale[0])
    completed -= low
    completed *= (VISITS_OFFSET + visits.max(axis=0)) * VALUE_SCALE / span
    completed += logits
    return completed


def improved_logits_of_one(
    q: Sequence[float],
    prior: Sequence[float],
    logits: Sequence[float],
    visits: Sequence[int],
    raw: float,
    scale: tuple[float, float] | None,
) -> list[float]:
    """Return the same for one node, with its legal actions only."""
    total, weight, weighted = sum(visits), 0.0, 0.0
    low, high, waiting = math.inf, -math.inf, False
    for value, probability in zip(q, prior, strict=True):
        if value == value:  # not NaN
            weight += probability
            weighted += probability * value
            low, high = min(low, value), max(high, value)
        else:
            waiting = True
    mixed = (raw + total * (weighted / (weight or 1.0))) / (total + 1)
    if waiting:
        low, high = min(low, mixed), max(high, mixed)
    if scale is not None:
        low, high = scale
    span = high - low if scale is not None else max(high - low, LEAST_RANGE)
    sharpness = (VISITS_OFFSET + max(visits)) * VALUE_SCALE / span
    return [
        logit + sharpness * ((value if value == value else mixed) - low) for logit, value in zip(logits, q, strict=True)
    ]


@lru_cache(maxsize=64)
def halving_schedule(considered: int, simulations: int) -> NDArray[np.int64]:
    """How often an action must have been visited to be tried in a simulation, `[considered + 1, simulations]`.

    Row m serves m considered actions: after each of log2(m) phases of about equally many simulations, only the better
    half goes on (at least two).
    """
    table = np.zeros((considered + 1, simulations), dtype=np.int64)
    for actions in range(considered + 1):
        table[actions] = _turns(actions, simulations)
    table.setflags(write=False)
    return table


def _turns(actions: int, simulations: int) -> list[int]:
    if actions <= 1:
        return list(range(simulations))
    phases = math.ceil(math.log2(actions))
    turns: list[int] = []
    visited, remaining = 0, actions
    while len(turns) < simulations:
        for _ in range(max(1, simulations // (phases * remaining))):
            turns += [visited] * remaining
            visited += 1
        remaining = max(2, remaining // 2)
    return turns[:simulations]
