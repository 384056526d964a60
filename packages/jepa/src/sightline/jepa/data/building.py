"""From texts to a `SteeringDataset`: which are equal, what they embed to, how pairs are split, where categories lie.

The encoder is a function that the caller passes; this module does not know which one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightline.jepa.data.dataset import Ids, SteeringDataset, Vectors
from sightline.jepa.data.splits import TEST, TRAIN, pair_components, split_by_components

Encode: TypeAlias = Callable[[Sequence[str]], NDArray[np.floating]]
"""Texts in, one row per text out; rows of any length but zero."""


@dataclass(frozen=True, slots=True)
class SteeringTexts:
    """What a data set says, before anything is embedded."""

    questions: tuple[str, ...]
    """`Q` texts; two questions may have one text, if they differ in what the caller gives with it."""
    sources: tuple[str, ...]
    """`S` texts, the corpus that is searched."""
    pairs: Ids
    """`[P, 2]` int64, question and source that answers it."""
    question_category: Ids
    """`[Q]` int64, the category that the caller gives with the question; -1 for none."""
    source_category: Ids
    """`[S]` int64, the category that a source belongs to."""
    names: tuple[str, ...]
    """`K` names of categories."""
    descriptions: tuple[str, ...]
    """`K` texts that say what a category is."""
    keywords: tuple[str, ...]
    """`Q` texts typed along with the question; empty for none."""


def build_dataset(
    texts: SteeringTexts,
    encode: Encode,
    *,
    encoder: str,
    seed: int = 0,
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
) -> SteeringDataset:
    """Embed texts, split the pairs by components, and take the centroids of the training part.

    Args:
        texts: texts to embed; every distinct text is encoded once, all in one call.
        encode: function from texts to rows of numbers; scaled to unit length here.
        encoder: name of the encoder, kept with the data.
        seed: seed of the split.
        fractions: shares of pairs for training, validation and test.

    Raises:
        ValueError: the encoder gave a zero row, something not finite or another number of rows, or the texts do not
            fit together (see `SteeringDataset`).
    """
    distinct = {text: None for text in (*texts.questions, *texts.sources, *texts.descriptions, *texts.keywords) if text}
    vectors = _unit_rows(encode(list(distinct)), len(distinct), encoder)
    row = {text: number for number, text in enumerate(distinct)}
    zero = np.zeros((1, vectors.shape[1]), dtype=np.float32)
    padded = np.concatenate([vectors, zero])  # the empty text is the last row

    def embedded(part: tuple[str, ...]) -> Vectors:
        return padded[[row.get(text, len(vectors)) for text in part]]

    dataset = SteeringDataset(
        questions=embedded(texts.questions),
        sources=embedded(texts.sources),
        pairs=texts.pairs,
        pair_split=np.zeros(len(texts.pairs), dtype=np.int8),
        question_category=texts.question_category,
        source_category=texts.source_category,
        question_text_ids=text_ids(texts.questions),
        source_text_ids=text_ids(texts.sources),
        category_vectors=embedded(texts.descriptions),
        keyword_vectors=embedded(texts.keywords),
        centroids=embedded(texts.descriptions),
        names=texts.names,
        encoder=encoder,
        question_texts=texts.questions,
        source_texts=texts.sources,
    )
    return resplit(dataset, seed, fractions)


def resplit(
    dataset: SteeringDataset, seed: int, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
) -> SteeringDataset:
    """Return the data under another split, with the centroids of its own training part; embeddings are shared.

    Raises:
        ValueError: the fractions are no shares of a whole.
    """
    split = split_by_components(
        dataset.pairs, dataset.question_text_ids, dataset.source_text_ids, fractions=fractions, seed=seed
    )
    training = np.unique(dataset.pairs[split == TRAIN, 1])
    return replace(dataset, pair_split=split, centroids=_centroids(dataset, training))


def hold_out_fold(dataset: SteeringDataset, fold: int, folds: int, *, seed: int) -> SteeringDataset:
    """Return the training and validation parts, with one fold of the training components held out as the test part.

    A model trained on it has not seen the fold, so that its answers there are evidence like those on validation. The
    real test pairs are left out. Embeddings are shared; centroids are those of what is left of the training part.

    Args:
        dataset: the data.
        fold: number of the fold, from 0.
        folds: number of folds; every training pair is in one of them.
        seed: seed of the random dealing of components to folds.

    Raises:
        ValueError: there is no such fold, or nothing falls to it.
    """
    if not 0 <= fold < folds:
        raise ValueError(f"fold must be 0 to {folds - 1}, not {fold!r}")
    kept = np.flatnonzero(dataset.pair_split != TEST)
    pairs, split = np.array(dataset.pairs[kept]), np.array(dataset.pair_split[kept])
    components = pair_components(pairs, dataset.question_text_ids, dataset.source_text_ids)
    of_training, training_component = np.unique(components[split == TRAIN], return_inverse=True)
    dealt = np.random.default_rng(seed).permutation(len(of_training)) % folds
    held = np.flatnonzero(split == TRAIN)[dealt[training_component] == fold]
    if not len(held):
        raise ValueError(f"fold {fold} of {folds} is empty: there are {len(of_training)} training components")
    split[held] = TEST
    training = np.unique(pairs[split == TRAIN, 1])
    return replace(dataset, pairs=pairs, pair_split=split, centroids=_centroids(dataset, training))


def text_ids(texts: Sequence[str]) -> Ids:
    """Return `[n]` int64, the number of the first text that says the same, up to case and white space."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(" ".join(text.casefold().split()), number) for number, text in enumerate(texts)])


def _centroids(dataset: SteeringDataset, training: Ids) -> Vectors:
    """Return the unit means `[K, D]` of each category's training sources.

    A category without any has the mean of all its sources: they are in the index that is searched, and which of them
    answers what is not used. One without sources, or whose sources cancel out, has its description's vector.
    """
    centroids = np.array(dataset.category_vectors)
    for rows in (np.arange(len(dataset.sources)), training):
        sums = np.zeros_like(centroids, dtype=np.float64)
        np.add.at(sums, dataset.source_category[rows], dataset.sources[rows])
        norms = np.linalg.norm(sums, axis=1)
        found = norms > 1e-6
        centroids[found] = sums[found] / norms[found, None]
    return centroids


def _unit_rows(rows: NDArray[np.floating], count: int, encoder: str) -> Vectors:
    rows = np.asarray(rows, dtype=np.float32)
    if rows.ndim != 2 or len(rows) != count:
        raise ValueError(
            f"encoder {encoder!r} gave shape {list(rows.shape)} where a row per text, [{count}, D], is expected"
        )
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and norms.all()):
        raise ValueError(f"encoder {encoder!r} gave a row that is zero or not finite, which has no direction")
    return rows / norms
