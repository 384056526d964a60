"""How unsure a policy is, from its distribution over the actions. Pure functions of arrays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from sightline.teachability.records import Uncertainty

_TOP = 5


def measure_uncertainty(
    probabilities: ArrayLike, *, teacher: int | None = None, temperature: float | None = None
) -> Uncertainty:
    """Return all measures of a distribution.

    Args:
        probabilities: [A], summing to 1.
        teacher: position of the teacher's action, None without one.
        temperature: temperature of the distribution, for the record.
    """
    array = np.asarray(probabilities, dtype=np.float64)
    positive = array[array > 0]
    entropy = max(float(-(positive * np.log(positive)).sum()), 0.0)
    ordered = np.sort(array)[::-1]
    several = len(array) > 1
    return Uncertainty(
        probabilities=tuple(array.tolist()),
        entropy=entropy,
        entropy_normalised=min(entropy / math.log(len(array)), 1.0) if several else 0.0,
        margin=float(1 - (ordered[0] - ordered[1])) if several else 0.0,
        top_k_spread=float(1 - (ordered[0] - ordered[min(_TOP, len(array)) - 1])) if several else 0.0,
        effective_actions=math.exp(entropy),
        gini=max(float(1 - (array**2).sum()), 0.0),
        pi_teacher=None if teacher is None else float(array[teacher]),
        temperature=temperature,
    )
