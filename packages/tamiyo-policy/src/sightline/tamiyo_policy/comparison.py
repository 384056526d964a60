"""How methods are compared that played the same episodes: paired differences, their intervals, and Holm's adjustment.

Values are [S, N]: S training seeds of a method (1 if it is not trained), N episodes that all methods share. Knows
nothing about growth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with its bootstrap interval, in the unit of the data.

    Attributes:
        value: of the data.
        low: lower bound.
        high: upper bound.
        confidence: the share of such intervals that hold the truth.
    """

    value: float
    low: float
    high: float
    confidence: float = 0.95


@dataclass(frozen=True)
class PairedComparison:
    """Candidate minus baseline on the same episodes.

    Attributes:
        candidate: name.
        baseline: name.
        difference: mean over training seeds and episodes.
        p_value: two-sided, from the same resamples as the interval; never below 2 / (resamples + 1).
        adjusted_p_value: for all comparisons that were declared together (Holm 1979).
        by_seed: the mean difference of each training seed of the candidate.
    """

    candidate: str
    baseline: str
    difference: Estimate
    p_value: float
    adjusted_p_value: float
    by_seed: tuple[float, ...]

    @property
    def outcome(self) -> str:
        """`"better"` or `"worse"` at the level of the interval after Holm's adjustment, else `"undecided"`."""
        level = 1 - self.difference.confidence
        if self.adjusted_p_value > level or self.difference.low <= 0 <= self.difference.high:
            return "undecided"
        return "better" if self.difference.value > 0 else "worse"


def compare_all(
    candidate: str,
    baselines: Sequence[str],
    values: Mapping[str, ArrayLike],
    *,
    seed: int,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> list[PairedComparison]:
    """Compare one method with others, which must have been declared before the values were known.

    Args:
        candidate: name of the method in question.
        baselines: names of the others.
        values: [S, N] by name, S as each method has training seeds; column n is the same episode for all.
        seed: of the resampling; all comparisons use the same resampled episodes.
        resamples: bootstrap samples.
        confidence: in (0, 1).

    Returns:
        In the order of `baselines`.

    Raises:
        ValueError: values are not finite, not [S, N], or of differing episodes.
    """
    found = []
    for baseline in baselines:
        mine, theirs = _checked(candidate, values[candidate]), _checked(baseline, values[baseline])
        if mine.shape[1] != theirs.shape[1]:
            raise ValueError(f"{candidate} has {mine.shape[1]} episodes, {baseline} {theirs.shape[1]}: play the same")
        drawn = _resampled_differences(mine, theirs, np.random.default_rng(seed), resamples)
        by_seed = mine.mean(1) - theirs.mean()
        estimate = _estimate(float(by_seed.mean()), drawn, confidence)
        p_value = _p_value(drawn)
        found.append(PairedComparison(candidate, baseline, estimate, p_value, p_value, tuple(by_seed.tolist())))
    adjusted = holm([comparison.p_value for comparison in found])
    return [replace(item, adjusted_p_value=value) for item, value in zip(found, adjusted, strict=True)]


def mean_estimate(values: ArrayLike, *, seed: int, resamples: int = 10_000, confidence: float = 0.95) -> Estimate:
    """The mean of values [S, N] and its interval, seeds and episodes resampled as in `compare_all`."""
    table = _checked("values", values)
    drawn = _resampled_differences(table, np.zeros((1, table.shape[1])), np.random.default_rng(seed), resamples)
    return _estimate(float(table.mean()), drawn, confidence)


def interquartile_mean(values: ArrayLike) -> float:
    """The mean of the middle half of all values (Agarwal et al. 2021); a value at a quarter's edge counts in part."""
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    quarter = len(ordered) / 4
    places = np.arange(len(ordered))
    inside = np.clip(np.minimum(places + 1 - quarter, len(ordered) - quarter - places), 0, 1)
    return float((ordered * inside).sum() / inside.sum())


def interquartile_estimate(
    values: ArrayLike, *, seed: int, resamples: int = 2_000, confidence: float = 0.95
) -> Estimate:
    """`interquartile_mean` of values [S, N] and its interval, seeds and episodes resampled as in `compare_all`."""
    table = _checked("values", values)
    rng = np.random.default_rng(seed)
    seeds, episodes = table.shape
    drawn = [
        interquartile_mean(table[np.ix_(rng.integers(0, seeds, seeds), rng.integers(0, episodes, episodes))])
        for _ in range(resamples)
    ]
    return _estimate(interquartile_mean(table), np.array(drawn), confidence)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values for a family of tests, so that any false rejection in it is as rare as the level (Holm 1979).

    Args:
        p_values: each in [0, 1].

    Returns:
        In the same order.
    """
    raw = np.asarray(p_values, np.float64)
    order = np.argsort(raw, kind="stable")
    steps = raw[order] * np.arange(len(raw), 0, -1)
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()


def _resampled_differences(mine: Values, theirs: Values, rng: np.random.Generator, resamples: int) -> Values:
    """Mean differences [resamples] under the hierarchical bootstrap.

    Training seeds of each side are drawn, then episodes. The drawn episodes are the same for all seeds and both sides,
    as every seed played every episode: an episode that is easy is easy for all, and drawing anew for each seed would
    average that away (Owen 2007, on crossed effects).
    """
    weights = rng.multinomial(mine.shape[1], np.full(mine.shape[1], 1 / mine.shape[1]), size=resamples)
    sides = []
    for side in (mine, theirs):
        seeds = rng.multinomial(len(side), np.full(len(side), 1 / len(side)), size=resamples)
        sides.append(((seeds @ side) * weights).sum(1) / side.size)
    return sides[0] - sides[1]


def _estimate(value: float, drawn: Values, confidence: float) -> Estimate:
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return Estimate(value, float(low), float(high), confidence)


def _p_value(drawn: Values) -> float:
    below, above = int((drawn <= 0).sum()), int((drawn >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(drawn) + 1))


def _checked(name: str, values: ArrayLike) -> Values:
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"{name} must be [seeds, episodes] and not empty, got {list(table.shape)}")
    if not np.isfinite(table).all():
        raise ValueError(f"{name} has {int((~np.isfinite(table)).sum())} values that are not finite")
    return table
