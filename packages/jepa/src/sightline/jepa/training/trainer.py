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
from sightline.jepa.training.checkpoint import Checkpoint, CheckpointError
from sightline.jepa.training.history import TrainingResult, write_history, write_history_csv
from sightline.jepa.training.run import TrainingRun
from sightline.jepa.training.staged import StagedRun

logger = logging.getLogger(__name__)

_CANDIDATES = "candidates"
_STAGED = "staged"


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
            name: _begun(settled, dataset, _folder_of(folder, name), negatives)
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
            config = Checkpoint.load(folder / "checkpoint.safetensors").state.config
            run = _resumed(config, folder, dataset, negatives, epochs, patience)
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
                trainer._runs[name] = _resumed(settled, place, dataset, _used(settled, negatives), epochs, patience)
        return trainer

    @property
    def model(self) -> JEPAModel:
        """The best epoch so far, as a model of its own that further training does not change."""
        return self._best.model

    def fit(self, stop_after: int | None = None) -> TrainingResult:
        """Train until the epochs of every run are used up, or its validation has not improved for `patience` epochs.

        Args:
            stop_after: leave off once this epoch is done and its checkpoint written, as an interruption would. A scorer
                in two stages has no such epochs, and is left for when there is nothing to stop after.

        Returns:
            What happened in the run that is kept; it is finished when all runs are.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        if self._folder is not None and len(self._runs) > 1:
            with atomic_file(self._folder / _CANDIDATES / "config.json") as file:
                file.write(self._config.model_dump_json(indent=2).encode())
        scores = {}
        for name, run in self._runs.items():
            scores[name] = run.fit(stop_after).best_score
            if name:
                logger.info("%s: validation score %.4f", name, scores[name])
        kept, best = self._kept, self._best
        if self._folder is not None and len(self._runs) > 1:
            write_history(self._folder / "history.jsonl", best.result.history)
            write_history_csv(self._folder / "history.csv", best.result.history)
            best.model.save_pretrained(self._folder / "model", best.result.best_validation)
        finished = all(run.result.finished for run in self._runs.values())
        return replace(best.result, finished=finished, kept=kept, candidates=scores if kept else {})

    @property
    def _kept(self) -> str:
        """Name of the run with the highest validation score, the first of equals."""
        return max(self._runs, key=lambda name: self._runs[name].result.best_score)

    @property
    def _best(self) -> TrainingRun | StagedRun:
        return self._runs[self._kept]


def candidates(config: JEPAConfig) -> dict[str, JEPAConfig]:
    """Return every way of settling what a configuration leaves open, by name; one without a name if nothing is."""
    negatives = ("batch", "corpus") if config.loss.negatives == "auto" else (config.loss.negatives,)
    scorer = config.scorer
    residuals = (scorer.residual,)
    if config.model == "scorer" and scorer.residual == "auto":
        residuals = ("none", "plain")
    settled = {
        f"negatives-{negative}-residual-{residual}": config.model_copy(
            update={
                "loss": config.loss.model_copy(update={"negatives": negative} | _mined(config, negative)),
                "scorer": scorer.model_copy(update={"residual": residual, "filter": "joint"}),
            }
        )
        for negative in negatives
        for residual in residuals
    }
    if config.model == "scorer" and scorer.filter != "joint" and scorer.can_be_staged:
        staged = config.model_copy(
            update={"scorer": scorer.model_copy(update={"residual": "none", "filter": "staged"})}
        )
        settled = {_STAGED: staged} if scorer.filter == "staged" else settled | {_STAGED: staged}
    return {"": next(iter(settled.values()))} if len(settled) == 1 else settled


def _begun(
    config: JEPAConfig, dataset: SteeringDataset, folder: Path | None, negatives: NDArray[np.int64] | None
) -> TrainingRun | StagedRun:
    """Return a run with everything settled that has not done anything."""
    if _is_staged(config):
        return StagedRun(config, dataset, folder=folder)
    return TrainingRun(config, dataset, folder=folder, negatives=_used(config, negatives))


def _resumed(
    config: JEPAConfig,
    folder: Path,
    dataset: SteeringDataset,
    negatives: NDArray[np.int64] | None,
    epochs: int | None,
    patience: int | None,
) -> TrainingRun | StagedRun:
    """Take up a run where its last checkpoint left it; arguments and errors are those of `TrainingRun.resume`."""
    if _is_staged(config):
        return StagedRun.resume(folder, dataset, epochs=epochs, patience=patience)
    return TrainingRun.resume(folder, dataset, negatives=negatives, epochs=epochs, patience=patience)


def _is_staged(config: JEPAConfig) -> bool:
    return config.model == "scorer" and config.scorer.filter == "staged"


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
