"""Bootstrap intervals of means, ratios and paired differences, with numpy alone.

The unit that is resampled is always the goal: runs of one goal under several training seeds are averaged first, so an
interval speaks of other goals of the same kind, with the given training runs held fixed. The module knows nothing of
agents or episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Resamples are drawn in blocks of about this many values (8 bytes each), so that memory does not grow with the data.
_BLOCK_VALUES = 1 << 21


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence interval; all in the unit of the values.

    Attributes:
        mean: the mean of the data.
        low: lower bound.
        high: upper bound.
        confidence: the share of such intervals that hold the truth, for example 0.95.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    mean: float
    low: float
    high: float
    confidence: float = 0.95


def bootstrap_interval(
    values: ArrayLike, rng: np.random.Generator, *, confidence: float = 0.95, resamples: int = 10_000
) -> Interval:
    """The percentile bootstrap interval of a mean (Efron and Tibshirani 1993, section 13.3).

    Equal values give an interval of width zero: the data show no spread, which for a rate of 0 or 1 is too
    confident; `wilson_interval` is not.

    Args:
        values: `[goals]` or `[goals, runs]`, finite. Runs of one goal are averaged and goals are resampled.
        rng: consumed.
        confidence: in (0, 1).
        resamples: bootstrap samples.

    Raises:
        ValueError: for fewer than two goals, which say nothing of their spread, or for values that are not finite.
    """
    _check_confidence(confidence)
    means = _goal_means(values)
    count = len(means)
    if count < 2:
        raise ValueError(f"an interval needs the values of at least two goals, got {count}; evaluate more goals")
    block = max(1, _BLOCK_VALUES // count)
    sizes = [min(block, resamples - start) for start in range(0, resamples, block)]
    samples = np.concatenate([means[rng.integers(0, count, size=(size, count))].mean(axis=1) for size in sizes])
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, (tail, 1 - tail))
    return Interval(float(means.mean()), float(low), float(high), confidence)


def paired_difference(
    candidate: ArrayLike,
    baseline: ArrayLike,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> Interval:
    """The bootstrap interval of the mean of candidate minus baseline on the same goals.

    Args:
        candidate: `[goals]` or `[goals, runs]`.
        baseline: the same goals in the same order; the number of runs may differ.
        rng: consumed.
        confidence: in (0, 1).
        resamples: bootstrap samples.

    Raises:
        ValueError: if the numbers of goals differ, and as `bootstrap_interval`.
    """
    first, second = _goal_means(candidate), _goal_means(baseline)
    if len(first) != len(second):
        raise ValueError(f"a paired difference needs the same goals on both sides, got {len(first)} and {len(second)}")
    return bootstrap_interval(first - second, rng, confidence=confidence, resamples=resamples)


def rate_interval(values: ArrayLike, rng: np.random.Generator, *, confidence: float = 0.95) -> Interval | None:
    """The interval of a rate: `bootstrap_interval`, or Wilson's where the rate is 0 or 1 on every goal.

    Args:
        values: `[goals]` rates of every goal, each in [0, 1].
        rng: consumed where the bootstrap is used.
        confidence: in (0, 1).

    Returns:
        None for fewer than two goals, which have no interval.
    """
    means = _goal_means(values)
    if len(means) < 2:
        return None
    if means.sum() in (0, len(means)):
        return wilson_interval(round(means.sum()), len(means), confidence=confidence)
    return bootstrap_interval(means, rng, confidence=confidence)


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> Interval | None:
    """The percentile bootstrap interval of a ratio of means, for example of tokens per success.

    The bounds are resampled ratios themselves, so an upper bound is infinite where enough resamples have no success.

    Args:
        numerators: `[goals]` or `[goals, runs]`, finite.
        denominators: the same goals in the same order; not negative.
        rng: consumed.
        confidence: in (0, 1).
        resamples: bootstrap samples.

    Returns:
        None where the denominators are all 0, or for fewer than two goals.

    Raises:
        ValueError: if the numbers of goals differ, or for values that are not finite.
    """
    _check_confidence(confidence)
    above, below = _goal_means(numerators), _goal_means(denominators)
    if len(above) != len(below):
        raise ValueError(f"a ratio needs the same goals above and below, got {len(above)} and {len(below)}")
    if len(above) < 2 or below.sum() == 0:
        return None
    count = len(above)
    block = max(1, _BLOCK_VALUES // count)
    samples = []
    for start in range(0, resamples, block):
        drawn = rng.integers(0, count, size=(min(block, resamples - start), count))
        over, under = above[drawn].mean(axis=1), below[drawn].mean(axis=1)
        samples.append(np.divide(over, under, out=np.full(len(over), np.inf), where=under > 0))
    ordered = np.sort(np.concatenate(samples))
    tail = (1 - confidence) / 2
    low, high = ordered[int(tail * resamples)], ordered[min(int((1 - tail) * resamples), resamples - 1)]
    return Interval(float(above.mean() / below.mean()), float(low), float(high), confidence)


def wilson_interval(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """The score interval of a rate (Wilson 1927), which has width even at 0 and 1.

    Args:
        successes: in [0, trials].
        trials: independent trials, at least one.
        confidence: in (0, 1).

    Raises:
        ValueError: if the counts are impossible.
    """
    _check_confidence(confidence)
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} successes in {trials} trials is impossible; give 0 <= successes <= trials, > 0")
    rate = successes / trials
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * np.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    # At 0 and 1 rounding would put the rate just outside its own interval.
    return Interval(
        rate, min(rate, max(0.0, float(centre - half))), max(rate, min(1.0, float(centre + half))), confidence
    )


def _goal_means(values: ArrayLike) -> NDArray[np.float64]:
    """`[goals]` or `[goals, runs]` to the mean of every goal, `[goals]`."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2):
        raise ValueError(f"values must be [goals] or [goals, runs], got {array.ndim} dimensions")
    if not np.isfinite(array).all():
        raise ValueError("values must be finite; leave out goals whose episodes failed on both sides of a comparison")
    return array if array.ndim == 1 else array.mean(axis=1)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
