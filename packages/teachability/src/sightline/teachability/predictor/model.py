"""Fits and reads predictors of either kind: a ridge regression, or an ensemble of small networks.

Both predict several things at once, each where it was measured; what was measured well weighs more.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sightline.teachability.jsonl import RecordError
from sightline.teachability.predictor.ridge import RidgePredictor
from sightline.teachability.predictor.targets import PREDICTOR_FILE, Floats, Predictor, PredictorConfig, Targets


def fit_predictor(features: Floats, targets: Targets, config: PredictorConfig) -> Predictor:
    """Return a fitted predictor.

    Args:
        features: [N, D].
        targets: what is learnt.
        config: kind and settings.

    Raises:
        ValueError: there are no rows, or a feature is not finite.
        ImportError: networks need the extra `training`.
    """
    if not len(features) or not np.isfinite(features).all():
        raise ValueError(f"features must be finite and not empty; have shape {features.shape}")
    if config.kind == "ridge":
        return RidgePredictor.fit(features, targets, config)
    from sightline.teachability.predictor.network import NetworkPredictor

    return NetworkPredictor.fit(features, targets, config)


def load_predictor(folder: Path) -> Predictor:
    """Read a predictor of either kind.

    Raises:
        FileNotFoundError: there is none.
        RecordError: the file is damaged or of another version.
    """
    file = folder / PREDICTOR_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version, kind = content["schema_version"], content["kind"]
        if version != 1:
            raise RecordError(f"{file} has schema version {version!r}; this package reads version 1")
        if kind == "ridge":
            return RidgePredictor.from_content(content)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(f"{file} is no predictor ({error!r}); train it again") from error
    from sightline.teachability.predictor.network import NetworkPredictor

    return NetworkPredictor.from_content(content, folder)
