"""Hard negatives for the training pairs: sources that look right and are not, in tiers from near to far.

Tiers: 0 the category of the true source, 1 the categories beside it, 2 the most similar sources of further categories,
3 random sources of any other category. What is known to be right is never drawn, nor what may be right without anybody
knowing: a source almost as similar to the question as the true one (TopK-PercPos of NV-Retriever, Moreira et al. 2024).
The module knows embeddings and categories; it knows nothing of losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sightline.jepa.data.dataset import Ids, SteeringDataset
from sightline.jepa.data.splits import TRAIN

SAME_CATEGORY, ADJACENT_CATEGORY, NEAREST_OUTSIDE, RANDOM = range(4)

_BLOCK_SCORES = 1 << 22  # of float32 at a time, whatever the size of the corpus
_CLOSENESS = 0.95  # share of the true source's cosine, above which a source may be right as well
_ADJACENT = 3


@dataclass(frozen=True, slots=True)
class Negatives:
    """What each training pair is contrasted with."""

    pair_rows: Ids
    """`[T]` int64, the training pairs as rows of the data set's `pairs`, ascending."""
    ids: Ids
    """`[T, N]` int64, sources; repeated in a row only if too few are allowed."""
    tiers: NDArray[np.int8]
    """`[T, N]` int8, 0 to 3 as the module says."""


def mine_negatives(
    dataset: SteeringDataset, num_negatives: int, seed: int, *, pool: Literal["training", "all"] = "training"
) -> Negatives:
    """Draw negatives for every training pair, in equal parts from the four tiers.

    Tiers 0 to 2 give their sources most similar to the question, tier 3 random ones. Places that a tier can't fill go
    to random sources of any category. A training pair for which fewer than `num_negatives` sources pass the filter
    repeats them, and only one for which none passes has random sources that are merely not known to be right.

    Args:
        dataset: data whose questions, sources, categories and centroids are used.
        num_negatives: number `N`, at least 1; what does not divide by four goes to the nearer tiers.
        seed: seed of the random tier.
        pool: what may be drawn: what answers a training question, or every source. Of the latter, those of validation
            and test are learned as wrong answers to questions near them.

    Raises:
        ValueError: N is not positive, or all sources of the pool are right answers to some question.
    """
    if num_negatives < 1:
        raise ValueError(f"num_negatives must be at least 1, not {num_negatives!r}")
    rows = np.flatnonzero(dataset.pair_split == TRAIN)
    counts = [num_negatives // 4 + (tier < num_negatives % 4) for tier in range(4)]
    adjacent = _adjacent_categories(dataset)
    sources = np.asarray(dataset.sources)
    rng = np.random.default_rng(seed)
    drawable = np.full(len(sources), pool == "all")
    for answers in dataset.relevant(np.unique(dataset.pairs[rows, 0])):
        drawable[answers] = True
    ids = np.empty((len(rows), num_negatives), dtype=np.int64)
    tiers = np.empty((len(rows), num_negatives), dtype=np.int8)
    block = max(1, _BLOCK_SCORES // len(sources))
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        questions, positives = dataset.pairs[rows[part]].T
        scores = dataset.questions[questions] @ sources.T
        wrong = np.broadcast_to(drawable, scores.shape).copy()
        for place, known in enumerate(dataset.relevant(questions)):
            wrong[place, known] = False
        own = scores[np.arange(len(scores)), positives]
        allowed = wrong & (scores < (own - (1 - _CLOSENESS) * np.abs(own))[:, None])
        category = dataset.source_category[positives]
        same = dataset.source_category == category[:, None]
        beside = adjacent[category][:, dataset.source_category]
        members = (same, beside, ~same & ~beside, ~same)
        ids[part], tiers[part] = _draw(scores, allowed, members, counts, rng)
        _complete(ids[part], tiers[part], wrong, allowed, rng)
    return Negatives(rows, ids, tiers)


def _draw(
    scores: NDArray[np.float32],
    allowed: NDArray[np.bool_],
    members: tuple[NDArray[np.bool_], ...],
    counts: list[int],
    rng: np.random.Generator,
) -> tuple[Ids, NDArray[np.int8]]:
    """Draw the best of each tier without repetition, then random ones; -1 where no source is left.

    Args:
        scores: `[b, S]`.
        allowed: `[b, S]`.
        members: members of every tier, `[b, S]` each.
        counts: number to draw of every tier.
        rng: generator, consumed.
    """
    free = allowed.copy()
    random = rng.random(scores.shape, dtype=np.float32)
    places = np.arange(len(scores))[:, None]
    ids, tiers = [], []
    for tier, (member, count) in enumerate(zip(members, counts, strict=True)):
        keys = np.where(free & member, random if tier == RANDOM else scores, -np.inf)
        best = _top(keys, count)
        found = np.isfinite(keys[places, best])
        free[places, best] &= ~found
        ids.append(np.where(found, best, -1))
        tiers.append(np.full(best.shape, tier))
    drawn, tier_of = np.concatenate(ids, axis=1), np.concatenate(tiers, axis=1).astype(np.int8)
    missing = drawn < 0
    if missing.any():
        keys = np.where(free, random, -np.inf)
        spare = _top(keys, drawn.shape[1])
        spare = np.where(np.isfinite(keys[places, spare]), spare, -1)
        spare = np.pad(spare, ((0, 0), (0, drawn.shape[1])), constant_values=-1)
        drawn[missing] = spare[places, np.cumsum(missing, axis=1) - 1][missing]
        tier_of[missing] = RANDOM
    return drawn, tier_of


def _complete(
    ids: Ids,
    tiers: NDArray[np.int8],
    wrong: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """Fill, in place, what is left open in the few rows where fewer sources are allowed than asked for."""
    for row in np.flatnonzero((ids < 0).any(axis=1)):
        pool = np.flatnonzero(allowed[row] if allowed[row].any() else wrong[row])
        if not len(pool):
            raise ValueError("all sources answer one question, so there are no negatives; add sources that do not")
        missing = ids[row] < 0
        ids[row, missing] = rng.choice(pool, size=int(missing.sum()), replace=len(pool) < missing.sum())
        tiers[row, missing] = RANDOM


def _top(keys: NDArray[np.floating], count: int) -> Ids:
    """Return columns of the `count` largest keys of each row, or all if there are fewer, largest first."""
    width = keys.shape[1]
    if count < width:
        part = np.sort(np.argpartition(-keys, count, axis=1)[:, :count], axis=1)
    else:
        part = np.broadcast_to(np.arange(width), keys.shape)
    order = np.argsort(-np.take_along_axis(keys, part, axis=1), axis=1, kind="stable")
    return np.take_along_axis(part, order, axis=1)


def _adjacent_categories(dataset: SteeringDataset) -> NDArray[np.bool_]:
    """Return `[K, K]`: True where the column is among the nearest other categories of the row, by centroids."""
    similar = dataset.centroids @ dataset.centroids.T
    np.fill_diagonal(similar, -np.inf)
    nearest = _top(similar, min(_ADJACENT, len(similar) - 1))
    adjacent = np.zeros(similar.shape, dtype=np.bool_)
    np.put_along_axis(adjacent, nearest, True, axis=1)
    return adjacent
