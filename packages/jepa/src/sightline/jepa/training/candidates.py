"""Train a scorer on questions that bring their candidates along, each contrasted with its own.

Same configuration, same examples, same machine and number of threads, same result; no global random state is changed.
A training is short, so it keeps nothing from which it could be resumed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sightline.jepa.config import JEPAConfig
from sightline.jepa.data.batches import epoch_batches
from sightline.jepa.data.candidates import CandidateExamples
from sightline.jepa.losses.losses import Temperature, candidate_info_nce
from sightline.jepa.losses.schedules import learning_rate_at
from sightline.jepa.models.inputs import unit_rows
from sightline.jepa.models.model import JEPAModel
from sightline.jepa.models.scorer import FilterAwareScorer
from sightline.jepa.models.target import average_into, frozen_copy
from sightline.jepa.training.optimizer import make_optimizer
from sightline.jepa.training.seeding import seeded

logger = logging.getLogger(__name__)

_OTHER_TERMS = ("label_smoothing", "regression", "centroid", "steering", "vicreg", "sigreg", "regression_epochs")
_SCORED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class CandidateEpoch:
    """Validation after one epoch; epoch 0 is the untrained scorer."""

    epoch: int
    """Passes over the training examples so far."""
    loss: float | None
    """Mean training loss of the epoch; None for epoch 0."""
    mean_reciprocal_rank: float
    """Mean of 1 / rank of the best right candidate among a question's own, over the validation examples."""


@dataclass(frozen=True, slots=True)
class CandidateTraining:
    """What came of a training."""

    model: JEPAModel
    """The scorer of the best epoch, in evaluation mode."""
    history: tuple[CandidateEpoch, ...]
    """One record per epoch, epoch 0 first."""
    best_epoch: int
    """The epoch with the highest mean reciprocal rank, the earliest of equals."""

    @property
    def best_score(self) -> float:
        """Mean reciprocal rank of the best epoch."""
        return self.history[self.best_epoch].mean_reciprocal_rank


def train_on_candidates(
    config: JEPAConfig, examples: CandidateExamples, *, training: Sequence[int], validation: Sequence[int]
) -> CandidateTraining:
    """Train a scorer, and keep its best epoch by the validation examples.

    Of a configuration, `predictor`, `scorer`, the loss's temperature and `training` apply. Nothing is drawn from a
    curriculum: steering is what the examples say. With `scorer.residual: auto` two scorers are trained, with and
    without a residual, and validation chooses.

    Args:
        config: configuration with `model: scorer`, and `scorer.steering_dimension` where steering is not D wide.
        examples: training and validation examples together.
        training: positions of the training examples.
        validation: positions of the validation examples.

    Returns:
        The scorer and its history.

    Raises:
        ValueError: the configuration asks for something else than this, does not fit the examples, or training and
            validation are empty or overlap.
        FloatingPointError: the loss is not finite.
    """
    _check(config, examples, training, validation)
    device = torch.device(config.training.device)
    pages = _Pages.of(examples, device)
    kinds = ("none", "plain") if config.scorer.residual == "auto" else (config.scorer.residual,)
    found = []
    for residual in kinds:
        scorer = config.scorer.model_copy(update={"residual": residual, "filter": "joint"})
        settled = config.model_copy(update={"scorer": scorer})
        found.append(_train(settled, pages, training, validation))
        logger.info("residual %s: validation MRR %.4f", residual, found[-1].best_score)
    return max(found, key=lambda each: each.best_score)


@dataclass(frozen=True, slots=True)
class _Pages:
    """N examples as padded tensors; axis n is that of an example's candidates."""

    questions: Tensor  # [N, D]
    steering: Tensor  # [N, W]
    has_steering: Tensor  # [N]
    sources: Tensor  # [U, D]
    category: Tensor  # [U]
    rows: Tensor  # [N, n] rows of sources, 0 where there is no candidate
    positive: Tensor  # [N, n]
    mask: Tensor  # [N, n]
    descriptions: Tensor  # [K, D]
    names: tuple[str, ...]
    encoder: str

    @classmethod
    def of(cls, examples: CandidateExamples, device: torch.device) -> _Pages:
        lengths = np.array([len(rows) for rows in examples.candidates])
        mask = np.arange(lengths.max()) < lengths[:, None]
        rows, positive = np.zeros(mask.shape, dtype=np.int64), np.zeros(mask.shape, dtype=np.bool_)
        rows[mask], positive[mask] = np.concatenate(examples.candidates), np.concatenate(examples.positives)
        dimension, width = examples.questions.shape[1], examples.steering.shape[1]
        given = _tensor(examples.has_steering, device)
        return cls(
            questions=unit_rows("questions", _tensor(examples.questions, device), dimension),
            steering=unit_rows("steering", _tensor(examples.steering, device), width, needed=given),
            has_steering=given,
            sources=unit_rows("sources", _tensor(examples.sources, device), dimension),
            category=_tensor(examples.source_category, device),
            rows=_tensor(rows, device),
            positive=_tensor(positive, device),
            mask=_tensor(mask, device),
            descriptions=unit_rows("descriptions", _tensor(examples.descriptions, device), dimension),
            names=examples.names,
            encoder=examples.encoder,
        )

    def scores(self, scorer: FilterAwareScorer, at: Tensor) -> Tensor:
        """Return the scores `[B, n]` of examples' own candidates, with gradients; zeros where there is none.

        Each source is mapped once, however many of the examples have it among their candidates.
        """
        query = scorer(self.questions[at], self.steering[at], self.has_steering[at])
        mask = self.mask[at]
        owner = mask.nonzero(as_tuple=True)[0]
        distinct, places = self.rows[at][mask].unique(return_inverse=True)
        mapped = scorer.embed_sources(self.sources[distinct])[places]
        found = (query.prediction[owner] * mapped).sum(dim=1) + query.prior[owner, self.category[distinct][places]]
        return torch.zeros(mask.shape, device=mask.device).index_put(mask.nonzero(as_tuple=True), found)

    @torch.no_grad()
    def mean_reciprocal_rank(self, scorer: FilterAwareScorer, positions: Sequence[int]) -> float:
        """Return the mean of 1 / rank of the best right candidate; wrong ones with its score come before it."""
        ranks = []
        for at in torch.tensor(positions, device=self.mask.device).split(_SCORED_AT_ONCE):
            scores, positive, mask = self.scores(scorer, at), self.positive[at], self.mask[at]
            best = scores.masked_fill(~positive, -torch.inf).max(dim=1, keepdim=True).values
            ranks.append(1 + ((scores >= best) & mask & ~positive).sum(dim=1))
        return float((1 / torch.cat(ranks).double()).mean())


def _tensor(array: NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(array)).to(device)


def _check(config: JEPAConfig, examples: CandidateExamples, training: Sequence[int], validation: Sequence[int]) -> None:
    """Refuse what the examples or this way of training have no place for."""
    if config.model != "scorer":
        raise ValueError(f"candidates of one's own are scored by model 'scorer', not {config.model!r}")
    asked = [name for name in _OTHER_TERMS if getattr(config.loss, name)]
    if asked or config.loss.num_negatives or not config.loss.info_nce:
        raise ValueError(
            "a question is contrasted with its own candidates, which is the only term: set info_nce above 0 and "
            f"{', '.join((*asked, 'num_negatives'))} of loss to 0"
        )
    if config.scorer.filter == "staged":
        raise ValueError("training on candidates knows no stages; set scorer.filter to 'joint' or 'auto'")
    if config.training.batches != "random" or config.training.precision != "float32":
        raise ValueError("training on candidates needs training.batches 'random' and training.precision 'float32'")
    dimension, width = examples.questions.shape[1], examples.steering.shape[1]
    expected = config.scorer.steering_dimension or config.predictor.dimension
    if (config.predictor.dimension, expected) != (dimension, width):
        raise ValueError(
            f"the examples need predictor.dimension {dimension} and scorer.steering_dimension {width}, not "
            f"{config.predictor.dimension} and {expected}"
        )
    if not len(training) or not len(validation):
        raise ValueError(f"there are {len(training)} examples to train on and {len(validation)} to validate on")
    if shared := set(training) & set(validation):
        raise ValueError(f"{len(shared)} examples are in both training and validation, for example {min(shared)}")


def _train(config: JEPAConfig, pages: _Pages, training: Sequence[int], validation: Sequence[int]) -> CandidateTraining:
    """Train with everything settled."""
    device, settings = pages.mask.device, config.training
    with seeded(settings.seed, 0, device):
        scorer = FilterAwareScorer(config.predictor, config.scorer, pages.descriptions).to(device)
    temperature = Temperature(config.loss).to(device)
    averaged = frozen_copy(scorer)
    learned = [each for module in (scorer, temperature) for each in module.parameters() if each.requires_grad]
    optimizer = make_optimizer(config, scorer, learned)
    positions = torch.tensor(training, device=device)
    history = [CandidateEpoch(0, None, pages.mean_reciprocal_rank(averaged, validation))]
    best, kept, step = 0, frozen_copy(averaged), 0
    for epoch in range(1, settings.epochs + 1):
        scorer.train()
        total = 0.0
        with seeded(settings.seed, epoch, device):
            order = torch.Generator().manual_seed(torch.initial_seed())
            batches = epoch_batches(len(positions), settings.batch_size, order)
            for batch in batches:
                for group in optimizer.param_groups:
                    group["lr"] = group["rate"] * learning_rate_at(step, len(batches), settings)
                at = positions[batch.to(device)]
                scores = pages.scores(scorer, at)
                loss = candidate_info_nce(scores, pages.positive[at], pages.mask[at], temperature())["loss"]
                _step(optimizer, loss, learned, config)
                step += 1
                average_into(averaged, scorer, min(settings.average_tau, step / (step + 10)))
                total += loss.item() * len(batch)
        found = pages.mean_reciprocal_rank(averaged, validation)
        history.append(CandidateEpoch(epoch, total / len(positions), found))
        logger.info("epoch %d: loss %.4f, validation MRR %.4f", epoch, total / len(positions), found)
        if found > history[best].mean_reciprocal_rank:
            best, kept = epoch, frozen_copy(averaged)
        if epoch - best >= settings.patience:
            break
    model = JEPAModel(config, kept, encoder=pages.encoder, names=pages.names)
    return CandidateTraining(model, tuple(history), best)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, learned: list[nn.Parameter], config: JEPAConfig) -> None:
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"the loss became {loss.item()}; lower training.learning_rate ({config.training.learning_rate}) or raise "
            "loss.temperature"
        )
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(learned, config.training.max_gradient_norm)
    optimizer.step()
