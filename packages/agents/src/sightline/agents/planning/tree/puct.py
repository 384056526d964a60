"""PUCT (Rosin 2011; Silver et al. 2018): value + prior weighted by c(N) sqrt(N) / (1 + n).

An action's bonus, prior / (1 + n), changes only when it is visited and is kept; the rest depends on the node's visits
alone and is tabled here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sightline.agents.planning.tree.settings import SearchSettings

LEAST_PRIOR = 1e-38


def exploration_table(settings: SearchSettings, visits: int) -> NDArray[np.float64]:
    """(c_init + ln((N + c_base + 1) / c_base)) sqrt(N) for N = 0 .. visits."""
    node_visits = np.arange(visits + 1, dtype=np.float64)
    growth = np.log((node_visits + settings.c_base + 1.0) / settings.c_base)
    return (settings.c_init + growth) * np.sqrt(node_visits)


def softmax(logits: list[float]) -> list[float]:
    """Return probabilities of one node's actions; NaN where they are undefined."""
    highest = max(logits, default=0.0)
    if not math.isfinite(highest):
        return [math.nan] * len(logits)
    weights = [math.exp(logit - highest) for logit in logits]
    total = sum(weights)
    return [weight / total for weight in weights]
