"""Tests of paired differences between agents, and the correction for testing several of them.

All tests take one number per goal: runs of one goal under several training seeds are averaged first, because they are
no independent samples. They hold the training seeds fixed; `comparison` sets the p-values of resampled seeds beside
them. The module knows nothing of agents or episodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def mcnemar_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of McNemar's test, from the exact binomial (McNemar 1947).

    Args:
        wins: goals that only the candidate solved.
        losses: goals that only the baseline solved.

    Returns:
        In (0, 1]; 1 where no goal tells the two apart.

    Raises:
        ValueError: a count is negative.
    """
    if min(wins, losses) < 0:
        raise ValueError(f"counts of goals cannot be negative, got {wins} and {losses}")
    trials = wins + losses
    tail = sum(math.comb(trials, count) for count in range(min(wins, losses) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**trials)))


def sign_flip_test(differences: Sequence[Fraction]) -> float:
    """Return the exact two-sided p-value that differences are as likely positive as negative, goal by goal.

    Under the null hypothesis the two agents may change places on every goal, so all `2 ** goals` choices of signs
    are equally likely; the p-value is the share of them whose sum is at least as far from 0 as the one observed
    (Fisher 1935, section 21). With one run per goal and side this is McNemar's exact test; with several, a goal's runs
    are averaged and change sign together. The sums are counted by convolution, none is sampled.

    Args:
        differences: per goal, the candidate's success rate minus the baseline's, as exact fractions.

    Returns:
        In (0, 1]; 1 where all differences are 0. Time grows with goals squared times the common denominator.
    """
    unit = math.lcm(*(difference.denominator for difference in differences))
    sizes = [int(abs(difference) * unit) for difference in differences if difference]
    observed = abs(sum(int(difference * unit) for difference in differences))
    total = sum(sizes)
    # chance[x]: that the goals with a positive sign have sizes that sum to x; the signed sum is then 2 x - total.
    chance = np.zeros(total + 1)
    chance[0] = 1.0
    for size in sizes:
        chance[size:] = (chance[size:] + chance[: total + 1 - size]) / 2
        chance[:size] /= 2
    sums = np.abs(2 * np.arange(total + 1) - total)
    return min(1.0, float(chance[sums >= observed].sum()))


def mean_above_test(values: ArrayLike, threshold: float, *, least_variance: float = 0.0) -> float:
    """Return twice the one-sided p-value that a mean does not lie above a threshold, by the normal approximation.

    Doubled, it is compared with the same level as a two-sided test, and agrees with a two-sided interval.

    Args:
        values: `[goals]`, one per goal; at least two, and for the approximation some fifty.
        threshold: bound in the unit of the values.
        least_variance: least variance of one value; it keeps a sample without spread from proving too much.

    Returns:
        In [0, 1].

    Raises:
        ValueError: for fewer than two values.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        raise ValueError(f"a test needs the values of at least two goals, got {len(array)}")
    error = math.sqrt(max(float(array.var(ddof=1)), least_variance) / len(array))
    distance = float(array.mean()) - threshold
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return min(1.0, 2 * NormalDist().cdf(-distance / error))


def match_test(success: Sequence[Fraction], cost: Sequence[Fraction], *, margin: float) -> float:
    """Return the p-value that a candidate loses `margin` of success or does not cost less.

    Both claims must hold, so the larger of their p-values counts (Berger 1982), each by `mean_above_test`. A true loss
    as large as the margin has at least the variance `margin (1 - margin)` of one run per goal, so that goals without
    any difference prove only as much as their number allows.

    Args:
        success: per goal, the candidate's success rate minus the baseline's.
        cost: per goal, the candidate's cost minus the baseline's, in any unit.
        margin: loss that must be excluded, in (0, 1).

    Returns:
        In [0, 1]; 1 for fewer than two goals.
    """
    if len(success) < 2:
        return 1.0
    rates, savings = [float(value) for value in success], [-float(value) for value in cost]
    no_loss = mean_above_test(rates, -margin, least_variance=margin * (1 - margin))
    return max(no_loss, mean_above_test(savings, 0.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for testing all of them, so that any false rejection is as rare as the level (Holm 1979).

    Args:
        p_values: p-values, one per hypothesis, each in [0, 1].

    Returns:
        In the same order; reject where the adjusted value is at most the level.

    Raises:
        ValueError: a value lies outside [0, 1].
    """
    if not all(0 <= value <= 1 for value in p_values):
        raise ValueError(f"p-values lie between 0 and 1, got {list(p_values)!r}")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
