"""Intervals of means, rates, ratios and paired differences that say what was resampled, with numpy alone.

Units are drawn with replacement: goals as a rule, or clusters of units that depend on each other. Where a method was
trained under several seeds, these are drawn too, so that an interval speaks of other goals and of other trainings;
with `seeds="fixed"` it speaks of the given trainings only and is narrower. Few seeds show less spread than there is
(by `(seeds - 1) / seeds` in variance), so even then an interval over three seeds is somewhat too narrow.
The module knows nothing of agents or episodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sightline.agents.evaluation.bootstrap import Cells, Clusters, Seeds, resampled_means

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

NOT_RESAMPLED = "nothing (Wilson's formula)"
"""What `Interval.resampled` says of an interval that rests on a formula."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its confidence interval; all in the unit of the data."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}

    value: float
    """Value that the data have."""
    low: float
    """Lower bound."""
    high: float
    """Upper bound."""
    confidence: float
    """Share of such intervals that hold the truth, for example 0.95."""
    resampled: str
    """What was drawn anew, and so what the interval allows for: `goals`, `goals and training seeds`, `clusters of
    questions, training seeds held fixed`."""


def bootstrap_interval(
    values: ArrayLike,
    rng: np.random.Generator,
    *,
    weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    seeds: Seeds = "resampled",
    unit: str = "goals",
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> Interval:
    """Return the percentile bootstrap interval of a mean (Efron and Tibshirani 1993, section 13.3).

    Equal values give an interval of width zero: the data show no spread, which for a rate of 0 or 1 is too
    confident; `wilson_interval` is not.

    Args:
        values: `[goals]` or `[goals, training seeds]`, finite.
        rng: source of randomness, consumed.
        weights: weights of the same shape: how many values each cell is the mean of; 0 where an episode broke off.
        groups: `[goals]` labels of clusters, whose goals depend on each other and are drawn together.
        seeds: `"resampled"` draws the training seeds too, `"fixed"` keeps the given trainings.
        unit: what the interval calls the rows of `values`.
        confidence: level of confidence, in (0, 1).
        resamples: bootstrap samples.

    Raises:
        ValueError: for fewer than two goals or clusters, which say nothing of their spread, or for values that are
            not finite.
    """
    cells = Cells.of(values, weights)
    clusters = _clusters(cells, groups)
    (samples,) = resampled_means([cells], rng, clusters, seeds=seeds, resamples=resamples)
    label = what_is_resampled([cells], seeds=seeds, unit=unit, clustered=groups is not None)
    return percentile_interval(float(cells.unit_means.mean()), samples, confidence, label)


def paired_difference(
    candidate: ArrayLike,
    baseline: ArrayLike,
    rng: np.random.Generator,
    *,
    groups: ArrayLike | None = None,
    seeds: Seeds = "resampled",
    unit: str = "goals",
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> Interval:
    """Return the bootstrap interval of the mean of candidate minus baseline on the same goals.

    The same goals are drawn on both sides, training seeds on each side apart: that two trainings bear the same number
    makes them no pair. Where they are one, take `bootstrap_interval` of the differences.

    Args:
        candidate: `[goals]` or `[goals, training seeds]`.
        baseline: the same goals in the same order; the number of training seeds may differ.
        rng: source of randomness, consumed.
        groups: clusters, as in `bootstrap_interval`, like the arguments that follow.
        seeds: whether training seeds are drawn too.
        unit: what the interval calls the rows.
        confidence: level of confidence, in (0, 1).
        resamples: bootstrap samples.

    Raises:
        ValueError: if the numbers of goals differ, and as `bootstrap_interval`.
    """
    sides = [Cells.of(candidate), Cells.of(baseline)]
    if len(sides[0]) != len(sides[1]):
        raise ValueError(
            f"a paired difference needs the same {unit} on both sides, got {len(sides[0])} and {len(sides[1])}"
        )
    clusters = _clusters(sides[0], groups)
    first, second = resampled_means(sides, rng, clusters, seeds=seeds, resamples=resamples)
    value = float((sides[0].unit_means - sides[1].unit_means).mean())
    label = what_is_resampled(sides, seeds=seeds, unit=unit, clustered=groups is not None)
    return percentile_interval(value, first - second, confidence, label)


def rate_interval(
    values: ArrayLike,
    rng: np.random.Generator,
    *,
    weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    seeds: Seeds = "resampled",
    unit: str = "goals",
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> Interval | None:
    """Return the interval of a rate: `bootstrap_interval`, or Wilson's where the rate is 0 or 1 throughout.

    Args:
        values: `[goals]` or `[goals, training seeds]`, each in [0, 1].
        rng: consumed where the bootstrap is used.
        weights: weights, as in `bootstrap_interval`, like the arguments that follow.
        groups: labels of clusters.
        seeds: whether training seeds are drawn too.
        unit: what the interval calls the rows.
        confidence: level of confidence, in (0, 1).
        resamples: bootstrap samples.

    Returns:
        None for fewer than two goals or clusters, which have no interval.

    Raises:
        ValueError: values are not finite, or the confidence is impossible.
    """
    cells = Cells.of(values, weights)
    clusters = Clusters(len(cells), groups)
    if len(clusters) < 2:
        return None
    if cells.constant() and cells.values[cells.weights > 0][0] in (0, 1):
        never = cells.unit_means.sum() == 0
        return wilson_interval(0 if never else len(clusters), len(clusters), confidence=confidence)
    return bootstrap_interval(
        values,
        rng,
        weights=weights,
        groups=groups,
        seeds=seeds,
        unit=unit,
        confidence=confidence,
        resamples=resamples,
    )


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    rng: np.random.Generator,
    *,
    weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    seeds: Seeds = "resampled",
    unit: str = "goals",
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> Interval | None:
    """Return the percentile bootstrap interval of a ratio of means, for example of tokens per success.

    The upper bound is infinite where enough resamples have no success.

    Args:
        numerators: `[goals]` or `[goals, training seeds]`, finite.
        denominators: the same goals and seeds in the same order; not negative.
        rng: source of randomness, consumed.
        weights: weights, as in `bootstrap_interval`, like the arguments that follow; for both.
        groups: labels of clusters.
        seeds: whether training seeds are drawn too.
        unit: what the interval calls the rows.
        confidence: level of confidence, in (0, 1).
        resamples: bootstrap samples.

    Returns:
        None where the denominators are all 0, or for fewer than two goals or clusters.

    Raises:
        ValueError: numerators and denominators are not of one shape, or values are not finite.
    """
    shapes = [np.shape(numerators), np.shape(denominators)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"a ratio needs the same {unit} above and below, got {list(shapes[0])} and {list(shapes[1])}")
    parts = [Cells.of(numerators, weights), Cells.of(denominators, weights)]
    clusters = Clusters(len(parts[0]), groups)
    means = [float(cells.unit_means.mean()) if len(cells) else 0.0 for cells in parts]
    if len(clusters) < 2 or means[1] == 0:
        return None
    above, below = resampled_means(parts, rng, clusters, seeds=seeds, shared_seeds=True, resamples=resamples)
    samples = np.divide(above, below, out=np.full(len(above), np.inf), where=below > 0)
    label = what_is_resampled(parts, seeds=seeds, unit=unit, clustered=groups is not None)
    return percentile_interval(means[0] / means[1], samples, confidence, label)


def wilson_interval(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Return the score interval of a rate (Wilson 1927), which has width even at 0 and 1.

    Args:
        successes: number of successes, in [0, trials].
        trials: independent trials, at least one.
        confidence: level of confidence, in (0, 1).

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
    low, high = min(rate, max(0.0, float(centre - half))), max(rate, min(1.0, float(centre + half)))
    return Interval(rate, low, high, confidence, NOT_RESAMPLED)


def interquartile_mean(values: ArrayLike) -> float:
    """Return the mean of the middle half of all values; a value at a quarter's edge counts in part.

    Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice".
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    quarter = len(ordered) / 4
    places = np.arange(len(ordered))
    inside = np.clip(np.minimum(places + 1 - quarter, len(ordered) - quarter - places), 0, 1)
    return float((ordered * inside).sum() / inside.sum())


def interquartile_interval(
    values: ArrayLike,
    rng: np.random.Generator,
    *,
    seeds: Seeds = "resampled",
    unit: str = "goals",
    confidence: float = 0.95,
    resamples: int = 2_000,
) -> Interval:
    """Return `interquartile_mean` with its percentile bootstrap interval.

    Args:
        values: `[goals]` or `[goals, training seeds]`, finite.
        rng: source of randomness, consumed.
        seeds: whether training seeds are drawn too.
        unit: what the interval calls the rows.
        confidence: level of confidence, in (0, 1).
        resamples: bootstrap samples.

    Raises:
        ValueError: for fewer than two goals, or for values that are not finite.
    """
    cells = Cells.of(values)
    goals = len(_clusters(cells, None))
    columns = np.arange(cells.seeds)
    samples = []
    for _ in range(resamples):
        drawn = rng.integers(0, cells.seeds, cells.seeds) if seeds == "resampled" else columns
        samples.append(interquartile_mean(cells.values[np.ix_(rng.integers(0, goals, goals), drawn)]))
    label = what_is_resampled([cells], seeds=seeds, unit=unit, clustered=False)
    return percentile_interval(interquartile_mean(cells.values), np.array(samples), confidence, label)


def percentile_interval(value: float, samples: NDArray[np.float64], confidence: float, resampled: str) -> Interval:
    """Return the interval between two quantiles of resampled values.

    Args:
        value: value that the data have.
        samples: `[resamples]`; may be infinite, and NaN where a resample had no value.
        confidence: level of confidence, in (0, 1).
        resampled: what was drawn, as `Interval.resampled`.

    Raises:
        ValueError: the confidence is impossible.
    """
    _check_confidence(confidence)
    ordered = np.sort(samples[~np.isnan(samples)])
    tail = (1 - confidence) / 2
    if np.isfinite(ordered).all():
        low, high = np.quantile(ordered, (tail, 1 - tail))
    else:  # between a number and infinity nothing can be interpolated
        low, high = (ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in (tail, 1 - tail))
    return Interval(value, float(low), float(high), confidence, resampled)


def what_is_resampled(methods: Iterable[Cells], *, seeds: Seeds, unit: str, clustered: bool) -> str:
    """Return what `Interval.resampled` says of an interval that was drawn so."""
    drawn = f"clusters of {unit}" if clustered else unit
    if all(cells.seeds == 1 for cells in methods):
        return drawn
    return f"{drawn} and training seeds" if seeds == "resampled" else f"{drawn}, training seeds held fixed"


def resampled_by(intervals: Iterable[Interval | None]) -> str:
    """Return what each of several intervals has resampled, for a table's cell or caption; `n/a` where there is none."""
    return "; ".join(dict.fromkeys(each.resampled for each in intervals if each is not None)) or "n/a"


def show_interval(interval: Interval | None, style: str, *, scale: float = 1) -> str:
    """Return a value and its bounds for a table's cell, for example `39.2 [35.0, 43.5]`.

    Args:
        interval: None is shown as `n/a`.
        style: format of the three numbers, for example `.1f`.
        scale: factor that they are multiplied by.
    """
    if interval is None:
        return "n/a"
    value, low, high = (format(scale * number, style) for number in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _clusters(cells: Cells, groups: ArrayLike | None) -> Clusters:
    clusters = Clusters(len(cells), groups)
    if len(clusters) < 2:
        what = "goals" if groups is None else "clusters"
        raise ValueError(f"an interval needs the values of at least two {what}, got {len(clusters)}; evaluate more")
    return clusters


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
