"""The training pairs of a data set as tensors, and the batches of an epoch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.splits import TRAIN


@dataclass(frozen=True, slots=True)
class TrainingPairs:
    """P training pairs, and what they are contrasted with."""

    question_ids: NDArray[np.int64]
    """`[P]` int64, in the data set."""
    questions: Tensor
    """`[P, D]` float32, unit rows."""
    source_ids: Tensor
    """`[P]` int64, rows of `corpus`."""
    categories: Tensor
    """`[P]` int64, of the true source."""
    corpus: Tensor
    """`[C, D]` float32, unit rows, what may serve as a wrong answer: the sources of training pairs, those of equal text
    and mined ones, or every source.
    """
    centroids: Tensor
    """`[K, D]` float32, unit rows."""
    corpus_category: Tensor
    """`[C]` int64."""
    index: Tensor
    """`[S, D]` float32, unit rows: every source of the data set."""
    index_category: Tensor
    """`[S]` int64."""
    descriptions: Tensor
    """`[K, D]` float32, unit rows: what steering towards each category looks like."""
    mined: Tensor | None
    """`[P, N]` int64 rows of `corpus`, negatives of each pair; None without."""
    others: tuple[Tensor, ...]
    """P int64 arrays, rows of `corpus` that answer each pair's question besides its own source."""

    def __len__(self) -> int:
        return len(self.source_ids)

    @classmethod
    def of(
        cls, dataset: SteeringDataset, mined: NDArray[np.int64] | None, *, every_source: bool = False
    ) -> TrainingPairs:
        """Take the training pairs of a data set, in its order.

        Args:
            dataset: the data.
            mined: `[P, N]` source ids that answer none of the questions, or None.
            every_source: whether sources may serve as wrong answers that answer no training question. Those of
                validation and test would be learned as wrong answers to everything, and those of no pair likewise,
                which tells by elimination where the answers to other questions are.

        Raises:
            ValueError: there are no training pairs, `mined` has other rows or ids that are no sources, or a mined
                negative answers its question.
        """
        question_ids, source_ids = dataset.pairs[dataset.pair_split == TRAIN].T
        if not len(question_ids):
            raise ValueError("the data set has no training pairs; split it again")
        answers = dataset.relevant(question_ids)
        if mined is not None:
            _check_mined(mined, answers, len(dataset.sources))
        kept = np.arange(len(dataset.sources))
        if not every_source:
            kept = np.unique(np.concatenate([*answers, *([] if mined is None else [mined.ravel()])]))

        def rows(ids: NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(np.searchsorted(kept, ids))

        index, index_category = np.array(dataset.sources), np.array(dataset.source_category)
        return cls(
            question_ids=np.array(question_ids),
            questions=torch.from_numpy(np.array(dataset.questions[question_ids])),
            source_ids=rows(source_ids),
            categories=torch.from_numpy(index_category[source_ids]),
            corpus=torch.from_numpy(index[kept]),
            centroids=torch.from_numpy(np.array(dataset.centroids)),
            corpus_category=torch.from_numpy(index_category[kept]),
            index=torch.from_numpy(index),
            index_category=torch.from_numpy(index_category),
            descriptions=torch.from_numpy(np.array(dataset.category_vectors)),
            mined=None if mined is None else rows(mined),
            others=tuple(rows(right[right != own]) for right, own in zip(answers, source_ids, strict=True)),
        )

    def to(self, device: torch.device) -> TrainingPairs:
        """Return the same with its tensors on a device; `others` stay where they are."""
        moved = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)

    def others_of(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return `others` of some pairs `[B]`: (rows of the batch, rows of the corpus), each `[n]` int64."""
        answers = [self.others[position] for position in positions.tolist()]
        counts = torch.tensor([len(ids) for ids in answers])
        return torch.repeat_interleave(torch.arange(len(answers)), counts), torch.cat(answers)


def epoch_batches(
    count: int, batch_size: int, generator: torch.Generator, categories: Tensor | None = None
) -> list[Tensor]:
    """Return positions of `count` pairs in random order, in batches that differ in size by one at most.

    Args:
        count: number of pairs.
        batch_size: pairs of a batch.
        generator: generator, consumed.
        categories: `[count]` int64; with them as many pairs are drawn with replacement, from all categories alike, so
            that large categories lack pairs and small ones repeat them. None takes every pair once.
    """
    number = max(1, round(count / batch_size))
    if categories is None:
        return list(torch.randperm(count, generator=generator).tensor_split(number))
    rarity = 1 / torch.bincount(categories).double()
    drawn = torch.multinomial(rarity[categories], count, replacement=True, generator=generator)
    return list(drawn.tensor_split(number))


def _check_mined(mined: NDArray[np.int64], answers: list[NDArray[np.int64]], sources: int) -> None:
    """Hold mined negatives to one row of source ids per pair, none of which answers the pair's question."""
    if mined.ndim != 2 or not mined.shape[1] or len(mined) != len(answers):
        raise ValueError(
            f"mined negatives must be [P, N] with {len(answers)} rows, one per pair, not {list(mined.shape)}"
        )
    if mined.min() < 0 or mined.max() >= sources:
        raise ValueError(
            f"mined negatives must be source ids from 0 to {sources - 1}, not {mined.min()}, {mined.max()}"
        )
    right = [np.isin(row, known).sum() for row, known in zip(mined, answers, strict=True)]
    if sum(right):
        raise ValueError(
            f"{sum(right)} mined negatives answer their own question, first those of pair {int(np.argmax(right))}; "
            "mine_negatives(dataset, ...) draws none that do"
        )
