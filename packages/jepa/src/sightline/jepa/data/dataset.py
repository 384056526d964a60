"""The data of a steered predictor: questions, sources, which source answers which question, and what steers.

Axes: Q questions, S sources (the corpus that is searched), P pairs, K categories (the named subspaces), D dimensions,
B questions of one call. Vectors are float32 rows of unit length in the space of one frozen encoder; a row of zeros
means "not given" and is allowed for keywords alone. The module knows nothing of files or models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightline.jepa.data.splits import TEST, TRAIN, VALIDATION, Ids

Vectors: TypeAlias = NDArray[np.float32]
Split: TypeAlias = Literal["train", "validation", "test"]

_SPLITS: dict[str, int] = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
_VECTORS = ("questions", "sources", "category_vectors", "keyword_vectors", "centroids")
_INTEGERS = ("pairs", "question_category", "source_category", "question_text_ids", "source_text_ids")
ARRAYS = (*_VECTORS, *_INTEGERS, "pair_split")
"""Names of the fields that are arrays."""
_UNIT_TOLERANCE = 1e-3  # of a norm; rows stored in half precision elsewhere come within this
_BLOCK_ROWS = 8192


class DatasetError(ValueError):
    """The parts of a data set do not fit together, or a file holds something else; the message says which."""


@dataclass(frozen=True, slots=True, eq=False)
class SteeringDataset:
    """Embedded questions and sources, their pairs and split, and what steers; checked when it is made.

    Raises:
        DatasetError: shapes, types, ids, norms or splits are wrong.
    """

    questions: Vectors
    """`[Q, D]` float32, unit rows."""
    sources: Vectors
    """`[S, D]` float32, unit rows."""
    pairs: Ids
    """`[P, 2]` int64, question id and source id."""
    pair_split: NDArray[np.int8]
    """`[P]` int8: 0 training, 1 validation, 2 test. All pairs of a question are in one split."""
    question_category: Ids
    """`[Q]` int64, the category the caller gives with the question; -1 for none."""
    source_category: Ids
    """`[S]` int64, the category the source belongs to."""
    question_text_ids: Ids
    """`[Q]` int64, equal where questions have the same text."""
    source_text_ids: Ids
    """`[S]` int64, equal where sources have the same text."""
    category_vectors: Vectors
    """`[K, D]` float32, unit rows: the category's description, embedded."""
    keyword_vectors: Vectors
    """`[Q, D]` float32: keywords typed with the question, embedded; a row of zeros for none."""
    centroids: Vectors
    """`[K, D]` float32, unit rows: the mean of the category's training sources (see `resplit`)."""
    names: tuple[str, ...]
    """`K` names of categories."""
    encoder: str
    """Name of the encoder whose space this is."""
    question_texts: tuple[str, ...] = ()
    """`Q` texts, or none at all."""
    source_texts: tuple[str, ...] = ()
    """`S` texts, or none at all."""

    def __post_init__(self) -> None:
        _check(self, "data set")

    def queries(self, split: Split) -> Ids:
        """Return `[q]` int64, the distinct ids of the questions of a split, ascending."""
        return np.unique(self.pairs[self.pair_split == _SPLITS[split], 0])

    def relevant(self, question_ids: Ids) -> list[Ids]:
        """Return all right answers of each question: the sources of its pairs in any split, and those of equal text.

        Args:
            question_ids: `[B]`.

        Returns:
            `B` ascending int64 arrays of source ids.
        """
        by_text = np.argsort(self.source_text_ids, kind="stable")
        by_question = np.argsort(self.pairs[:, 0], kind="stable")
        texts, owners = self.source_text_ids[by_text], self.pairs[by_question, 0]
        answers = []
        for question in np.asarray(question_ids):
            first, last = np.searchsorted(owners, [question, question + 1])
            wanted = np.unique(self.source_text_ids[self.pairs[by_question[first:last], 1]])
            spans = zip(np.searchsorted(texts, wanted), np.searchsorted(texts, wanted, "right"), strict=True)
            answers.append(np.sort(np.concatenate([by_text[:0], *(by_text[start:stop] for start, stop in spans)])))
        return answers


def unit(rows: NDArray[np.floating]) -> Vectors:
    """Scale rows to length 1, float32; a row of zeros stays as it is."""
    if rows.dtype == np.float16:  # it would round the least length to 0, and 0 / 0 is NaN
        rows = rows.astype(np.float32)
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _check(data: SteeringDataset, where: str) -> None:
    """Raise `DatasetError` unless all parts fit together."""
    if data.questions.ndim != 2:
        raise DatasetError(f"{where}: questions must have shape [Q, D], not {list(data.questions.shape)}")
    (q, d), s, p, k = data.questions.shape, len(data.sources), len(data.pairs), len(data.names)
    shapes = {
        "questions": (q, d),
        "sources": (s, d),
        "category_vectors": (k, d),
        "keyword_vectors": (q, d),
        "centroids": (k, d),
        "pairs": (p, 2),
        "pair_split": (p,),
        "question_category": (q,),
        "source_category": (s,),
        "question_text_ids": (q,),
        "source_text_ids": (s,),
    }
    for name, shape in shapes.items():
        array = getattr(data, name)
        dtype = "float32" if name in _VECTORS else "int8" if name == "pair_split" else "int64"
        if array.shape != shape or array.dtype != dtype:
            raise DatasetError(
                f"{where}: {name} must be {dtype} of shape {list(shape)}, not {array.dtype} of {list(array.shape)}"
            )
    for name in _VECTORS:
        _check_unit(getattr(data, name), f"{where}: {name}", zero_allowed=name == "keyword_vectors")
    ranges = {
        "pairs, column 0": (data.pairs[:, 0], 0, q),
        "pairs, column 1": (data.pairs[:, 1], 0, s),
        "pair_split": (data.pair_split, 0, 3),
        "question_category": (data.question_category, -1, k),
        "source_category": (data.source_category, 0, k),
    }
    for name, (values, low, high) in ranges.items():
        outside = np.flatnonzero((values < low) | (values >= high))
        if len(outside):
            raise DatasetError(
                f"{where}: {name}, row {outside[0]}: {values[outside[0]]} is not within {low} to {high - 1}"
            )
    if len(np.unique(np.stack([data.pairs[:, 0], data.pair_split]), axis=1).T) != len(np.unique(data.pairs[:, 0])):
        raise DatasetError(f"{where}: pair_split puts pairs of one question into different splits")
    for name, texts, count in (("question_texts", data.question_texts, q), ("source_texts", data.source_texts, s)):
        if len(texts) not in (0, count):
            raise DatasetError(f"{where}: {name} has {len(texts):,} texts for {count:,} rows; give all or none")


def _check_unit(rows: Vectors, name: str, *, zero_allowed: bool) -> None:
    for start in range(0, len(rows), _BLOCK_ROWS):
        norms = np.linalg.norm(rows[start : start + _BLOCK_ROWS], axis=1)
        fine = np.abs(norms - 1) <= _UNIT_TOLERANCE  # False for what is not finite
        if zero_allowed:
            fine |= norms == 0
        if not fine.all():
            row = int(fine.argmin())
            raise DatasetError(f"{name}, row {start + row}: norm {norms[row]:.4g} where 1 is expected")
