"""What steers: vectors made from what a caller has when asking, from what is right, and from mistaken callers.

The module knows a data set's categories and keywords; it knows nothing of models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightline.jepa.data.dataset import SteeringDataset, Vectors
from sightline.jepa.data.splits import Ids

SteeringKind: TypeAlias = Literal["none", "category", "keywords", "residual"]

_UNRELIABLE_SEED = 20  # of the unreliable mode; apart from the run's seed, so that runs can be compared


@dataclass(frozen=True, slots=True)
class Steering:
    """What steers each question of a call."""

    vectors: Vectors
    """`[B, D]` float32, unit rows; zeros where nothing is given."""
    has_steering: NDArray[np.bool_]
    """`[B]` bool."""


def steering(
    dataset: SteeringDataset, question_ids: Ids, kind: SteeringKind, categories: Ids | None = None
) -> Steering:
    """Make what steers these questions, only from what a caller has when asking.

    Args:
        dataset: the data.
        question_ids: `[B]`.
        kind: kind of steering: "none"; "category", the vector of the given category; "keywords", the vector of the
            typed keywords; "residual", the direction from the question to the category, `unit(category - question)`.
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
    has_steering = categories >= 0
    vectors[has_steering] = dataset.category_vectors[categories[has_steering]]
    if kind == "residual":
        vectors[has_steering] -= dataset.questions[question_ids[has_steering]]
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        has_steering &= norms[:, 0] > 1e-6  # a question that says what the category says points nowhere
        vectors = np.where(has_steering[:, None], vectors / np.maximum(norms, 1e-6), 0).astype(np.float32)
    return Steering(vectors, has_steering)


def oracle_steering(dataset: SteeringDataset, question_ids: Ids) -> Steering:
    """Make steering from the answer, an upper bound: the centroid of the first right answer's category.

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
    """Return the questions' categories with a share of them changed, as a careless caller would give them.

    Args:
        dataset: the data.
        question_ids: `[B]`.
        share: chance of each given category to be changed, in [0, 1].
        change: kind of change: "missing", none is given; "random", another category, uniformly; "adjacent", the most
            similar other one by the cosine of descriptions.
        seed: seed of the draw.

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


def unreliable_steering(dataset: SteeringDataset, questions: Ids, share: float) -> Steering:
    """Make steering by category of which a share is wrong or missing, half of each; the same in every run.

    Args:
        dataset: the data.
        questions: `[B]` ids.
        share: share of the questions, in [0, 1].
    """
    categories = np.array(dataset.question_category[questions])
    changed = np.random.default_rng(_UNRELIABLE_SEED).random(len(questions)) < share
    missing = changed & (np.arange(len(questions)) % 2 == 0)
    if len(dataset.names) > 1:
        wrong = changed_categories(dataset, questions, share=1.0, change="random", seed=_UNRELIABLE_SEED)
        categories = np.where(changed & ~missing, wrong, categories)
    return steering(dataset, questions, "category", np.where(missing, -1, categories))


def steering_modes(dataset: SteeringDataset, questions: Ids, unreliable_share: float) -> list[Steering]:
    """Make every kind of steering that callers may give: none, the category, keywords, and unreliable categories.

    Kinds that none of the questions has are left out.

    Args:
        dataset: the data.
        questions: `[B]` ids.
        unreliable_share: share of wrong or missing categories in the last, in [0, 1].
    """
    given = (
        steering(dataset, questions, "category"),
        steering(dataset, questions, "keywords"),
        unreliable_steering(dataset, questions, unreliable_share),
    )
    return [steering(dataset, questions, "none"), *(mode for mode in given if mode.has_steering.any())]
