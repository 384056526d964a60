"""Gradient-boosted regression trees (Friedman 2001) over binned features, with NumPy alone.

Letters in shapes: n rows, F features, T trees, D depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BINS = 32
_SHRINKAGE = 0.1
_LEAST_ROWS = 20.0
_PENALTY = 1.0


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """Complete trees of equal depth: node i's children are 2 i + 1 and 2 i + 2."""

    base: float
    """Value before the first tree."""
    feature: NDArray[np.int64]
    """int64 `[T, 2^D - 1]` column that a node looks at."""
    threshold: NDArray[np.float64]
    """`[T, 2^D - 1]`; a row goes right where its value is above."""
    leaf: NDArray[np.float64]
    """`[T, 2^D]` values, shrinkage included."""

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `[n]` for rows `[n, F]`."""
        return self.base + self.leaf_values(rows).sum(axis=1)

    def leaf_values(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what each tree adds for each row, `[n, T]`."""
        trees, inner = self.feature.shape
        here = np.zeros((len(rows), trees), np.int64)
        every = np.arange(trees)
        while inner:
            column, border = self.feature[every, here], self.threshold[every, here]
            here = 2 * here + 1 + (np.take_along_axis(rows, column, axis=1) > border)
            inner //= 2
        return self.leaf[every, here - self.feature.shape[1]]


def fit_trees(
    rows: NDArray[np.float64],
    targets: NDArray[np.float64],
    weights: NDArray[np.float64],
    *,
    trees: int = 120,
    depth: int = 4,
) -> BoostedTrees:
    """Fit trees to the squared error.

    Args:
        rows: `[n, F]`, finite.
        targets: `[n]`.
        weights: `[n]`, not negative.
        trees: T.
        depth: D.
    """
    borders = [_borders(rows[:, column]) for column in range(rows.shape[1])]
    bins = np.stack([np.searchsorted(border, rows[:, at]) for at, border in enumerate(borders)], axis=1)
    base = float(np.average(targets, weights=weights))
    residual = targets - base
    features = np.zeros((trees, 2**depth - 1), np.int64)
    thresholds = np.full((trees, 2**depth - 1), np.inf)
    leaves = np.zeros((trees, 2**depth))
    for tree in range(trees):
        node = np.zeros(len(rows), np.int64)
        for level in range(depth):
            column, place = _best_splits(bins, residual * weights, weights, node, 2**level)
            start = 2**level - 1
            features[tree, start : 2 * start + 1] = column
            thresholds[tree, start : 2 * start + 1] = [
                borders[c][p] if p < len(borders[c]) else np.inf for c, p in zip(column, place, strict=True)
            ]
            right = bins[np.arange(len(rows)), column[node]] > place[node]
            node = 2 * node + right
        total = np.bincount(node, residual * weights, 2**depth)
        leaves[tree] = _SHRINKAGE * total / (np.bincount(node, weights, 2**depth) + _PENALTY)
        residual = residual - leaves[tree, node]
    return BoostedTrees(base, features, thresholds, leaves)


def _borders(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ascending values between which the bins lie; a value equal to a border belongs below it."""
    distinct = np.unique(values)
    if len(distinct) <= _BINS:
        return distinct[:-1]
    return np.unique(np.quantile(values, np.arange(1, _BINS) / _BINS))


def _best_splits(
    bins: NDArray[np.int64],
    gradients: NDArray[np.float64],
    weights: NDArray[np.float64],
    node: NDArray[np.int64],
    nodes: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the column and the last bin on the left for every node; all rows go left where no split gains."""
    best = np.zeros(nodes)
    column, place = np.zeros(nodes, np.int64), np.full(nodes, _BINS)
    for at in range(bins.shape[1]):
        cell = node * _BINS + bins[:, at]
        left = np.bincount(cell, gradients, nodes * _BINS).reshape(nodes, _BINS).cumsum(axis=1)
        heavy = np.bincount(cell, weights, nodes * _BINS).reshape(nodes, _BINS).cumsum(axis=1)
        total, mass = left[:, -1:], heavy[:, -1:]
        gain = left**2 / (heavy + _PENALTY) + (total - left) ** 2 / (mass - heavy + _PENALTY)
        gain -= total**2 / (mass + _PENALTY)
        gain[(heavy < _LEAST_ROWS) | (mass - heavy < _LEAST_ROWS)] = -np.inf
        here = gain.argmax(axis=1)
        value = gain[np.arange(nodes), here]
        better = value > best
        best[better], column[better], place[better] = value[better], at, here[better]
    return column, place
