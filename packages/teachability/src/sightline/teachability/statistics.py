"""The statistics of the package: ranks and intervals. Pure functions of arrays; seeds are arguments.

Every interval says what was resampled; here that is always the cluster (a group of tasks). Tests of paired
differences come from the caller, as a `ClusterTest`; this module adjusts their p-values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

ClusterTest = Callable[[Sequence[Fraction]], float]
"""From the summed differences of each cluster to the two-sided p-value of no difference.

`sign_flip_test` of `sightline.agents.evaluation` is one: clusters may change signs, whole and independently."""

_MOST_EPISODES = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with an interval."""

    value: float
    """The number."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    confidence: float = 0.95
    """Of the interval."""


def ranks(values: ArrayLike) -> Floats:
    """Return ranks from 1; ties share the mean of theirs."""
    array = np.asarray(values, dtype=np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def pearson(first: ArrayLike, second: ArrayLike) -> float:
    """Return the correlation; nan where one of them does not vary."""
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(x) < 2:
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 0 else math.nan


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Return the rank correlation, ties at their mean rank; nan where one of them does not vary."""
    return pearson(ranks(first), ranks(second))


def kendall(first: ArrayLike, second: ArrayLike) -> float:
    """Return Kendall's tau-b; nan where one of them does not vary."""
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    dx, dy = np.sign(x[:, None] - x[None]), np.sign(y[:, None] - y[None])
    scale = math.sqrt(float((dx != 0).sum()) * float((dy != 0).sum()))
    return float((dx * dy).sum()) / scale if scale > 0 else math.nan


def partial_spearman(first: ArrayLike, second: ArrayLike, given: Sequence[ArrayLike]) -> float:
    """Return the rank correlation of what linear regression on the ranks of `given` leaves of two variables.

    A variable that the given ones explain but for rounding has nothing left to correlate: nan.
    """
    x, y = ranks(first), ranks(second)
    design = np.column_stack([np.ones(len(x)), *(ranks(one) for one in given)])
    residuals = []
    for one in (x, y):
        coefficients, *_ = np.linalg.lstsq(design, one, rcond=None)
        left = one - design @ coefficients
        if float(left @ left) <= 1e-18 * max(float(one @ one), 1.0):
            return math.nan
        residuals.append(left)
    return pearson(*residuals)


def cluster_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    draws: int = 2000,
    confidence: float = 0.95,
) -> Estimate:
    """Return a statistic with its percentile interval when whole clusters are drawn with replacement.

    Args:
        statistic: statistic of the rows with these indices, which may repeat; a nan is left out.
        clusters: [N] the cluster of each row.
        seed: seed of the draws.
        draws: number of resamples.
        confidence: confidence of the interval.
    """
    members = _members(clusters)
    value = statistic(np.arange(len(clusters), dtype=np.int64)) if members else math.nan
    picks = _picks(len(members), seed, draws)
    found = [statistic(np.concatenate([members[i] for i in drawn])) for drawn in picks.tolist()]
    return _percentiles(value, np.array(found), confidence)


def cluster_mean(values: ArrayLike, clusters: Sequence[Hashable], *, seed: int, draws: int = 2000) -> Estimate:
    """Return a mean with the interval of `cluster_bootstrap`, from sums of clusters, which is faster."""
    array = np.asarray(values, dtype=np.float64)
    members = _members(clusters)
    picks = _picks(len(members), seed, draws)
    sums, sizes = np.array([array[rows].sum() for rows in members]), np.array([len(rows) for rows in members])
    found = sums[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    return _percentiles(float(array.mean()) if members else math.nan, found, 0.95)


def _members(clusters: Sequence[Hashable]) -> list[NDArray[np.int64]]:
    """Return the rows of each cluster."""
    members: dict[Hashable, list[int]] = {}
    for row, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(row)
    return [np.array(rows, dtype=np.int64) for rows in members.values()]


def _picks(clusters: int, seed: int, draws: int) -> NDArray[np.int64]:
    """Return `[draws, clusters]` clusters drawn with replacement; no draws of no clusters."""
    shape = (draws if clusters else 0, clusters)
    return np.random.default_rng(seed).integers(max(clusters, 1), size=shape)


def _percentiles(value: float, found: Floats, confidence: float) -> Estimate:
    """Return a value with the middle share of what resamples found; a nan is left out."""
    found = found[~np.isnan(found)]
    if not len(found):
        return Estimate(value, math.nan, math.nan, confidence)
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), confidence)


def cluster_sums(differences: ArrayLike, clusters: Sequence[Hashable]) -> list[Fraction]:
    """Return the sum of each cluster's differences of success rates: what a `ClusterTest` is given.

    A rate of up to 1,000 episodes is the fraction nearest to its floating-point number, so sums are exact.
    """
    sums: dict[Hashable, Fraction] = {}
    for difference, cluster in zip(np.asarray(differences, dtype=np.float64).tolist(), clusters, strict=True):
        sums[cluster] = sums.get(cluster, Fraction(0)) + Fraction(difference).limit_denominator(_MOST_EPISODES**2)
    return list(sums.values())


def permute_clusters(
    labels: NDArray[np.int64], clusters: Sequence[Hashable], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return labels exchanged between whole clusters of equal size: what permutation tests of clustered rows need.

    Args:
        labels: [N] label of each row.
        clusters: [N] cluster of each row.
        generator: consumed.
    """
    members: dict[Hashable, list[int]] = {}
    for row, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(row)
    by_size: dict[int, list[list[int]]] = {}
    for rows in members.values():
        by_size.setdefault(len(rows), []).append(rows)
    moved = labels.copy()
    for same in by_size.values():
        blocks = np.array(same)
        moved[blocks] = labels[blocks[generator.permutation(len(blocks))]]
    return moved


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979), in the same order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min((len(p_values) - place) * p_values[index], 1.0))
        adjusted[index] = largest
    return adjusted


def disattenuate(correlation: float, reliability: float) -> float:
    """Return what a correlation would be if one of its variables were measured without error (Spearman 1904).

    Returns:
        nan where the reliability is not positive; capped to [-1, 1].
    """
    if not reliability > 0:
        return math.nan
    return max(-1.0, min(1.0, correlation / math.sqrt(reliability)))


def spearman_brown(half: float) -> float:
    """Return the reliability of a mean of two halves that correlate so."""
    return 2 * half / (1 + half) if half > -1 else math.nan


def beta_quantile(share: float, first: int, second: int) -> float:
    """Return a quantile of the beta distribution with whole parameters of at least 1, to 1e-12.

    The distribution function at x is the chance of at least `first` successes in first + second - 1 trials of
    probability x, so a bisection over sums of binomial terms does.
    """
    trials = first + second - 1
    logs = [math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in range(trials + 1)]

    def below(x: float) -> float:
        if x in (0.0, 1.0):
            return x
        up, down = math.log(x), math.log1p(-x)
        return math.fsum(math.exp(logs[k] + k * up + (trials - k) * down) for k in range(first, trials + 1))

    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < share else (low, middle)
    return (low + high) / 2
