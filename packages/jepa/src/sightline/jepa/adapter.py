"""The linear adapter: ``unit(q + q A + s B)`` with A and B trained by InfoNCE, the baseline that is hardest to beat.

It has ``2 D^2`` weights, all zero at the start, where it is plain cosine. The module knows the data set, how methods
are evaluated and how negatives are mined; it knows nothing of the predictor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from sightline.jepa.dataset import Ids, Steering, SteeringDataset, SteeringKind, Vectors, steering
from sightline.jepa.evaluation import Method, evaluate
from sightline.jepa.negatives import Negatives, mine_negatives

_BATCH_SIZE = 512
_NEGATIVES = 8


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """How one adapter is trained.

    Attributes:
        temperature: of the softmax over cosines.
        mined: also contrast with mined negatives, not only with the other sources of a batch.
        learning_rate: of Adam (Kingma and Ba 2015).
        max_epochs: at most so many; training ends earlier when validation MRR has not risen for ``patience`` epochs.
        patience: in epochs.
    """

    temperature: float = 0.05
    mined: bool = False
    learning_rate: float = 1e-3
    max_epochs: int = 60
    patience: int = 6


GRID = (
    AdapterSettings(temperature=0.02),
    AdapterSettings(temperature=0.03),
    AdapterSettings(temperature=0.05),
    AdapterSettings(temperature=0.03, mined=True),
)
"""The settings that `fit_adapter` chooses from."""


def fit_adapter(
    dataset: SteeringDataset,
    seed: int,
    *,
    kind: SteeringKind = "category",
    withheld: float = 0.0,
    grid: tuple[AdapterSettings, ...] = GRID,
) -> Method:
    """Train one adapter per setting, and keep the one with the highest validation MRR under this steering.

    Args:
        dataset: the data.
        seed: of the order of pairs, of what is withheld and of the negatives.
        kind: the steering in training, and in validation.
        withheld: the share of training steps' questions whose steering is held back, in [0, 1).
        grid: settings to choose from.
    """
    negatives = mine_negatives(dataset, _NEGATIVES, seed)
    best: tuple[float, torch.Tensor, AdapterSettings] | None = None
    for settings in grid:
        score, weights = _train(dataset, negatives, kind, withheld, settings, seed)
        if best is None or score > best[0]:
            best = score, weights, settings
    if best is None:
        raise ValueError("grid holds no settings to choose from")
    _, weights, settings = best
    name = f"adapter ({kind}{f', {withheld:.0%} withheld' if withheld else ''})"
    chosen = {"temperature": settings.temperature, "mined": float(settings.mined)}
    return replace(_method(dataset, weights.numpy()), name=name, settings=chosen)


def _train(
    dataset: SteeringDataset,
    negatives: Negatives,
    kind: SteeringKind,
    withheld: float,
    settings: AdapterSettings,
    seed: int,
) -> tuple[float, torch.Tensor]:
    """The best validation MRR of a run and the weights ``[2D, D]`` that had it."""
    rng = np.random.default_rng(seed)
    questions = torch.from_numpy(np.array(dataset.questions))
    sources = torch.from_numpy(np.array(dataset.sources))
    question_ids, source_ids = dataset.pairs[negatives.pair_rows].T
    given = torch.from_numpy(steering(dataset, question_ids, kind).vectors)
    known = _known_answers(dataset)
    weights = torch.zeros(2 * questions.shape[1], questions.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=settings.learning_rate)
    best, best_epoch = (_validation_mrr(dataset, weights, kind), weights.detach().clone()), 0
    for epoch in range(1, settings.max_epochs + 1):
        for rows in np.array_split(rng.permutation(len(question_ids)), max(1, round(len(question_ids) / _BATCH_SIZE))):
            kept = torch.from_numpy(rng.random((len(rows), 1)) >= withheld)
            vectors = _adapt(questions[question_ids[rows]], given[rows] * kept, weights)
            mined = sources[negatives.ids[rows]] if settings.mined else None
            loss = info_nce(
                vectors,
                sources[source_ids[rows]],
                torch.from_numpy(_right_answers(dataset, known, question_ids[rows], source_ids[rows])),
                mined,
                settings.temperature,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        score = _validation_mrr(dataset, weights, kind)
        if score > best[0]:
            best, best_epoch = (score, weights.detach().clone()), epoch
        elif epoch - best_epoch >= settings.patience:
            break
    return best


def info_nce(
    vectors: torch.Tensor, targets: torch.Tensor, right: torch.Tensor, mined: torch.Tensor | None, temperature: float
) -> torch.Tensor:
    """Symmetric in-batch InfoNCE (van den Oord et al. 2018; both directions as Radford et al. 2021), a scalar.

    Args:
        vectors: ``[b, D]`` unit rows.
        targets: ``[b, D]`` unit rows, the right answer of each.
        right: ``[b, b]`` bool, True where a target is right for a question; off the diagonal it is left out.
        mined: ``[b, N, D]`` unit rows, further wrong answers of each question; None for none.
        temperature: of the softmax.
    """
    cosines = vectors @ targets.T
    others = right & ~torch.eye(len(right), dtype=torch.bool)
    cosines = cosines.masked_fill(others, -torch.inf)
    label = torch.arange(len(vectors))
    backward = functional.cross_entropy(cosines.T / temperature, label)
    if mined is not None:
        cosines = torch.cat([cosines, torch.einsum("bd,bnd->bn", vectors, mined)], dim=1)
    return (functional.cross_entropy(cosines / temperature, label) + backward) / 2


def _adapt(questions: torch.Tensor, given: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return functional.normalize(questions + torch.cat([questions, given], dim=1) @ weights, dim=1)


def _method(dataset: SteeringDataset, weights: np.ndarray) -> Method:
    matrix = torch.from_numpy(weights)

    def query_vectors(question_ids: Ids, given: Steering) -> Vectors:
        questions = torch.from_numpy(np.array(dataset.questions[question_ids]))
        return _adapt(questions, torch.from_numpy(given.vectors), matrix).numpy()

    return Method("adapter", np.asarray(dataset.sources), query_vectors)


def _validation_mrr(dataset: SteeringDataset, weights: torch.Tensor, kind: SteeringKind) -> float:
    questions = dataset.queries("validation")
    method = _method(dataset, weights.detach().numpy())
    return float(evaluate(method, dataset, questions, steering(dataset, questions, kind)).reciprocal_rank.mean())


def _known_answers(dataset: SteeringDataset) -> Ids:
    """Sorted codes of all (question, text of a source that answers it)."""
    return np.unique(dataset.pairs[:, 0] * len(dataset.sources) + dataset.source_text_ids[dataset.pairs[:, 1]])


def _right_answers(dataset: SteeringDataset, known: Ids, question_ids: Ids, source_ids: Ids) -> np.ndarray:
    """``[b, b]`` bool: whether the source in the column answers the question in the row."""
    return np.isin(question_ids[:, None] * len(dataset.sources) + dataset.source_text_ids[source_ids], known)
