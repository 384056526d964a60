from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sightline.jepa.dataset import SteeringDataset
from sightline.jepa.obedience import measure_obedience
from sightline.jepa.prediction import PredictionParts
from sightline.jepa.source_index import SourceIndex


@pytest.fixture(scope="module")
def toy_dataset(make_toy_dataset: Callable[..., SteeringDataset]) -> SteeringDataset:
    """Questions that need no training: their sources, less some of what tells the category, plus noise."""
    made = make_toy_dataset()
    noise = np.random.default_rng(1).normal(scale=0.12, size=made.sources.shape)
    asked = made.sources - 0.4 * made.centroids[made.source_category] + noise
    return replace(made, questions=(asked / np.linalg.norm(asked, axis=1, keepdims=True)).astype(np.float32))


def add_steering(question, steering, given, /, *, obedience=1.0, routing=None) -> PredictionParts:
    """Rocchio's average: the more obedience, the more of the steering."""
    vectors = question + obedience * np.where(given[:, None], steering, 0)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return PredictionParts(vectors, np.full((len(question), 4), 0.25, dtype=np.float32), vectors, 0 * vectors)


def ignore_steering(question, steering, given, /, *, obedience=1.0, routing=None) -> PredictionParts:
    return add_steering(question, steering, np.zeros_like(given))


def test_changed_steering_is_obeyed_more_the_higher_the_dial(toy_dataset: SteeringDataset):
    index = SourceIndex.from_dataset(toy_dataset)
    changed = (toy_dataset.source_category + 1) % 4
    curve = measure_obedience(
        add_steering,
        index,
        toy_dataset.questions,
        toy_dataset.centroids[changed],
        changed,
        toy_dataset.relevant(np.arange(160)),
        obedience=(0.0, 1.0, 3.0, 30.0),
    )
    assert curve.share.shape == curve.reciprocal_rank.shape == (4, 160)
    assert (np.diff(curve.mean_share) >= 0).all()
    assert curve.mean_share[0] < 0.4
    assert curve.mean_share[-1] > 0.95
    assert curve.mean_reciprocal_rank[-1] < curve.mean_reciprocal_rank[0]


def test_true_steering_helps_a_model_that_uses_it(toy_dataset: SteeringDataset):
    index = SourceIndex.from_dataset(toy_dataset)
    own = toy_dataset.source_category
    curve = measure_obedience(
        add_steering,
        index,
        toy_dataset.questions,
        toy_dataset.centroids[own],
        own,
        toy_dataset.relevant(np.arange(160)),
        obedience=(0.0, 0.5),
    )
    assert curve.mean_reciprocal_rank[1] > curve.mean_reciprocal_rank[0] + 0.02


def test_a_model_that_ignores_steering_has_a_flat_curve(toy_dataset: SteeringDataset):
    index = SourceIndex.from_dataset(toy_dataset)
    own = toy_dataset.source_category
    curve = measure_obedience(
        ignore_steering,
        index,
        toy_dataset.questions,
        toy_dataset.centroids[own],
        own,
        toy_dataset.relevant(np.arange(160)),
    )
    assert np.ptp(curve.share, axis=0).max() == 0
    assert np.ptp(curve.reciprocal_rank, axis=0).max() == 0


def test_every_question_needs_a_subspace(toy_dataset: SteeringDataset):
    index = SourceIndex.from_dataset(toy_dataset)
    with pytest.raises(ValueError, match="160 subspace ids"):
        measure_obedience(
            add_steering,
            index,
            toy_dataset.questions,
            toy_dataset.questions,
            np.array([0, 1]),
            toy_dataset.relevant(np.arange(160)),
        )
