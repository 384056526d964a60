"""The linear adapter: `unit(q + q A + s B)` with A and B trained by InfoNCE, the baseline that is hardest to beat.

It has `2 D^2` weights, all zero at the start, where it is plain cosine. It may be taught by whatever has scored a few
sources of each training pair. The module knows the data set, the losses and how methods are evaluated; it knows nothing
of the predictor, nor of what a teacher is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from sightline.jepa.baselines.config import GRID, AdapterSettings
from sightline.jepa.data.batches import TrainingPairs
from sightline.jepa.data.dataset import Ids, SteeringDataset, Vectors
from sightline.jepa.data.steering import Steering, SteeringKind, steering
from sightline.jepa.losses.losses import batch_info_nce, corpus_info_nce, distillation_loss
from sightline.jepa.ranking.evaluation import Method, evaluate

_BATCH_SIZE = 512


@dataclass(frozen=True, slots=True)
class TeacherScores:
    """What a teacher thinks of a few sources, for each of P training pairs in the data set's order."""

    source_ids: Ids
    """`[P, N]` int64, the candidates of each pair, its own source among them."""
    scores: NDArray[np.float32]
    """`[P, N]` float32, logits: their softmax is what the teacher believes."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A trained adapter."""

    question_weights: torch.Tensor
    """A, `[D, D]` float32."""
    steering_weights: torch.Tensor
    """B, `[D, D]` float32; zeros if it was trained without steering."""
    settings: AdapterSettings
    """How it was trained."""

    def method(self, dataset: SteeringDataset) -> Method:
        """Return it as a way of asking the questions of a data set."""
        chosen = {"temperature": self.settings.temperature, "corpus": float(self.settings.negatives == "corpus")}
        if self.settings.taught:
            chosen |= {"taught": self.settings.taught, "teacher_temperature": self.settings.teacher_temperature}
        weights = torch.cat([self.question_weights, self.steering_weights])
        return replace(_method(dataset, weights.numpy()), settings=chosen)


def fit_adapter(
    dataset: SteeringDataset,
    seed: int,
    *,
    kind: SteeringKind = "category",
    withheld: float = 0.0,
    grid: tuple[AdapterSettings, ...] = GRID,
    teacher: TeacherScores | None = None,
) -> Method:
    """Train an adapter, and return it as a method; arguments and errors are those of `train_adapter`."""
    adapter = train_adapter(dataset, seed, kind=kind, withheld=withheld, grid=grid, teacher=teacher)
    name = f"adapter ({kind}{f', {withheld:.0%} withheld' if withheld else ''})"
    return replace(adapter.method(dataset), name=name)


def train_adapter(
    dataset: SteeringDataset,
    seed: int,
    *,
    kind: SteeringKind = "category",
    withheld: float = 0.0,
    grid: tuple[AdapterSettings, ...] = GRID,
    teacher: TeacherScores | None = None,
) -> Adapter:
    """Train one adapter per setting, and keep the one with the highest validation MRR under this steering.

    Args:
        dataset: the data.
        seed: seed of the order of pairs and of what is withheld.
        kind: the steering in training, and in validation.
        withheld: the share of training steps' questions whose steering is held back, in [0, 1).
        grid: settings to choose from.
        teacher: scores for settings that are `taught`.

    Raises:
        ValueError: the grid is empty, the data set has no training pairs, or a setting is taught where there is no
            teacher, or one of other pairs.
    """
    pairs = TrainingPairs.of(dataset, None)
    if any(settings.taught for settings in grid) and (teacher is None or len(teacher.scores) != len(pairs)):
        given = "there is none" if teacher is None else f"it has {len(teacher.scores):,}"
        raise ValueError(f"a taught adapter needs a teacher's scores for {len(pairs):,} training pairs; {given}")
    best: tuple[float, torch.Tensor, AdapterSettings] | None = None
    for settings in grid:
        score, weights = _train(dataset, pairs, kind, withheld, settings, seed, teacher)
        if best is None or score > best[0]:
            best = score, weights, settings
    if best is None:
        raise ValueError("grid holds no settings to choose from")
    _, weights, settings = best
    return Adapter(*weights.chunk(2), settings)


def _train(
    dataset: SteeringDataset,
    pairs: TrainingPairs,
    kind: SteeringKind,
    withheld: float,
    settings: AdapterSettings,
    seed: int,
    teacher: TeacherScores | None,
) -> tuple[float, torch.Tensor]:
    """Return the best validation MRR of a run and the weights `[2D, D]` that had it."""
    rng = np.random.default_rng(seed)
    steered = torch.from_numpy(steering(dataset, pairs.question_ids, kind).vectors)
    dimension = pairs.questions.shape[1]
    weights = torch.zeros(2 * dimension, dimension, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=settings.learning_rate)
    best, best_epoch = (_validation_mrr(dataset, weights, kind), weights.detach().clone()), 0
    for epoch in range(1, settings.max_epochs + 1):
        for rows in np.array_split(rng.permutation(len(pairs)), max(1, round(len(pairs) / _BATCH_SIZE))):
            kept = torch.from_numpy(rng.random((len(rows), 1)) >= withheld)
            vectors = _adapt(pairs.questions[rows], steered[rows] * kept, weights)
            loss = _loss(vectors, pairs, torch.from_numpy(rows), settings)
            if teacher is not None and settings.taught:
                lesson = _lesson(vectors, pairs, rows, settings, teacher)
                loss = (1 - settings.taught) * loss + settings.taught * lesson
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        score = _validation_mrr(dataset, weights, kind)
        if score > best[0]:
            best, best_epoch = (score, weights.detach().clone()), epoch
        elif epoch - best_epoch >= settings.patience:
            break
    return best


def _loss(vectors: torch.Tensor, pairs: TrainingPairs, rows: torch.Tensor, settings: AdapterSettings) -> torch.Tensor:
    """Return the contrastive loss of the queries `[b, D]` of some pairs; no other right answer is a negative."""
    targets, others = pairs.source_ids[rows], pairs.others_of(rows)
    if settings.negatives == "corpus":
        return corpus_info_nce(vectors, pairs.corpus, targets, others, settings.temperature)["loss"]
    right = torch.zeros(len(rows), len(pairs.corpus), dtype=torch.bool)
    right[others] = True
    right[torch.arange(len(rows)), targets] = True
    return batch_info_nce(vectors, pairs.corpus[targets], right[:, targets], settings.temperature)["loss"]


def _lesson(
    vectors: torch.Tensor, pairs: TrainingPairs, rows: Ids, settings: AdapterSettings, teacher: TeacherScores
) -> torch.Tensor:
    """Return how far the queries `[b, D]` of some pairs are from what the teacher thinks of these pairs' candidates."""
    candidates = pairs.index[torch.from_numpy(teacher.source_ids[rows])]
    scores = torch.einsum("bd,bnd->bn", vectors, candidates) / settings.temperature
    wanted = torch.from_numpy(teacher.scores[rows])
    return distillation_loss(scores, wanted, settings.teacher_temperature)["loss"]


def _adapt(questions: torch.Tensor, steered: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return functional.normalize(questions + torch.cat([questions, steered], dim=1) @ weights, dim=1)


def _method(dataset: SteeringDataset, weights: np.ndarray) -> Method:
    matrix = torch.from_numpy(weights)

    def query_vectors(question_ids: Ids, steered: Steering) -> Vectors:
        questions = torch.from_numpy(np.array(dataset.questions[question_ids]))
        return _adapt(questions, torch.from_numpy(steered.vectors), matrix).numpy()

    return Method("adapter", np.asarray(dataset.sources), query_vectors)


def _validation_mrr(dataset: SteeringDataset, weights: torch.Tensor, kind: SteeringKind) -> float:
    questions = dataset.queries("validation")
    method = _method(dataset, weights.detach().numpy())
    return float(evaluate(method, dataset, questions, steering(dataset, questions, kind)).reciprocal_rank.mean())
