from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from sightline.jepa import SteeringDataset, build_dataset
from sightline.jepa.data import SteeringTexts


@pytest.fixture
def texts() -> SteeringTexts:
    return SteeringTexts(
        questions=("list tables", "list tables", "make a bucket", "who am I"),
        sources=("Lists  tables.", "lists tables.", "Creates a bucket.", "Names the caller.", "Deletes a bucket."),
        pairs=np.array([[0, 0], [1, 1], [2, 2], [3, 3]]),
        question_category=np.array([0, 1, 2, -1]),
        source_category=np.array([0, 1, 2, 0, 2]),
        names=("first", "second", "third", "empty"),
        descriptions=("a database", "another database", "storage", "nothing"),
        keywords=("db", "", "bucket", ""),
    )


@pytest.fixture
def encode() -> Callable[[Sequence[str]], np.ndarray]:
    """Rows of lengths other than one; each text has its own direction."""

    def rows(texts: Sequence[str]) -> np.ndarray:
        return np.stack([np.random.default_rng(sum(map(ord, text))).normal(size=8) * 3 for text in texts])

    return rows


@pytest.fixture
def built(texts: SteeringTexts, encode: Callable[[Sequence[str]], np.ndarray]) -> SteeringDataset:
    return build_dataset(texts, encode, encoder="letters", seed=1)
