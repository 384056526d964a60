"""Train what a configuration describes, and let validation decide what it leaves open.

Same configuration, same data, same machine and number of threads, same result, whether or not the training was
interrupted. No global random state is changed.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from sightline.jepa.config import JEPAConfig
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.files import atomic_file
from sightline.jepa.models.model import JEPAModel
from sightline.jepa.training.checkpoint import CheckpointError
from sightline.jepa.training.history import TrainingResult, write_history, write_history_csv
from sightline.jepa.training.run import TrainingRun

logger = logging.getLogger(__name__)

_CANDIDATES = "candidates"


class Trainer:
    """Trains one run for every way of settling what is `auto`, and keeps the one that validation prefers.

    `fit` trains; `model` is the best epoch of the best run so far. Nothing is compared where nothing is `auto`.
    """

    def __init__(
        self,
        config: JEPAConfig,
        dataset: SteeringDataset,
        *,
        folder: Path | None = None,
        negatives: NDArray[np.int64] | None = None,
    ) -> None:
        """Prepare.

        Args:
            config: configuration.
            dataset: data to train and validate on; test pairs are never looked at.
            folder: folder of checkpoints, history and model; nothing is written without it.
            negatives: `[P, N]` mined source ids for each training pair, in the data set's order, N being
                `loss.num_negatives`.

        Raises:
            ValueError: configuration, data and negatives do not fit together, or there is no such device.
        """
        _check_negatives(negatives, config.loss.num_negatives)
        self._config = config
        self._folder = folder
        self._runs = {
            name: TrainingRun(settled, dataset, folder=_folder_of(folder, name), negatives=_used(settled, negatives))
            for name, settled in candidates(config).items()
        }

    @classmethod
    def resume(
        cls,
        folder: Path,
        dataset: SteeringDataset,
        *,
        negatives: NDArray[np.int64] | None = None,
        epochs: int | None = None,
        patience: int | None = None,
    ) -> Trainer:
        """Take up a training where its last checkpoints left it.

        Args:
            folder: folder of the training.
            dataset: the data that it was started with.
            negatives: the mined negatives that it was started with.
            epochs: a new number of epochs, to extend a training; None keeps it. The learning rate goes on by the new
                schedule, so that an extended training is not the same as one that was as long from the start.
            patience: a new patience; None keeps it.

        Raises:
            FileNotFoundError: the folder has no checkpoint.
            CheckpointError: a checkpoint is damaged, or was made with other data or negatives.
            ValueError: fewer epochs are asked for than are done.
        """
        if not (folder / _CANDIDATES).exists():
            run = TrainingRun.resume(folder, dataset, negatives=negatives, epochs=epochs, patience=patience)
            trainer = cls.__new__(cls)
            trainer._config, trainer._folder, trainer._runs = run.config, folder, {"": run}
            return trainer
        path = folder / _CANDIDATES / "config.json"
        try:
            config = JEPAConfig.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise CheckpointError(f"{path}, field {field!r}: {first['msg']}; delete {folder} to train anew") from error
        changed = {name: value for name, value in (("epochs", epochs), ("patience", patience)) if value is not None}
        training = config.training.model_dump() | changed
        config = JEPAConfig.model_validate(config.model_dump() | {"training": training})
        trainer = cls(config, dataset, folder=folder, negatives=negatives)
        for name, settled in candidates(config).items():
            place = folder / _CANDIDATES / name
            if (place / "checkpoint.safetensors").exists():
                trainer._runs[name] = TrainingRun.resume(
                    place, dataset, negatives=_used(settled, negatives), epochs=epochs, patience=patience
                )
        return trainer

    @property
    def model(self) -> JEPAModel:
        """The best epoch so far, as a model of its own that further training does not change."""
        return self._best.model

    def fit(self, stop_after: int | None = None) -> TrainingResult:
        """Train until the epochs of every run are used up, or its validation has not improved for `patience` epochs.

        Args:
            stop_after: leave off once this epoch is done and its checkpoint written, as an interruption would.

        Returns:
            What happened in the run that is kept; it is finished when all runs are.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        if self._folder is not None and len(self._runs) > 1:
            with atomic_file(self._folder / _CANDIDATES / "config.json") as file:
                file.write(self._config.model_dump_json(indent=2).encode())
        for name, run in self._runs.items():
            score = run.fit(stop_after).best_score
            if name:
                logger.info("%s: validation score %.4f", name, score)
        best = self._best
        if self._folder is not None and len(self._runs) > 1:
            write_history(self._folder / "history.jsonl", best.result.history)
            write_history_csv(self._folder / "history.csv", best.result.history)
            best.model.save_pretrained(self._folder / "model", best.result.best_validation)
        return replace(best.result, finished=all(run.result.finished for run in self._runs.values()))

    @property
    def _best(self) -> TrainingRun:
        """The run with the highest validation score, the first of equals."""
        return max(self._runs.values(), key=lambda run: run.result.best_score)


def candidates(config: JEPAConfig) -> dict[str, JEPAConfig]:
    """Return every way of settling what a configuration leaves open, by name; one without a name if nothing is."""
    negatives = ("batch", "corpus") if config.loss.negatives == "auto" else (config.loss.negatives,)
    residuals = (config.scorer.residual,)
    if config.model == "scorer" and config.scorer.residual == "auto":
        residuals = ("none", "plain")
    settled = {
        f"negatives-{negative}-residual-{residual}": config.model_copy(
            update={
                "loss": config.loss.model_copy(update={"negatives": negative} | _mined(config, negative)),
                "scorer": config.scorer.model_copy(update={"residual": residual}),
            }
        )
        for negative in negatives
        for residual in residuals
    }
    return {"": next(iter(settled.values()))} if len(settled) == 1 else settled


def _check_negatives(negatives: NDArray[np.int64] | None, expected: int) -> None:
    """Refuse mined negatives that the configuration does not ask for, and their absence where it does."""
    found = 0 if negatives is None else negatives.shape[-1]
    if found != expected:
        raise ValueError(
            f"loss.num_negatives is {expected}, but {found or 'no'} mined negatives per pair were given; give "
            "mine_negatives(dataset, loss.num_negatives, seed).ids, or change the number"
        )


def _mined(config: JEPAConfig, negatives: str) -> dict[str, int]:
    """Return that no mined negatives are used where all of the training corpus is contrasted with."""
    return {"num_negatives": config.loss.num_negatives if negatives == "batch" else 0}


def _used(config: JEPAConfig, negatives: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Return the mined negatives for a candidate, which go to those alone that contrast within the batch."""
    return negatives if config.loss.negatives == "batch" else None


def _folder_of(folder: Path | None, name: str) -> Path | None:
    return folder / _CANDIDATES / name if folder is not None and name else folder
