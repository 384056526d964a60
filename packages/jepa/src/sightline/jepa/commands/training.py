"""Trainings of `sightline-jepa train`, which go on after a stop: of a model, and of models without some questions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sightline.jepa.asking.fitting import HeldOut
from sightline.jepa.commands.tracking import Tracker
from sightline.jepa.config import JEPAConfig
from sightline.jepa.data.building import hold_out_fold
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.negatives import mine_negatives
from sightline.jepa.training import TrainingResult
from sightline.jepa.training.trainer import Trainer

logger = logging.getLogger(__name__)

UNTUNED_FOLDS: Final = 4
"""Folds of the training questions, unless somebody says how many, where the encoder stays as it is."""


def check_folds(folds: int | None) -> None:
    """Refuse numbers of folds that leave nothing to train on.

    Args:
        folds: number of folds; None where nobody has said how many.

    Raises:
        ValueError: it is 1 or negative.
    """
    if folds is not None and (folds < 0 or folds == 1):
        raise ValueError(
            f"--folds {folds} leaves nothing to train on: give 0 for none, or at least 2 parts to do without in turn"
        )


def train_model(
    config: JEPAConfig, dataset: SteeringDataset, folder: Path, tracker: Tracker
) -> tuple[Trainer, TrainingResult]:
    """Train to the end, from the last checkpoint if there is one, and tell the tracker of every epoch."""
    trainer = _opened(config, dataset, folder)
    for epoch in range(1, config.training.epochs + 1):
        result = trainer.fit(stop_after=epoch)
        if result.history[-1].epoch == epoch:  # not of an epoch before the checkpoint, or behind the last one
            tracker(result.history[-1])
            logger.info("epoch %d: %s", epoch, _in_a_line(result))
    return trainer, trainer.fit()


def hold_out_folds(
    config: JEPAConfig,
    dataset: SteeringDataset,
    folder: Path,
    folds: int,
    *,
    seed: int,
    embed: Callable[[Path, SteeringDataset], SteeringDataset] | None,
) -> list[HeldOut]:
    """Train without each fold of the training questions in turn; what there is already is not trained again.

    Args:
        config: configuration with nothing left to be chosen, so that these models are like the one that answers.
        dataset: the data, embedded by the encoder as it is.
        folder: folder of the run.
        folds: number of folds.
        seed: seed of the dealing.
        embed: function from a folder and the data without a fold to all the data, embedded by an encoder that was tuned
            on them; None where the encoder stays as it is.
    """
    found = []
    for fold in range(folds):
        without, place = hold_out_fold(dataset, fold, folds, seed=seed), folder / f"fold-{fold}-of-{folds}"
        logger.info("fold %d of %d: %d questions to be asked", fold + 1, folds, len(without.queries("test")))
        if embed is not None:
            without = hold_out_fold(embed(place, without), fold, folds, seed=seed)
        trainer = _opened(config, without, place / "training")
        trainer.fit()
        found.append(HeldOut(trainer.model, without))
    return found


def _opened(config: JEPAConfig, dataset: SteeringDataset, folder: Path) -> Trainer:
    negatives = None
    if config.loss.num_negatives:
        negatives = mine_negatives(dataset, config.loss.num_negatives, config.training.seed).ids
    try:
        return Trainer.resume(folder, dataset, negatives=negatives)
    except FileNotFoundError:
        return Trainer(config, dataset, folder=folder, negatives=negatives)


@dataclass(frozen=True)
class _Logged:
    """A number of the epoch's record that is shown while training, where there is one."""

    label: str
    key: str


_LOGGED: Final = (
    _Logged("loss", "total/loss"),
    _Logged("routing accuracy", "routing/accuracy"),
    _Logged("routing entropy", "routing_confidence/entropy"),
    _Logged("residual length", "residual/length"),
)


def _in_a_line(result: TrainingResult) -> str:
    record = result.history[-1]
    scores = [f"MRR {mode} {score:.3f}" for mode, score in record.validation.items()]
    parts = [f"{each.label} {record.training[each.key]:.3f}" for each in _LOGGED if each.key in record.training]
    return ", ".join([*scores, *parts])
