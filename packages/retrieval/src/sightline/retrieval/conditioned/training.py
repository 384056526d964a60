"""Training of a `StateConditionedRetriever` on pages whose right chunks are known.

Where conditions come from is the caller's affair: a table of precomputed states, or a state model that is fine-tuned
along with the retriever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval._torch import torch
from sightline.retrieval.conditioned.embedded_examples import EmbeddedExamples
from sightline.retrieval.conditioned.losses import importance_loss, margin_loss, multi_positive_info_nce
from sightline.retrieval.conditioned.negatives import in_batch_negatives, sample_page_negatives
from sightline.retrieval.conditioned.records import EpochMetrics, RetrieverTrainingConfig, TrainingResult
from sightline.retrieval.conditioned.retriever import StateConditionedRetriever
from sightline.retrieval.metrics import ndcg_at_k, recall_at_k, reciprocal_rank

logger = logging.getLogger(__name__)

ConditionFunction = Callable[[Sequence[int]], torch.Tensor]
"""Positions of B examples in a `EmbeddedExamples` -> their condition vectors `[B, condition_dim]`."""


def train_retriever(
    retriever: StateConditionedRetriever,
    examples: EmbeddedExamples,
    *,
    condition_fn: ConditionFunction,
    training: Sequence[int],
    validation: Sequence[int],
    config: RetrieverTrainingConfig,
    extra_parameters: Iterable[torch.nn.Parameter] = (),
) -> TrainingResult:
    """Train a retriever in place and leave it, in evaluation mode, with the weights of its best epoch.

    Same arguments, same machine, same result; no global random state is read or changed.

    Args:
        retriever: retriever to train; examples are moved to its device.
        examples: training and validation examples together.
        condition_fn: function of positions in `examples`. With a frozen state model, look the vectors up in a table;
            otherwise compute them anew, with gradients.
        training: positions of the training examples.
        validation: positions of the validation examples, of other episodes than the training examples.
        config: hyperparameters.
        extra_parameters: parameters behind `condition_fn` to train along; needs `freeze_state_model=False`. They
            too end with the values of the best epoch.

    Returns:
        The history and the epoch that was kept.

    Raises:
        ValueError: there is nothing to train or to validate on, training and validation overlap, or the options
            contradict the retriever or each other.
        FloatingPointError: the loss is not finite.
    """
    extra = list(extra_parameters)
    _check(training, validation, config, extra)
    if config.importance_weight and retriever.importance_head is None:
        raise ValueError("importance_weight was given, but the retriever has no importance head; make it with one")
    trained = [*(retriever.query_proj if config.train_query_proj_only else retriever).parameters(), *extra]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
    generator = torch.Generator().manual_seed(config.seed)
    pages = _Pages.of(examples, _device(retriever))

    history = [_validate(retriever, pages, condition_fn, validation, config, epoch=0, loss=None)]
    best, best_weights = history[0], [parameter.detach().clone() for parameter in trained]
    for epoch in range(1, config.epochs + 1):
        loss = _train_epoch(retriever, pages, condition_fn, training, config, optimizer, generator)
        history.append(_validate(retriever, pages, condition_fn, validation, config, epoch=epoch, loss=loss))
        logger.info("epoch %d: loss %.4f, validation MRR %.4f", epoch, loss, history[-1].mean_reciprocal_rank)
        if history[-1].mean_reciprocal_rank > best.mean_reciprocal_rank:
            best, best_weights = history[-1], [parameter.detach().clone() for parameter in trained]
    with torch.no_grad():
        for parameter, weights in zip(trained, best_weights, strict=True):
            parameter.copy_(weights)
    return TrainingResult(tuple(history), best.epoch, len(training), len(validation), config)


def score_examples(
    retriever: StateConditionedRetriever,
    examples: EmbeddedExamples,
    positions: Sequence[int],
    *,
    condition_fn: ConditionFunction,
    batch_size: int = 256,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Score the candidates of some examples, in the form that `recall_at_k` and its siblings take.

    Args:
        retriever: retriever to score with; left in evaluation mode.
        examples: pages with embedded candidates.
        positions: positions of the examples to score.
        condition_fn: conditions `[b, C]` of the examples at b positions.
        batch_size: examples per forward pass.

    Returns:
        Scores `[len(positions), n]`, -inf where an example has fewer candidates than the longest, and positives of
        the same shape.

    Raises:
        ValueError: there are no positions.
    """
    if not len(positions):
        raise ValueError("no examples to score")
    return _score(retriever, _Pages.of(examples, _device(retriever)), positions, condition_fn, batch_size)


@dataclass(frozen=True, slots=True)
class _Pages:
    """All examples, padded: rows of `embeddings` (0 where padded), positives and mask, each `[N, n]`."""

    embeddings: torch.Tensor
    rows: torch.Tensor
    positives: torch.Tensor
    mask: torch.Tensor

    @classmethod
    def of(cls, examples: EmbeddedExamples, device: torch.device) -> _Pages:
        lengths = np.array([len(rows) for rows in examples.candidates], dtype=np.int64)
        mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
        rows = np.zeros(mask.shape, dtype=np.int64)
        positives = np.zeros(mask.shape, dtype=np.bool_)
        if len(examples):
            rows[mask] = np.concatenate(examples.candidates)
            positives[mask] = np.concatenate(examples.positives)
        arrays = (examples.embeddings, rows, positives, mask)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))

    def batch(self, positions: Sequence[int]) -> _Batch:
        """Return some examples, as wide as the longest of them."""
        index = torch.as_tensor(positions, device=self.mask.device)
        width = int(self.mask[index].sum(dim=1).max())
        rows = self.rows[index, :width]
        return _Batch(self.embeddings, rows, self.positives[index, :width], self.mask[index, :width])


@dataclass(frozen=True, slots=True)
class _Batch:
    """B examples: rows of `embeddings` `[U, D]`, positives and mask, each `[B, n]`."""

    embeddings: torch.Tensor
    rows: torch.Tensor
    positives: torch.Tensor
    mask: torch.Tensor

    @property
    def chunks(self) -> torch.Tensor:
        """Embeddings of the chunks, `[B, n, D]`."""
        return torch.nn.functional.embedding(self.rows, self.embeddings)


def _check(
    training: Sequence[int],
    validation: Sequence[int],
    config: RetrieverTrainingConfig,
    extra: list[torch.nn.Parameter],
) -> None:
    if not len(training) or not len(validation):
        raise ValueError(
            f"training needs examples and validation needs examples; there are {len(training)} and {len(validation)}"
        )
    if shared := set(training) & set(validation):
        raise ValueError(f"{len(shared)} examples are in both training and validation, for example {min(shared)}")
    if config.freeze_state_model and extra:
        raise ValueError(
            "extra_parameters were given, but freeze_state_model is True; set it to False to fine-tune them"
        )
    if not config.freeze_state_model and not extra:
        raise ValueError("freeze_state_model is False, but there are no extra_parameters to fine-tune; pass them")


def _train_epoch(
    retriever: StateConditionedRetriever,
    pages: _Pages,
    condition_fn: ConditionFunction,
    training: Sequence[int],
    config: RetrieverTrainingConfig,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> float:
    """Pass over the training examples once; return the mean loss per example."""
    retriever.train()
    total = 0.0
    for order in torch.randperm(len(training), generator=generator).split(config.batch_size):
        positions = [training[i] for i in order.tolist()]
        loss = _loss(retriever, pages.batch(positions), condition_fn(positions), config, generator)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the training loss became {loss.item()}; lower learning_rate ({config.learning_rate}) or look for "
                "values in the condition vectors that are not finite"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(positions)
    return total / len(training)


def _loss(
    retriever: StateConditionedRetriever,
    batch: _Batch,
    conditions: torch.Tensor,
    config: RetrieverTrainingConfig,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return the loss of B examples with conditions `[B, C]`, a scalar."""
    chunks, positives, mask = batch.chunks, batch.positives, batch.mask
    kept = sample_page_negatives(positives, mask, config.num_negatives, generator)
    scores = retriever.scores(conditions, chunks, kept)
    if config.loss == "margin":
        loss = margin_loss(scores, positives, kept, config.margin)
    elif config.in_batch_weight:
        pool, negatives = in_batch_negatives(
            batch.embeddings, batch.rows, positives, mask, kept, config.false_negative_cosine
        )
        others = retriever.shared_scores(conditions, batch.embeddings[pool]).masked_fill(~negatives, -torch.inf)
        loss = multi_positive_info_nce(scores, positives, kept, config.temperature, others, config.in_batch_weight)
    else:
        loss = multi_positive_info_nce(scores, positives, kept, config.temperature)
    if config.importance_weight:
        # Divided by the temperature as in the softmax, so that the head learns one scale for both losses.
        logits = retriever.importance(chunks) / config.temperature
        loss = loss + config.importance_weight * importance_loss(logits, positives, mask)
    return loss


def _validate(
    retriever: StateConditionedRetriever,
    pages: _Pages,
    condition_fn: ConditionFunction,
    validation: Sequence[int],
    config: RetrieverTrainingConfig,
    *,
    epoch: int,
    loss: float | None,
) -> EpochMetrics:
    scores, positives = _score(retriever, pages, validation, condition_fn, config.batch_size)
    return EpochMetrics(
        epoch=epoch,
        loss=loss,
        recall=float(recall_at_k(scores, positives, config.top_k).mean()),
        mean_reciprocal_rank=float(reciprocal_rank(scores, positives).mean()),
        ndcg=float(ndcg_at_k(scores, positives, config.top_k).mean()),
    )


@torch.no_grad()
def _score(
    retriever: StateConditionedRetriever,
    pages: _Pages,
    positions: Sequence[int],
    condition_fn: ConditionFunction,
    batch_size: int,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    retriever.eval()
    width = int(pages.mask[torch.as_tensor(positions, device=pages.mask.device)].sum(dim=1).max())
    scores = np.full((len(positions), width), -np.inf, dtype=np.float32)
    positives = np.zeros((len(positions), width), dtype=np.bool_)
    for batch in _batches(range(len(positions)), batch_size):
        chosen = [positions[i] for i in batch]
        page = pages.batch(chosen)
        block = slice(batch.start, batch.stop), slice(0, page.mask.shape[1])
        scores[block] = retriever.scores(condition_fn(chosen), page.chunks, page.mask).cpu().numpy()
        positives[block] = page.positives.cpu().numpy()
    return scores, positives


def _batches(positions: range, size: int) -> Iterator[range]:
    for start in range(0, len(positions), size):
        yield positions[start : start + size]


def _device(retriever: StateConditionedRetriever) -> torch.device:
    return next(retriever.parameters()).device
