"""The data of a steered predictor: questions, sources, which source answers which question, and what steers.

Axes: Q questions, S sources (the corpus that is searched), P pairs, K categories (the named subspaces), D dimensions,
B questions of one call. Vectors are float32 rows of unit length in the space of one frozen encoder; a row of zeros
means "not given" and is allowed for keywords alone. A data set is a folder of `.npy` files, mapped into memory when
it is opened, with `dataset.json` and two JSONL files of texts beside them. The module knows nothing of models.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from sightline.jepa.data.splits import TEST, TRAIN, VALIDATION, Ids

Vectors: TypeAlias = NDArray[np.float32]
SteeringKind: TypeAlias = Literal["none", "category", "keywords", "residual"]
Split: TypeAlias = Literal["train", "validation", "test"]

_SPLITS: dict[str, int] = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
_FORMAT = 1
_VECTORS = ("questions", "sources", "category_vectors", "keyword_vectors", "centroids")
_INTEGERS = ("pairs", "question_category", "source_category", "question_text_ids", "source_text_ids")
_ARRAYS = (*_VECTORS, *_INTEGERS, "pair_split")
_UNIT_TOLERANCE = 1e-3  # of a norm; rows stored in half precision elsewhere come within this
_BLOCK_ROWS = 8192


class DatasetError(ValueError):
    """The parts of a data set do not fit together, or a file holds something else; the message says which."""


@dataclass(frozen=True, slots=True)
class Steering:
    """What steers each question of a call.

    Attributes:
        vectors: `[B, D]` float32, unit rows; zeros where nothing is given.
        given: `[B]` bool.
    """

    vectors: Vectors
    given: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class SteeringDataset:
    """Embedded questions and sources, their pairs and split, and what steers; checked when it is made.

    Attributes:
        questions: `[Q, D]` float32, unit rows.
        sources: `[S, D]` float32, unit rows.
        pairs: `[P, 2]` int64, question id and source id.
        pair_split: `[P]` int8: 0 training, 1 validation, 2 test. All pairs of a question are in one split.
        question_category: `[Q]` int64, the category the caller gives with the question; -1 for none.
        source_category: `[S]` int64, the category the source belongs to.
        question_text_ids: `[Q]` int64, equal where questions have the same text.
        source_text_ids: `[S]` int64, equal where sources have the same text.
        category_vectors: `[K, D]` float32, unit rows: the category's description, embedded.
        keyword_vectors: `[Q, D]` float32: keywords typed with the question, embedded; a row of zeros for none.
        centroids: `[K, D]` float32, unit rows: the mean of the category's training sources (see `resplit`).
        names: `K` names of categories.
        encoder: name of the encoder whose space this is.
        question_texts: `Q` texts, or none at all.
        source_texts: `S` texts, or none at all.

    Raises:
        DatasetError: shapes, types, ids, norms or splits are wrong.
    """

    questions: Vectors
    sources: Vectors
    pairs: Ids
    pair_split: NDArray[np.int8]
    question_category: Ids
    source_category: Ids
    question_text_ids: Ids
    source_text_ids: Ids
    category_vectors: Vectors
    keyword_vectors: Vectors
    centroids: Vectors
    names: tuple[str, ...]
    encoder: str
    question_texts: tuple[str, ...] = ()
    source_texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self, "data set")

    def queries(self, split: Split) -> Ids:
        """`[q]` int64, the distinct ids of the questions of a split, ascending."""
        return np.unique(self.pairs[self.pair_split == _SPLITS[split], 0])

    def relevant(self, question_ids: Ids) -> list[Ids]:
        """All right answers of each question: the sources of its pairs in any split, and every source of equal text.

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

    def save(self, folder: Path) -> None:
        """Write the data set to a folder that does not exist yet; it appears whole or not at all.

        Raises:
            FileExistsError: there is something at `folder`.
        """
        folder = Path(folder)
        if folder.exists():
            raise FileExistsError(f"{folder} exists; save to another folder, or remove it first")
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        try:
            for name in _ARRAYS:
                with (temporary / f"{name}.npy").open("wb") as file:
                    np.save(file, np.ascontiguousarray(getattr(self, name)), allow_pickle=False)
                    _flush(file.fileno())
            for name, texts in (("question_texts", self.question_texts), ("source_texts", self.source_texts)):
                _write_lines(temporary / f"{name}.jsonl", [json.dumps(text) for text in texts])
            description = _Description(format=_FORMAT, encoder=self.encoder, names=list(self.names))
            _write_lines(temporary / "dataset.json", [description.model_dump_json(indent=2)])
            temporary.chmod(0o755)  # mkdtemp makes folders that only their owner may read
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @classmethod
    def open(cls, folder: Path) -> SteeringDataset:
        """Map a saved data set into memory, read-only, and check it.

        Raises:
            FileNotFoundError: a file is missing.
            DatasetError: a file holds something else than the folder promises; the message names it.
        """
        folder = Path(folder)
        path = folder / "dataset.json"
        try:
            description = _Description.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise DatasetError(f"{path}, field {'.'.join(map(str, first['loc']))!r}: {first['msg']}") from error
        parts: dict[str, Any] = {name: _open_array(folder / f"{name}.npy") for name in _ARRAYS}
        parts |= {name: _read_texts(folder / f"{name}.jsonl") for name in ("question_texts", "source_texts")}
        try:
            return cls(**parts, names=tuple(description.names), encoder=description.encoder)
        except DatasetError as error:
            raise DatasetError(f"{folder}: {error}") from error


def steering(
    dataset: SteeringDataset, question_ids: Ids, kind: SteeringKind, categories: Ids | None = None
) -> Steering:
    """What steers these questions, made only from what a caller has when asking.

    Args:
        dataset: the data.
        question_ids: `[B]`.
        kind: "none"; "category", the vector of the given category; "keywords", the vector of the typed keywords;
            "residual", the direction from the question to the category, `unit(category - question)`.
        categories: `[B]` in place of the questions' own categories, for example wrong ones; -1 for none.

    Raises:
        ValueError: a category is out of range, or the kind is none of the four.
    """
    question_ids = np.asarray(question_ids, dtype=np.int64)
    vectors = np.zeros((len(question_ids), dataset.questions.shape[1]), dtype=np.float32)
    if kind == "none":
        return Steering(vectors, np.zeros(len(question_ids), dtype=np.bool_))
    if kind == "keywords":
        vectors = np.array(dataset.keyword_vectors[question_ids])
        return Steering(vectors, np.abs(vectors).max(axis=1, initial=0.0) > 0)
    if kind not in ("category", "residual"):
        raise ValueError(f"kind must be 'none', 'category', 'keywords' or 'residual', not {kind!r}")
    categories = dataset.question_category[question_ids] if categories is None else np.asarray(categories)
    if categories.shape != question_ids.shape or (categories < -1).any() or (categories >= len(dataset.names)).any():
        raise ValueError(f"categories must be {len(question_ids)} ids from -1 to {len(dataset.names) - 1}")
    given = categories >= 0
    vectors[given] = dataset.category_vectors[categories[given]]
    if kind == "residual":
        vectors[given] -= dataset.questions[question_ids[given]]
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        given &= norms[:, 0] > 1e-6  # a question that says what the category says points nowhere
        vectors = np.where(given[:, None], vectors / np.maximum(norms, 1e-6), 0).astype(np.float32)
    return Steering(vectors, given)


def unit(rows: NDArray[np.floating]) -> Vectors:
    """Rows scaled to length 1, float32; a row of zeros stays as it is."""
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def oracle_steering(dataset: SteeringDataset, question_ids: Ids) -> Steering:
    """The centroid of the category that the first right answer belongs to: an upper bound, made from the answer.

    Not for training and not for choosing anything.
    """
    first = np.array([answers[0] for answers in dataset.relevant(question_ids)], dtype=np.int64)
    return Steering(np.array(dataset.centroids[dataset.source_category[first]]), np.ones(len(first), dtype=np.bool_))


def changed_categories(
    dataset: SteeringDataset,
    question_ids: Ids,
    *,
    share: float,
    change: Literal["missing", "random", "adjacent"],
    seed: int,
) -> Ids:
    """The questions' categories with a share of them changed, as a careless or mistaken caller would give them.

    Args:
        dataset: the data.
        question_ids: `[B]`.
        share: in [0, 1], the chance of each given category to be changed.
        change: "missing", none is given; "random", another category, uniformly; "adjacent", the most similar other one
            by the cosine of descriptions.
        seed: of the draw.

    Returns:
        `[B]` int64.

    Raises:
        ValueError: there is no other category to change to.
    """
    rng = np.random.default_rng(seed)
    own = np.array(dataset.question_category[np.asarray(question_ids)])
    count = len(dataset.names)
    if change != "missing" and count < 2:
        raise ValueError("a category can be changed only where there are at least two")
    if change == "missing":
        other = np.full_like(own, -1)
    elif change == "random":
        other = (own + rng.integers(1, count, size=len(own))) % count
    else:
        similar = dataset.category_vectors @ dataset.category_vectors.T
        np.fill_diagonal(similar, -np.inf)
        other = similar.argmax(axis=1)[own]
    return np.where((own >= 0) & (rng.random(len(own)) < share), other, own)


class _Description(BaseModel):
    """The file `dataset.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1]
    encoder: str
    names: list[str]


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


def _open_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DatasetError(f"{path} is no array that can be mapped ({error}); build the data set again") from error


def _read_texts(path: Path) -> tuple[str, ...]:
    texts = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = json.loads(line)
            except json.JSONDecodeError as error:
                raise DatasetError(f"{path}, line {number}: {error}") from error
            if not isinstance(text, str):
                raise DatasetError(f"{path}, line {number}: expected a string, found {line[:60]!r}")
            texts.append(text)
    return tuple(texts)


def _write_lines(path: Path, lines: list[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        _flush(file.fileno())


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)
