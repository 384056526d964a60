"""Intervals of means and of paired differences, by resampling groups of questions that depend on each other.

Questions that share a source, or a text, are one group (`data.splits.pair_components`), and the same group
may be asked about under several training seeds: all its values are drawn together. So an interval speaks of other
questions of the same kind, with the training runs held fixed. The module knows numbers and groups only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_BLOCK_VALUES = 1 << 21  # resamples are drawn in blocks of about this many numbers


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence interval, in the unit of the values.

    Attributes:
        mean: the mean over all values.
        low: lower bound.
        high: upper bound.
        confidence: the share of such intervals that hold the truth, for example 0.95.
    """

    mean: float
    low: float
    high: float
    confidence: float


def group_bootstrap(
    values: ArrayLike, groups: ArrayLike, *, seed: int, confidence: float = 0.95, resamples: int = 10_000
) -> Interval:
    """The percentile interval of a mean under the cluster bootstrap (Davison and Hinkley 1997, section 3.8).

    Groups are drawn with replacement, as many as there are; a resample's mean is over all values of the groups drawn.

    Args:
        values: `[n]` finite; the values of several seeds are one after the other.
        groups: `[n]` ints, the group of each value, the same number under every seed.
        seed: of the resampling.
        confidence: in (0, 1).
        resamples: how many.

    Raises:
        ValueError: lengths differ, a value is not finite, there are fewer than two groups, or the confidence is not
            within (0, 1).
    """
    numbers, labels = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if numbers.ndim != 1 or labels.shape != numbers.shape:
        raise ValueError(f"values and groups must have one shape [n], not {numbers.shape} and {labels.shape}")
    if not np.isfinite(numbers).all():
        raise ValueError(f"value {int((~np.isfinite(numbers)).argmax())} is not finite")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be within (0, 1), not {confidence!r}")
    _, places = np.unique(labels, return_inverse=True)
    sums, counts = np.bincount(places, weights=numbers).astype(np.float64), np.bincount(places)
    if len(counts) < 2:
        raise ValueError(f"an interval needs at least two groups of questions, not {len(counts)}")
    samples = _resampled_means(sums, counts, np.random.default_rng(seed), resamples)
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, (tail, 1 - tail))
    return Interval(float(numbers.mean()), float(low), float(high), confidence)


def paired_bootstrap(
    candidate: ArrayLike,
    baseline: ArrayLike,
    groups: ArrayLike,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> Interval:
    """The interval of the mean of candidate minus baseline on the same questions under the same seeds.

    Args:
        candidate: `[n]` finite, one value per question and seed.
        baseline: `[n]`, the same questions and seeds in the same order.
        groups: `[n]` ints, as `group_bootstrap`.
        seed: of the resampling.
        confidence: in (0, 1).
        resamples: how many.

    Raises:
        ValueError: the numbers of values differ, and as `group_bootstrap`.
    """
    first, second = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"a paired difference needs the same questions, not {first.shape} and {second.shape} values")
    return group_bootstrap(first - second, groups, seed=seed, confidence=confidence, resamples=resamples)


def _resampled_means(
    sums: NDArray[np.float64], counts: NDArray[np.int64], rng: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    """`[resamples]` means of as many groups as there are, drawn with replacement."""
    block = max(1, _BLOCK_VALUES // len(counts))
    means = []
    for start in range(0, resamples, block):
        drawn = rng.integers(0, len(counts), size=(min(block, resamples - start), len(counts)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means)
