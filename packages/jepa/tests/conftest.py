from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sightline.jepa.data.dataset import SteeringDataset, unit


@pytest.fixture(scope="session")
def make_toy_dataset() -> Callable[..., SteeringDataset]:
    """A small world that can be learned: a question is its source, rotated, minus most of what tells the category."""

    def make(
        *, dimension: int = 16, categories: int = 4, sources: int = 160, without_category: float = 0.0, seed: int = 0
    ) -> SteeringDataset:
        rng = np.random.default_rng(seed)
        centres = unit(rng.normal(size=(categories, dimension)))
        source_category = rng.integers(0, categories, sources)
        details = unit(rng.normal(size=(sources, dimension)))
        source_vectors = unit(centres[source_category] + 0.9 * details)
        rotation = np.linalg.qr(rng.normal(size=(dimension, dimension)) + 2 * np.eye(dimension))[0]
        questions = unit((0.2 * centres[source_category] + details) @ rotation + 0.1 * rng.normal(size=details.shape))
        question_category = np.where(rng.random(sources) < without_category, -1, source_category)
        return SteeringDataset(
            questions=questions,
            sources=source_vectors,
            pairs=np.stack([np.arange(sources), np.arange(sources)], axis=1),
            pair_split=rng.choice(3, size=sources, p=(0.6, 0.2, 0.2)).astype(np.int8),
            question_category=question_category.astype(np.int64),
            source_category=source_category.astype(np.int64),
            question_text_ids=np.arange(sources),
            source_text_ids=np.arange(sources),
            category_vectors=unit(centres + 0.1 * rng.normal(size=centres.shape)),
            keyword_vectors=unit(centres[source_category] + 0.3 * rng.normal(size=source_vectors.shape)),
            centroids=unit(np.stack([source_vectors[source_category == k].mean(axis=0) for k in range(categories)])),
            names=tuple(f"category {k}" for k in range(categories)),
            encoder="toy",
        )

    return make


@pytest.fixture(scope="session")
def toy_dataset(make_toy_dataset: Callable[..., SteeringDataset]) -> SteeringDataset:
    return make_toy_dataset()


@pytest.fixture(scope="session")
def make_easy_dataset(make_toy_dataset: Callable[..., SteeringDataset]) -> Callable[..., SteeringDataset]:
    """Questions that need no training: their sources, less some of what tells the category, plus noise."""

    def make(**options: int) -> SteeringDataset:
        made = make_toy_dataset(**options)
        noise = np.random.default_rng(1).normal(scale=0.12, size=made.sources.shape)
        return replace(made, questions=unit(made.sources - 0.4 * made.centroids[made.source_category] + noise))

    return make


@pytest.fixture(scope="session")
def easy_dataset(make_easy_dataset: Callable[..., SteeringDataset]) -> SteeringDataset:
    return make_easy_dataset()
