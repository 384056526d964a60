"""A predictor of what a moment is worth, from features that cost next to nothing, always out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.teaching.settings import Stage, TeachingSettings
from lab.run import RunDirectory
from sightline.teachability import Episode, LabelledSnapshot
from sightline.teachability.jsonl import read_jsonl, write_jsonl
from sightline.teachability.predictor import (
    HashingEmbedder,
    PredictorConfig,
    confusion,
    cross_fit_predictions,
    embed,
    fit_predictor,
    macro_f1,
    make_targets,
    structural_features,
)
from sightline.teachability.records import QUADRANTS, Record

PREDICTOR, PREDICTIONS = "predictor", "predictions.jsonl"
FOLDS = 5


class Prediction(Record):
    """What a predictor that has not seen a moment's group says of the moment."""

    snapshot_id: str
    """The moment."""
    elp: float
    """Payoff of a tip, or gain of one action where the student reads no tips."""
    spread: float
    """Disagreement of the ensemble's members."""
    quadrant: int | None
    """Most probable quadrant, as its number from 0."""


@dataclass(frozen=True)
class Ranking:
    """Scores of the moments that have a payoff."""

    labelled: Sequence[LabelledSnapshot]
    """The moments."""
    scores: dict[str, NDArray[np.float64]]
    """Per name, [N]."""
    payoffs: NDArray[np.float64]
    """[N] what they are worth."""
    predictions: Sequence[Prediction]
    """What the predictor says of each."""


def predict_stage(
    settings: TeachingSettings, run: RunDirectory, labelled: Sequence[LabelledSnapshot], episodes: Sequence[Episode]
) -> list[Prediction]:
    """Return predictions out of fold; a predictor of all moments outside the panel is kept in the run."""
    used = measured(labelled)

    def compute(folder: Path) -> None:
        import torch

        torch.set_num_threads(1)
        config = PredictorConfig(kind=settings.predictor, seed=settings.seed)
        predictions = train_and_predict(used, episodes, config, folder / PREDICTOR)
        write_jsonl(folder / PREDICTIONS, predictions)

    return read_jsonl(run.stage(Stage.PREDICTOR, compute) / PREDICTIONS, Prediction)


def measured(labelled: Sequence[LabelledSnapshot]) -> list[LabelledSnapshot]:
    """Return the moments outside the panel that a predictor can learn from."""
    return [one for one in labelled if one.values and one.uncertainty and one.split in (None, "label", "calibration")]


def train_and_predict(
    labelled: Sequence[LabelledSnapshot], episodes: Sequence[Episode], config: PredictorConfig, folder: Path
) -> list[Prediction]:
    """Train a predictor on all moments, write it, and return what others say of each that have not seen its group."""
    table, targets = features(labelled, episodes), make_targets(labelled)
    groups = [one.snapshot.group for one in labelled]
    found = cross_fit_predictions(table, targets, groups, config, folds=min(FOLDS, len(set(groups))))
    fit_predictor(table, targets, config).save_pretrained(folder)
    return as_predictions(labelled, found.predictions)


def features(labelled: Sequence[LabelledSnapshot], episodes: Sequence[Episode]) -> NDArray[np.float64]:
    """Return structure, uncertainty and hashed words, [N, D]."""
    return np.hstack([structural_features(labelled, episodes), embed(labelled, HashingEmbedder())])


def as_predictions(labelled: Sequence[LabelledSnapshot], found: dict[str, NDArray[np.float64]]) -> list[Prediction]:
    """Return a predictor's answers as records; the gain of one action stands in where no payoff was learnt."""
    learnt = "elp" in found and not np.isnan(found["elp"]).all()
    worth, spread = found["elp" if learnt else "L_local"], found.get("spread", np.zeros(len(labelled)))
    quadrants = found.get("quadrant")
    return [
        Prediction(
            snapshot_id=one.snapshot.id,
            elp=float(np.nan_to_num(worth[row])),
            spread=float(np.nan_to_num(spread[row])),
            quadrant=None if quadrants is None or np.isnan(quadrants[row]).any() else int(np.argmax(quadrants[row])),
        )
        for row, one in enumerate(labelled)
    ]


def rank(labelled: Sequence[LabelledSnapshot], predictions: Sequence[Prediction], *, tips_work: bool) -> Ranking:
    """Return the scores by which moments can be ranked, beside what they are worth.

    Args:
        labelled: labelled moments.
        predictions: predictions out of fold.
        tips_work: whether tips mean something; if not, a moment is worth its L_local.
    """
    by_id = {one.snapshot_id: one for one in predictions}
    used = [
        one for one in measured(labelled)
        if one.snapshot.id in by_id and one.first_order and (one.patches or not tips_work)
    ]  # fmt: skip
    doubts = [one.uncertainty for one in used if one.uncertainty]
    orders = [one.first_order for one in used if one.first_order]
    noise = np.random.default_rng(0)
    scores = {
        "predictor": np.array([by_id[one.snapshot.id].elp for one in used]),
        "U": np.array([doubt.entropy_normalised for doubt in doubts]),
        "margin": np.array([doubt.margin for doubt in doubts]),
        "length": np.array([float(len(one.snapshot.observation.split())) for one in used]),
        "random": noise.random(len(used)),
        "s1": np.array([order.logit for order in orders]),
        "s2": np.array([order.supervised for order in orders]),
    }
    worth = [
        (one.patches.elp if tips_work and one.patches else one.values.L_local).estimate for one in used if one.values
    ]
    return Ranking(used, scores, np.array(worth), [by_id[one.snapshot.id] for one in used])


FREE = ("U", "margin", "length", "random")
"""Scores that need no labels."""


def quadrant_score(ranking: Ranking) -> tuple[float, NDArray[np.int64]] | None:
    """Return the macro-averaged F1 of predicted quadrants and their confusion; None where none was predicted."""
    pairs = [
        (QUADRANTS.index(one.quadrant), guess.quadrant)
        for one, guess in zip(ranking.labelled, ranking.predictions, strict=True)
        if one.quadrant in QUADRANTS and guess.quadrant is not None
    ]
    if not pairs:
        return None
    truth, guesses = np.array(pairs).T
    return macro_f1(guesses, truth), confusion(guesses, truth, len(QUADRANTS))
