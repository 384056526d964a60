"""Weighted ridge regression of everything that is predicted. Knows nothing of folds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sightline.teachability.files import atomic_file
from sightline.teachability.predictor.targets import (
    CLASSES,
    PREDICTOR_FILE,
    Floats,
    PredictorConfig,
    Scaler,
    Targets,
)


class RidgePredictor:
    """Weighted ridge regression of every head on scaled features; classes by regression on their indicators.

    Args:
        scaler: of the features.
        heads: per head, [D + 1, outputs] weights, the last row the intercept.
    """

    def __init__(self, scaler: Scaler, heads: Mapping[str, Floats]) -> None:
        self._scaler = scaler
        self._heads = dict(heads)

    @classmethod
    def fit(cls, features: Floats, targets: Targets, config: PredictorConfig) -> RidgePredictor:
        """Return a fitted predictor; a head without a single target is left out."""
        scaler = Scaler.of(features)
        design = scaler(features)
        heads = {}
        for name, values in targets.numbers.items():
            known = ~np.isnan(values)
            if known.any():
                heads[name] = _ridge(design[known], values[known, None], targets.weights[name][known], config.penalty)
        for name, labels in targets.classes.items():
            known = labels >= 0
            if known.any():
                indicators = np.eye(CLASSES[name])[labels[known]]
                heads[name] = _ridge(design[known], indicators, np.ones(int(known.sum())), config.penalty)
        return cls(scaler, heads)

    def predict(self, features: Floats) -> dict[str, Floats]:
        """Return numbers, class probabilities (clipped and rescaled) and a spread of 0."""
        design = self._scaler(features)
        found = {name: design @ weights[:-1] + weights[-1] for name, weights in self._heads.items()}
        answers: dict[str, Floats] = {"spread": np.zeros(len(features))}
        for name, values in found.items():
            if name in CLASSES:
                clipped = np.clip(values, 1e-6, None)
                answers[name] = clipped / clipped.sum(axis=1, keepdims=True)
            else:
                answers[name] = values[:, 0]
        return answers

    def save_pretrained(self, folder: Path) -> None:
        """Write the model into a folder."""
        content = {
            "schema_version": 1,
            "kind": "ridge",
            "mean": self._scaler.mean.tolist(),
            # An infinite scale is no JSON: null stands for it.
            "scale": [None if np.isinf(one) else one for one in self._scaler.scale.tolist()],
            "heads": {name: weights.tolist() for name, weights in self._heads.items()},
        }
        with atomic_file(folder / PREDICTOR_FILE) as file:
            file.write(json.dumps(content).encode())

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> RidgePredictor:
        """Return the predictor of a file's content."""
        scale = np.array([np.inf if one is None else one for one in content["scale"]])
        heads = {name: np.array(weights) for name, weights in content["heads"].items()}
        return cls(Scaler(np.array(content["mean"]), scale), heads)


def _ridge(design: Floats, targets: Floats, weights: Floats, penalty: float) -> Floats:
    """Weighted ridge with a free intercept: [D + 1, outputs]; weights count relative to their mean."""
    weights = weights / weights.mean()
    total = weights.sum()
    centre, middle = weights @ design / total, weights @ targets / total
    x, y = design - centre, targets - middle
    weighted = x * weights[:, None]
    slopes = np.linalg.solve(weighted.T @ x + penalty * np.eye(x.shape[1]), weighted.T @ y)
    return np.vstack([slopes, middle - centre @ slopes])
