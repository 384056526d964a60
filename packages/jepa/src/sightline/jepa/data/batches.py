"""The training pairs of a data set as tensors, and the batches of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

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
    """`[P]` int64, rows of the corpus."""
    categories: Tensor
    """`[P]` int64, of the true source."""
    corpus: Tensor
    """`[S, D]` float32, unit rows."""
    centroids: Tensor
    """`[K, D]` float32, unit rows."""
    corpus_category: Tensor
    """`[S]` int64."""
    descriptions: Tensor
    """`[K, D]` float32, unit rows: what steering towards each category looks like."""
    mined: Tensor | None
    """`[P, N]` int64, negatives of each pair; None without."""
    others: tuple[Tensor, ...]
    """P int64 arrays, what answers each pair's question besides its own source."""

    def __len__(self) -> int:
        return len(self.source_ids)

    @classmethod
    def of(cls, dataset: SteeringDataset, mined: NDArray[np.int64] | None) -> TrainingPairs:
        """Take the training pairs of a data set, in its order.

        Args:
            dataset: the data.
            mined: `[P, N]` source ids that answer none of the questions, or None.

        Raises:
            ValueError: there are no training pairs, or `mined` has other rows.
        """
        question_ids, source_ids = dataset.pairs[dataset.pair_split == TRAIN].T
        if not len(question_ids):
            raise ValueError("the data set has no training pairs; split it again")
        if mined is not None and len(mined) != len(question_ids):
            raise ValueError(f"mined negatives must have {len(question_ids)} rows, one per pair, not {len(mined)}")
        return cls(
            question_ids=np.array(question_ids),
            questions=torch.from_numpy(np.array(dataset.questions[question_ids])),
            source_ids=torch.from_numpy(np.array(source_ids)),
            categories=torch.from_numpy(np.array(dataset.source_category[source_ids])),
            corpus=torch.from_numpy(np.array(dataset.sources)),
            centroids=torch.from_numpy(np.array(dataset.centroids)),
            corpus_category=torch.from_numpy(np.array(dataset.source_category)),
            descriptions=torch.from_numpy(np.array(dataset.category_vectors)),
            mined=None if mined is None else torch.from_numpy(np.array(mined)),
            others=tuple(
                torch.from_numpy(answers[answers != own])
                for answers, own in zip(dataset.relevant(question_ids), source_ids, strict=True)
            ),
        )

    def others_of(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return `others` of some pairs `[B]`: (rows of the batch, rows of the corpus), each `[n]` int64."""
        answers = [self.others[position] for position in positions.tolist()]
        counts = torch.tensor([len(ids) for ids in answers])
        return torch.repeat_interleave(torch.arange(len(answers)), counts), torch.cat(answers)


def epoch_batches(count: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Return positions of `count` pairs in random order, in batches that differ in size by one at most."""
    number = max(1, round(count / batch_size))
    return list(torch.randperm(count, generator=generator).tensor_split(number))
