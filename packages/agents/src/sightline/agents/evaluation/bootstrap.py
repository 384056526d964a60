"""Resample units, clusters of units and training seeds: the draws that bootstrap intervals and p-values rest on.

A unit is what is measured again and again, a goal, a question or an episode; every unit is attempted under every
training seed, so units and seeds are crossed. The units that are drawn are the same under all drawn seeds: a goal that
is easy is easy for all of them, and drawing anew for each seed would average that away (Owen 2007, on crossed
effects). The module knows nothing of agents or episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Seeds = Literal["resampled", "fixed"]
"""Whether an interval speaks of other training seeds too, or only of the training runs that were made."""

# Resamples are drawn in blocks of about this many values (8 bytes each), so that memory does not grow with the data.
_BLOCK_VALUES = 1 << 21


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """What one method did on every unit under every training seed."""

    values: NDArray[np.float64]
    """Finite float64 values, `[units, seeds]`."""
    weights: NDArray[np.float64]
    """`[units, seeds]` float64: how many values a cell is the mean of; 0 where there is none. The mean of a unit is
    over all its values; every unit counts the same."""

    @classmethod
    def of(cls, values: ArrayLike, weights: ArrayLike | None = None) -> Cells:
        """Check values and weights; leave out seeds of which there is nothing.

        Args:
            values: `[units]` or `[units, seeds]`, finite.
            weights: weights of the same shape, not negative; leave out where every cell holds one value.

        Raises:
            ValueError: values are not finite or not of such a shape, or a unit has no value.
        """
        array = np.asarray(values, dtype=np.float64)
        if array.ndim not in (1, 2):
            raise ValueError(f"values must be [goals] or [goals, training seeds], got {array.ndim} dimensions")
        if not np.isfinite(array).all():
            raise ValueError(f"values must be finite, {int((~np.isfinite(array)).sum())} are not; leave those out")
        counts = np.ones_like(array) if weights is None else np.asarray(weights, dtype=np.float64)
        if counts.shape != array.shape or not (np.isfinite(counts) & (counts >= 0)).all():
            raise ValueError(f"weights must be [{', '.join(map(str, array.shape))}] like the values, and not negative")
        if array.ndim == 1:
            array, counts = array[:, None], counts[:, None]
        if not counts.any(axis=1).all():
            raise ValueError(f"unit {int(counts.any(axis=1).argmin())} has no value under any training seed")
        there = counts.any(axis=0)
        return cls(array[:, there], counts[:, there])

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.values)

    @property
    def seeds(self) -> int:
        """Number of training seeds."""
        return self.values.shape[1]

    @property
    def unit_means(self) -> NDArray[np.float64]:
        """Mean of every unit over all its values, `[units]`."""
        return (self.values * self.weights).sum(axis=1) / self.weights.sum(axis=1)

    def constant(self) -> bool:
        """Return whether all values are the same."""
        values = self.values[self.weights > 0]
        return len(values) > 0 and bool((values == values[0]).all())


class Clusters:
    """Units that depend on each other and are drawn together.

    Args:
        units: number of units.
        groups: `[units]`, a label for the cluster of each unit; without them every unit is a cluster for itself.

    Raises:
        ValueError: there is not one label per unit.
    """

    def __init__(self, units: int, groups: ArrayLike | None) -> None:
        labels = np.arange(units) if groups is None else np.asarray(groups)
        if labels.shape != (units,):
            raise ValueError(f"groups must be [{units}], one label per unit, not {list(labels.shape)}")
        places = np.unique(labels, return_inverse=True)[1]
        self._order = np.argsort(places, kind="stable")
        self.sizes = np.bincount(places).astype(np.float64)
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)
        self._single = groups is None

    def __len__(self) -> int:
        """Return the number of clusters."""
        return len(self.sizes)

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums over each cluster, `[..., units]` to `[..., clusters]`."""
        return values if self._single else np.add.reduceat(values[..., self._order], self._starts, axis=-1)


def resampled_means(
    methods: Sequence[Cells],
    rng: np.random.Generator,
    clusters: Clusters,
    *,
    seeds: Seeds = "resampled",
    shared_seeds: bool = False,
    resamples: int = 10_000,
) -> list[NDArray[np.float64]]:
    """Draw clusters of units, and training seeds, and return the mean of every method in every resample.

    Clusters are drawn with replacement, as many as there are, and are the same for all methods; a mean is over all
    units of the clusters drawn (Davison and Hinkley 1997, section 3.8). The training seeds of every method are drawn
    with replacement too, for each method apart.

    Args:
        methods: cells of methods on the same units.
        rng: source of randomness, consumed.
        clusters: clusters of the units.
        seeds: `"fixed"` keeps the training runs as they are.
        shared_seeds: whether all methods stand for the same training runs, so that one draw of seeds serves them all.
        resamples: number of resamples.

    Returns:
        `[resamples]` for each method. A resample without any value, as it may be where cells are empty, is NaN.
    """
    counts: list[NDArray[np.float64] | None] = []
    for position, cells in enumerate(methods):
        if shared_seeds and position:
            counts.append(counts[0])
        else:
            drawn = seeds == "resampled" and cells.seeds > 1
            counts.append(_drawn_seeds(cells.seeds, rng, resamples) if drawn else None)
    block = max(1, _BLOCK_VALUES // max(1, len(clusters), *map(len, methods)))
    means: list[list[NDArray[np.float64]]] = [[] for _ in methods]
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = rng.integers(0, len(clusters), size=(size, len(clusters)))
        for found, cells, multiples in zip(means, methods, counts, strict=True):
            found.append(_means(cells, clusters, drawn, None if multiples is None else multiples[start : start + size]))
    return [np.concatenate(found) for found in means]


def above_p_value(samples: NDArray[np.float64], threshold: float) -> float:
    """Return twice the share of resamples that do not lie above a threshold, never below 2 / (resamples + 1)."""
    return min(1.0, 2 * (int((samples <= threshold).sum()) + 1) / (len(samples) + 1))


def difference_p_value(samples: NDArray[np.float64]) -> float:
    """Return the two-sided p-value that a resampled difference is 0, never below 2 / (resamples + 1)."""
    return min(above_p_value(samples, 0.0), above_p_value(-samples, 0.0))


def _drawn_seeds(seeds: int, rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Return how often every seed is in every resample, `[resamples, seeds]`."""
    drawn = rng.integers(0, seeds, size=(resamples, seeds))
    return (drawn[:, :, None] == np.arange(seeds)).sum(axis=1).astype(np.float64)


def _means(
    cells: Cells, clusters: Clusters, drawn: NDArray[np.int64], multiples: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return the means of a block of resamples, `[block]`.

    Args:
        cells: cells of a method.
        clusters: clusters of its units.
        drawn: `[block, clusters]` which of them each resample holds.
        multiples: `[block, seeds]` how often each seed is in each resample; None holds the seeds fixed.
    """
    if multiples is None:
        return clusters.sums(cells.unit_means)[drawn].sum(axis=1) / clusters.sizes[drawn].sum(axis=1)
    totals, weights = multiples @ (cells.values * cells.weights).T, multiples @ cells.weights.T
    there = weights > 0
    units = np.divide(totals, weights, out=np.zeros_like(totals), where=there)
    sums, sizes = clusters.sums(units), clusters.sums(there.astype(np.float64))
    above, below = (np.take_along_axis(each, drawn, axis=1).sum(axis=1) for each in (sums, sizes))
    return np.divide(above, below, out=np.full(len(drawn), np.nan), where=below > 0)
