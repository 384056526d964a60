"""One training run: on the pairs of a data set, with the best epoch by its validation pairs, and proof to interruption.

Same configuration, same data, same machine and number of threads, same result, whether or not the run was interrupted.
No global random state is changed.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sightline.jepa.config import JEPAConfig
from sightline.jepa.data.batches import TrainingPairs, epoch_batches
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.losses.schedules import cosine, learning_rate_at
from sightline.jepa.models.model import JEPAModel, Predictor, make_predictor, with_prefix
from sightline.jepa.models.projection import SharedProjection
from sightline.jepa.models.routed_predictor import RoutedPredictor
from sightline.jepa.models.scorer import FilterAwareScorer
from sightline.jepa.models.target import EMAEncoder, FrozenTarget, average_into, frozen_copy
from sightline.jepa.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointState,
    fingerprint,
    negatives_fingerprint,
    optimizer_tensors,
    restore_optimizer,
)
from sightline.jepa.training.curriculum import Curriculum, steering_shares
from sightline.jepa.training.history import EpochRecord, TrainingResult, write_history, write_history_csv
from sightline.jepa.training.objective import FiledSources, Objective, TargetBatch, Terms
from sightline.jepa.training.optimizer import make_optimizer
from sightline.jepa.training.seeding import seeded
from sightline.jepa.training.validation import Validation

logger = logging.getLogger(__name__)


class TrainingRun:
    """One run with everything settled. `fit` trains; `model` is the best epoch so far."""

    def __init__(
        self,
        config: JEPAConfig,
        dataset: SteeringDataset,
        *,
        folder: Path | None = None,
        negatives: NDArray[np.int64] | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            config: configuration of the run, with nothing left to be chosen.
            dataset: data to train and validate on; test pairs are never looked at.
            folder: folder of checkpoint, history and model; nothing is written without it.
            negatives: `[P, N]` mined source ids for each training pair, in the data set's order, N being
                `loss.num_negatives`.

        Raises:
            ValueError: configuration, data and negatives do not fit together, or there is no such device.
        """
        assert config.loss.negatives != "auto", "the trainer settles what is contrasted with"
        check_dimension(config, dataset)
        if config.training.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("training.device is 'cuda', but PyTorch finds no such device; set it to 'cpu'")
        self._config = config
        self._dataset = dataset
        self._folder = folder
        self._device = torch.device(config.training.device)
        self._negatives = negatives
        every_source = config.loss.negatives == "corpus_all"
        pairs = TrainingPairs.of(dataset, negatives, every_source=every_source)
        self._pairs = pairs.to(self._device)
        self._curriculum = Curriculum(config.curriculum, dataset, config.training.seed)
        self._validation = Validation(dataset, config.training)
        with seeded(config.training.seed, 0, self._device):
            predictor = make_predictor(config, pairs.centroids, pairs.descriptions)
            encoder = (
                EMAEncoder(SharedProjection(config.predictor.dimension), config.ema)
                if config.target == "projection"
                else FrozenTarget()
            )
        self._predictor, self._encoder = predictor.to(self._device), encoder.to(self._device)
        self._objective = Objective(config.loss).to(self._device)
        self._averaged = frozen_copy(self._predictor)
        self._optimizer = make_optimizer(config, self._predictor, self._parameters())
        self._steps_per_epoch = len(epoch_batches(len(self._pairs), config.training.batch_size, torch.Generator()))
        self._epoch = self._step = self._best_epoch = 0
        self._best = self._snapshot()
        self._history: list[EpochRecord] = []

    @classmethod
    def resume(
        cls,
        folder: Path,
        dataset: SteeringDataset,
        *,
        negatives: NDArray[np.int64] | None = None,
        epochs: int | None = None,
        patience: int | None = None,
    ) -> TrainingRun:
        """Take up a run where its last checkpoint left it; arguments and errors are those of `Trainer.resume`."""
        path = folder / "checkpoint.safetensors"
        checkpoint = Checkpoint.resume(path, dataset)
        state, tensors = checkpoint.state, checkpoint.tensors
        if state.negatives != negatives_fingerprint(negatives):
            given = "none" if negatives is None else "others"
            asked = "without mined negatives" if state.negatives is None else "with mined negatives"
            raise CheckpointError(f"{path} was made {asked}, and {given} were given; resume with the same")
        trainer = cls(state.extended(epochs, patience), dataset, folder=folder, negatives=negatives)
        try:
            for name, module in trainer._modules().items():
                module.load_state_dict(with_prefix(tensors, f"{name}."))
            restore_optimizer(trainer._optimizer, with_prefix(tensors, "optimizer."))
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path}: tensors do not fit its configuration: {str(error)[:300]}") from error
        trainer._best = with_prefix(tensors, "best.")
        trainer._epoch, trainer._step, trainer._best_epoch = state.epoch, state.step, state.best_epoch
        trainer._history = list(state.history)
        return trainer

    @property
    def config(self) -> JEPAConfig:
        """Configuration of the run."""
        return self._config

    @property
    def result(self) -> TrainingResult:
        """What has happened so far."""
        return TrainingResult(tuple(self._history), self._best_epoch, self._finished)

    @property
    def model(self) -> JEPAModel:
        """The best epoch so far, as a model of its own that further training does not change."""
        predictor = frozen_copy(self._averaged)
        predictor.load_state_dict(with_prefix(self._best, "predictor."))
        projection = None
        if isinstance(self._encoder, EMAEncoder):
            projection = frozen_copy(self._encoder.target_encoder)
            projection.load_state_dict(with_prefix(self._best, "projection."))
        return self._as_model(predictor, projection)

    def fit(self, stop_after: int | None = None) -> TrainingResult:
        """Train until the epochs are used up, or validation has not improved for `patience` epochs.

        Args:
            stop_after: leave off once this epoch is done and its checkpoint written, as an interruption would.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        if not self._history:
            self._record(self._validated(time.perf_counter(), 0.0, {}, {}, {}))
        while not self._finished:
            if stop_after is not None and self._epoch >= stop_after:
                break
            self._train_epoch()
            if self._folder is not None and self._epoch % self._config.training.checkpoint_epochs == 0:
                self._save_checkpoint()
        if self._folder is not None:
            self._save_checkpoint()
            self.model.save_pretrained(self._folder / "model", self.result.best_validation)
        return self.result

    @property
    def _finished(self) -> bool:
        training = self._config.training
        started = max(self._best_epoch, self._config.loss.regression_epochs)  # a first stage may only prepare
        return self._epoch >= training.epochs or self._epoch - started >= training.patience

    def _train_epoch(self) -> None:
        started, self._epoch = time.perf_counter(), self._epoch + 1
        training = self._config.training
        steering, kinds = self._curriculum.draw(self._epoch, self._pairs.question_ids)
        vectors, has_steering = torch.from_numpy(steering.vectors), torch.from_numpy(steering.has_steering)
        sums: dict[str, float] = defaultdict(float)
        gradients: dict[str, float] = {}
        vectors, has_steering = vectors.to(self._device), has_steering.to(self._device)
        for module in (self._predictor, self._encoder):
            module.train()
        with seeded(training.seed, self._epoch, self._device):
            for positions in self._batches():
                self._set_schedules()
                terms = self._terms(positions, vectors[positions], has_steering[positions])
                if not gradients:
                    gradients = {name: self._gradient_norm(term) for name, term in terms.weighted.items()}
                self._take_step(terms.total)
                parts = terms.parts | {"total/loss": terms.total.detach()}
                for name, value in parts.items():
                    sums[name] += float(value) * len(positions)
        losses = {name: value / len(self._pairs) for name, value in sums.items()}
        self._record(self._validated(started, self._rate(self._step - 1), losses, gradients, steering_shares(kinds)))

    def _batches(self) -> list[Tensor]:
        """Return the positions of an epoch's batches; the order follows from torch's seed."""
        order = torch.Generator().manual_seed(torch.initial_seed())
        training = self._config.training
        categories = self._pairs.categories.cpu() if training.batches == "balanced" else None
        batches = epoch_batches(len(self._pairs), training.batch_size, order, categories)
        return [positions.to(self._device) for positions in batches]

    def _terms(self, positions: Tensor, vectors: Tensor, has_steering: Tensor) -> Terms:
        """Return the losses of a batch of pairs `[B]` with their steering."""
        pairs, encoder = self._pairs, self._encoder
        half = self._config.training.precision == "bfloat16"
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=half):
            output = self._predictor(encoder.online(pairs.questions[positions]), encoder.online(vectors), has_steering)
            source_ids = pairs.source_ids[positions]
            mined = None if pairs.mined is None else pairs.mined[positions]
            corpus = self._corpus(source_ids, mined)
            mapped = isinstance(self._predictor, FilterAwareScorer)
            sources = corpus[source_ids] if mapped else encoder.online(pairs.corpus[source_ids])
            targets = TargetBatch(
                corpus=corpus,
                sources=sources,
                source_ids=source_ids,
                category=pairs.categories[positions],
                corpus_category=pairs.corpus_category,
                others=pairs.others_of(positions),
                centroids=encoder.target(pairs.centroids),
                mined=mined,
            )
            if self._epoch <= self._config.loss.regression_epochs:
                return self._objective.regression(output, targets)
            return self._objective(output, targets, self._filed_sources() if self._config.loss.steering else None)

    def _corpus(self, source_ids: Tensor, mined: Tensor | None) -> Tensor:
        """Return the corpus `[C, D]` as predictions are compared with it; a scorer maps only what a batch needs."""
        corpus = self._encoder.target(self._pairs.corpus)
        if not isinstance(self._predictor, FilterAwareScorer):
            return corpus
        if self._config.loss.negatives != "batch":
            return self._predictor.embed_sources(corpus)
        needed = torch.cat([source_ids, *([] if mined is None else [mined.flatten()])]).unique()
        return corpus.index_put((needed,), self._predictor.embed_sources(corpus[needed]).to(corpus.dtype))

    def _filed_sources(self) -> FiledSources:
        """Draw some sources of the corpus, with torch's global generator."""
        pairs, encoder = self._pairs, self._encoder
        residual = self._predictor.residual
        assert residual is not None, "the configuration asks for the steering loss of models that have a residual"
        rows = torch.randint(len(pairs.index), (self._config.loss.steering_sources,))
        return FiledSources(
            sources=encoder.target(pairs.index[rows]),
            category=pairs.index_category[rows],
            directions=residual.steering_direction(encoder.online(pairs.descriptions)),
        )

    def _take_step(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss.item()} in epoch {self._epoch}; lower training.learning_rate "
                f"({self._config.training.learning_rate}) or raise loss.temperature"
            )
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters(), self._config.training.max_gradient_norm)
        self._optimizer.step()
        self._step += 1
        self._encoder.update(self._step, self._total_steps)
        # An average over more steps than there have been would be mostly the untrained predictor.
        tau = min(self._config.training.average_tau, self._step / (self._step + 10))
        average_into(self._averaged, self._predictor, tau)

    def _set_schedules(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = group["rate"] * self._rate(self._step)
        if isinstance(self._predictor, RoutedPredictor):
            router = self._config.router
            progress = self._step / self._total_steps
            self._predictor.router.temperature = cosine(router.temperature_start, router.temperature_end, progress)

    def _validated(
        self,
        started: float,
        rate: float,
        losses: dict[str, float],
        gradients: dict[str, float],
        shares: dict[str, float],
    ) -> EpochRecord:
        target = self._encoder.target_encoder if isinstance(self._encoder, EMAEncoder) else None
        model = self._as_model(self._averaged, target)
        found = self._validation.mean_reciprocal_ranks(model)
        return EpochRecord(
            epoch=self._epoch,
            score=float(np.mean(list(found.values()))),
            learning_rate=rate,
            seconds=time.perf_counter() - started,
            training=losses,
            gradient_norm=gradients,
            validation=found,
            collapse=self._validation.collapse(model),
            steering=shares,
        )

    def _record(self, record: EpochRecord) -> None:
        """Add an epoch to the history, and keep its weights if it is the best."""
        self._history.append(record)
        if record.epoch and record.score > self._history[self._best_epoch].score:
            self._best_epoch = record.epoch
            self._best = self._snapshot()
        logger.info("epoch %d: validation %s, score %.4f", record.epoch, record.validation, record.score)
        if self._folder is not None:
            write_history(self._folder / "history.jsonl", self._history)
            write_history_csv(self._folder / "history.csv", self._history)

    def _snapshot(self) -> dict[str, Tensor]:
        tensors = {f"predictor.{name}": value.clone() for name, value in self._averaged.state_dict().items()}
        if isinstance(self._encoder, EMAEncoder):
            projection = self._encoder.target_encoder.state_dict()
            tensors |= {f"projection.{name}": value.clone() for name, value in projection.items()}
        return tensors

    def _save_checkpoint(self) -> None:
        assert self._folder is not None
        tensors = {f"optimizer.{name}": value for name, value in optimizer_tensors(self._optimizer).items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for name, module in self._modules().items():
            tensors |= {f"{name}.{key}": value.clone() for key, value in module.state_dict().items()}
        state = CheckpointState(
            config=self._config,
            dataset=fingerprint(self._dataset),
            epoch=self._epoch,
            step=self._step,
            best_epoch=self._best_epoch,
            negatives=negatives_fingerprint(self._negatives),
            history=tuple(self._history),
        )
        Checkpoint(state, tensors).save(self._folder / "checkpoint.safetensors")

    def _as_model(self, predictor: Predictor, projection: nn.Module | None) -> JEPAModel:
        return JEPAModel(
            self._config, predictor, encoder=self._dataset.encoder, names=self._dataset.names, projection=projection
        )

    def _modules(self) -> dict[str, nn.Module]:
        """Return what a checkpoint holds, by prefix."""
        return {
            "predictor": self._predictor,
            "averaged": self._averaged,
            "encoder": self._encoder,
            "objective": self._objective,
        }

    def _parameters(self) -> list[nn.Parameter]:
        modules = (self._predictor, self._encoder, self._objective)
        return [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]

    def _gradient_norm(self, term: Tensor) -> float:
        gradients = torch.autograd.grad(term, self._parameters(), retain_graph=True, allow_unused=True)
        return float(torch.stack([gradient.norm() for gradient in gradients if gradient is not None]).norm())

    def _rate(self, step: int) -> float:
        return learning_rate_at(step, self._steps_per_epoch, self._config.training)

    @property
    def _total_steps(self) -> int:
        return self._config.training.epochs * self._steps_per_epoch


def check_dimension(config: JEPAConfig, dataset: SteeringDataset) -> None:
    """Refuse a configuration for vectors of another length.

    Raises:
        ValueError: the configuration's dimension is not that of the data set's vectors.
    """
    dimension = dataset.sources.shape[1]
    if config.predictor.dimension != dimension:
        raise ValueError(
            f"predictor.dimension is {config.predictor.dimension}, but the data set's vectors have {dimension}"
        )
