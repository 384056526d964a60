"""Targets from labels, and scores out of fold: a moment is never scored by a model that has seen its group."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.predictor.model import fit_predictor
from sightline.teachability.predictor.targets import Floats, PredictorConfig, Targets
from sightline.teachability.records import PATCH_FORMATS, QUADRANTS, Bound, LabelledSnapshot

_TAU = 0.01
"""Variance that every target has beside that of its bound: no label counts more than a hundred."""


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """Predictions for every row by models that have not seen its group."""

    predictions: dict[str, Floats]
    """Per head, [N] or [N, C]; nan where no model had such targets."""
    folds: NDArray[np.int64]
    """[N] fold of each row."""


def make_targets(labelled: Sequence[LabelledSnapshot]) -> Targets:
    """Return what a predictor learns; what was not measured is masked, never taken for 0."""
    numbers: dict[str, list[float]] = {"elp": [], "L_local": [], "L_upper": [], "depth": []}
    weights: dict[str, list[float]] = {name: [] for name in numbers}
    for one in labelled:
        bounds = {
            "elp": one.patches.elp if one.patches else None,
            "L_local": one.values.L_local if one.values else None,
            "L_upper": one.values.L_upper if one.values else None,
        }
        for name, bound in bounds.items():
            numbers[name].append(math.nan if bound is None else bound.estimate)
            weights[name].append(1.0 if bound is None else 1 / (_variance(bound) + _TAU))
        depth = one.depth.force if one.depth else None
        observed = depth is not None and depth.status == "observed"
        numbers["depth"].append(float(depth.steps) if observed and depth else math.nan)
        weights["depth"].append(1.0)
    quadrants = [QUADRANTS.index(one.quadrant) if one.quadrant in QUADRANTS else -1 for one in labelled]
    routes = [PATCH_FORMATS.index(one.patches.route) if one.patches else -1 for one in labelled]
    return Targets(
        {name: np.array(values, dtype=np.float64) for name, values in numbers.items()},
        {name: np.array(values, dtype=np.float64) for name, values in weights.items()},
        {"quadrant": np.array(quadrants, dtype=np.int64), "route": np.array(routes, dtype=np.int64)},
    )


def choose_folds(groups: Sequence[str], count: int, *, salt: str = "fold") -> NDArray[np.int64]:
    """Return a fold for each row: groups go, in the order of their hashes, to the smallest fold."""
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"{salt}\x1f{group}".encode()).digest())
    loads, fold_of = [0] * count, {}
    for group in order:
        fold = loads.index(min(loads))
        fold_of[group] = fold
        loads[fold] += sizes[group]
    return np.array([fold_of[group] for group in groups], dtype=np.int64)


def cross_fit_predictions(
    features: Floats, targets: Targets, groups: Sequence[str], config: PredictorConfig, *, folds: int = 5
) -> OutOfFold:
    """Return predictions out of fold.

    Args:
        features: [N, D].
        targets: what is learnt.
        groups: [N] group of each row.
        config: the predictor.
        folds: number of folds; at least as many groups are needed.

    Raises:
        ValueError: there are fewer groups than folds.
    """
    if len(set(groups)) < folds:
        raise ValueError(f"{folds} folds need as many groups; there are {len(set(groups))}")
    fold_of = choose_folds(groups, folds)
    predictions: dict[str, Floats] = {}
    for fold in range(folds):
        inside = np.flatnonzero(fold_of == fold)
        outside = np.flatnonzero(fold_of != fold)
        model = fit_predictor(features[outside], targets.rows(outside), config)
        for name, values in model.predict(features[inside]).items():
            filler = np.full((len(features), *values.shape[1:]), np.nan)
            predictions.setdefault(name, filler)[inside] = values
    return OutOfFold(predictions, fold_of)


def _variance(bound: Bound) -> float:
    """Variance of a number in a bound: uniform if certain, normal with 95 % inside if sampled."""
    return bound.gap**2 / (12 if bound.method in ("graph", "played") else 15.4)
