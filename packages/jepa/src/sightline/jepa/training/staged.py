"""A scorer that is trained in two stages: the map of questions without steering, and then the weight of a filter.

That is the linear adapter and the soft filter of `baselines`, written as the parameters of a `FilterAwareScorer`:
its sources stay as they are, and so sharp a distribution over categories knows the nearest and all others alone. It
is asked, kept and explained like a scorer whose parts are trained jointly.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch

from sightline.jepa.baselines.adapter import Adapter, train_adapter
from sightline.jepa.baselines.simple import softly_filtered
from sightline.jepa.config import JEPAConfig
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.models.model import JEPAModel, with_prefix
from sightline.jepa.models.scorer import FilterAwareScorer
from sightline.jepa.models.target import frozen_copy
from sightline.jepa.training.checkpoint import Checkpoint, CheckpointError, CheckpointState, fingerprint
from sightline.jepa.training.history import EpochRecord, TrainingResult, write_history, write_history_csv
from sightline.jepa.training.run import check_dimension
from sightline.jepa.training.seeding import seeded
from sightline.jepa.training.validation import Validation

_SHARP = 1e-4
"""Temperature at which all but the nearest category are as good as ruled out by the softmax."""
_LEAST_WEIGHT = 1e-12
"""Weight of a filter that validation does not want; its logarithm is a parameter, which must be finite."""


class StagedRun:
    """One training in two stages. `fit` trains, in one go; `model` is the best of the untrained and the trained scorer.

    Its history has two records: epoch 0, the untrained scorer, and epoch 1, everything after it. It is trained on the
    CPU with the settings of adapters (`baselines.GRID`), of which validation takes one; of the configuration it reads
    the scorer's, the seed and the share of unreliable steering. A kill before its end leaves nothing behind, and the
    same is trained again.
    """

    def __init__(self, config: JEPAConfig, dataset: SteeringDataset, *, folder: Path | None = None) -> None:
        """Prepare a run.

        Args:
            config: configuration of the run, whose `scorer.filter` is "staged".
            dataset: data to train and validate on; test pairs are never looked at.
            folder: folder of checkpoint, history and model; nothing is written without it.

        Raises:
            ValueError: configuration and data do not fit together.
        """
        check_dimension(config, dataset)
        self._config = config
        self._dataset = dataset
        self._folder = folder
        self._validation = Validation(dataset, config.training)
        descriptions = torch.from_numpy(np.array(dataset.category_vectors))
        with seeded(config.training.seed, 0, torch.device("cpu")):
            self._scorer = frozen_copy(FilterAwareScorer(config.predictor, config.scorer, descriptions))
        self._history: list[EpochRecord] = []

    @classmethod
    def resume(
        cls, folder: Path, dataset: SteeringDataset, *, epochs: int | None = None, patience: int | None = None
    ) -> StagedRun:
        """Take up a run that is over.

        Args:
            folder: folder of the run.
            dataset: the data that it was made with.
            epochs: a new number of epochs, which changes the configuration alone; None keeps it.
            patience: a new patience, likewise.

        Raises:
            FileNotFoundError: the folder has no checkpoint.
            CheckpointError: the checkpoint is damaged, or was made with other data.
        """
        path = folder / "checkpoint.safetensors"
        checkpoint = Checkpoint.resume(path, dataset)
        run = cls(checkpoint.state.extended(epochs, patience), dataset, folder=folder)
        try:
            run._scorer.load_state_dict(with_prefix(checkpoint.tensors, "best.predictor."))
        except RuntimeError as error:
            raise CheckpointError(f"{path}: tensors do not fit its configuration: {str(error)[:300]}") from error
        run._history = list(checkpoint.state.history)
        return run

    @property
    def config(self) -> JEPAConfig:
        """Configuration of the run; once it is over, with what its adapter was contrasted with."""
        return self._config

    @property
    def result(self) -> TrainingResult:
        """What has happened so far."""
        return TrainingResult(tuple(self._history), self._best_epoch, finished=len(self._history) > 1)

    @property
    def model(self) -> JEPAModel:
        """The best epoch so far, as a model of its own."""
        return self._as_model(frozen_copy(self._scorer))

    def fit(self, stop_after: int | None = None) -> TrainingResult:
        """Train, unless it is done or something is to be left for later.

        Args:
            stop_after: any number leaves both stages for later, so that runs with epochs show theirs first.
        """
        if not self._history:
            self._history.append(self._validated(self._scorer, 0, time.perf_counter()))
        if stop_after is None and len(self._history) == 1:
            self._train()
        return self.result

    @property
    def _best_epoch(self) -> int:
        scores = [record.score for record in self._history]
        return scores.index(max(scores)) if scores else 0

    def _train(self) -> None:
        started, dataset, training = time.perf_counter(), self._dataset, self._config.training
        adapter = train_adapter(dataset, training.seed, kind="none")
        filtered = softly_filtered(adapter.method(dataset), dataset, unreliable_share=training.unreliable_share)
        trained = staged_scorer(self._scorer, adapter, filtered.settings["bonus"])
        self._history.append(
            self._validated(trained, 1, started).model_copy(
                update={
                    "learning_rate": adapter.settings.learning_rate,
                    "training": {"filter/bonus": filtered.settings["bonus"]},
                    "steering": {"none": 1.0},
                }
            )
        )
        if self._best_epoch:
            self._scorer = trained
            contrasted = {"negatives": adapter.settings.negatives, "temperature": adapter.settings.temperature}
            loss = self._config.loss.model_copy(update=contrasted | {"num_negatives": 0})
            self._config = self._config.model_copy(update={"loss": loss})
        if self._folder is not None:
            self._save(self._folder)

    def _save(self, folder: Path) -> None:
        write_history(folder / "history.jsonl", self._history)
        write_history_csv(folder / "history.csv", self._history)
        state = CheckpointState(
            config=self._config,
            dataset=fingerprint(self._dataset),
            epoch=1,
            step=0,
            best_epoch=self._best_epoch,
            history=tuple(self._history),
        )
        tensors = {f"best.predictor.{name}": value for name, value in self._scorer.state_dict().items()}
        Checkpoint(state, tensors).save(folder / "checkpoint.safetensors")
        self.model.save_pretrained(folder / "model", self.result.best_validation)

    def _validated(self, scorer: FilterAwareScorer, epoch: int, started: float) -> EpochRecord:
        model = self._as_model(scorer)
        found = self._validation.mean_reciprocal_ranks(model)
        return EpochRecord(
            epoch=epoch,
            score=float(np.mean(list(found.values()))),
            learning_rate=0.0,
            seconds=time.perf_counter() - started,
            training={},
            gradient_norm={},
            validation=found,
            collapse=self._validation.collapse(model),
            steering={},
        )

    def _as_model(self, scorer: FilterAwareScorer) -> JEPAModel:
        return JEPAModel(self._config, scorer, encoder=self._dataset.encoder, names=self._dataset.names)


def staged_scorer(untrained: FilterAwareScorer, adapter: Adapter, bonus: float) -> FilterAwareScorer:
    """Return the scorer that ranks like an adapter with a soft filter.

    Scores differ from theirs by one number for all sources of a question: the log probability of other categories.

    Args:
        untrained: scorer without a residual and a map of steering; it is not changed.
        adapter: adapter that was trained without steering.
        bonus: what sources gain by being of the category nearest to the steering, at least 0.
    """
    scorer = frozen_copy(untrained)
    floor = float(scorer.floor_logit.sigmoid())
    # log p of the nearest category minus that of any other, where p is certain but for the floor.
    lead = math.log1p((1 - floor) * scorer.num_categories / floor)
    with torch.no_grad():
        scorer.question_map.weight.copy_(adapter.question_weights.T)
        scorer.log_category_temperature.fill_(math.log(_SHARP))
        scorer.log_category_weight.fill_(math.log(max(bonus / lead, _LEAST_WEIGHT)))
    return scorer
