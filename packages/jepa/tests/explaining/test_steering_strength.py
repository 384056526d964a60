from __future__ import annotations

import numpy as np
import pytest

from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.explaining.prediction import PredictionParts
from sightline.jepa.explaining.steering_strength import measure_steering_strength
from sightline.jepa.ranking.source_index import SourceIndex


def add_steering(question, steering, has_steering, /, *, steering_strength=1.0, routing=None) -> PredictionParts:
    """Rocchio's average: the more obedience, the more of the steering."""
    vectors = question + steering_strength * np.where(has_steering[:, None], steering, 0)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return PredictionParts(vectors, np.full((len(question), 4), 0.25, dtype=np.float32), vectors, 0 * vectors)


def ignore_steering(question, steering, has_steering, /, *, steering_strength=1.0, routing=None) -> PredictionParts:
    return add_steering(question, steering, np.zeros_like(has_steering))


def test_changed_steering_is_obeyed_more_the_higher_the_dial(easy_dataset: SteeringDataset):
    index = SourceIndex.from_dataset(easy_dataset)
    changed = (easy_dataset.source_category + 1) % 4
    curve = measure_steering_strength(
        add_steering,
        index,
        easy_dataset.questions,
        easy_dataset.centroids[changed],
        changed,
        easy_dataset.relevant(np.arange(160)),
        steering_strength=(0.0, 1.0, 3.0, 30.0),
    )
    assert curve.share.shape == curve.reciprocal_rank.shape == (4, 160)
    assert (np.diff(curve.mean_share) >= 0).all()
    assert curve.mean_share[0] < 0.4
    assert curve.mean_share[-1] > 0.95
    assert curve.mean_reciprocal_rank[-1] < curve.mean_reciprocal_rank[0]


def test_true_steering_helps_a_model_that_uses_it(easy_dataset: SteeringDataset):
    index = SourceIndex.from_dataset(easy_dataset)
    own = easy_dataset.source_category
    curve = measure_steering_strength(
        add_steering,
        index,
        easy_dataset.questions,
        easy_dataset.centroids[own],
        own,
        easy_dataset.relevant(np.arange(160)),
        steering_strength=(0.0, 0.5),
    )
    assert curve.mean_reciprocal_rank[1] > curve.mean_reciprocal_rank[0] + 0.02


def test_a_model_that_ignores_steering_has_a_flat_curve(easy_dataset: SteeringDataset):
    index = SourceIndex.from_dataset(easy_dataset)
    own = easy_dataset.source_category
    curve = measure_steering_strength(
        ignore_steering,
        index,
        easy_dataset.questions,
        easy_dataset.centroids[own],
        own,
        easy_dataset.relevant(np.arange(160)),
    )
    assert np.ptp(curve.share, axis=0).max() == 0
    assert np.ptp(curve.reciprocal_rank, axis=0).max() == 0


def test_every_question_needs_a_subspace(easy_dataset: SteeringDataset):
    index = SourceIndex.from_dataset(easy_dataset)
    with pytest.raises(ValueError, match="160 subspace ids"):
        measure_steering_strength(
            add_steering,
            index,
            easy_dataset.questions,
            easy_dataset.questions,
            np.array([0, 1]),
            easy_dataset.relevant(np.arange(160)),
        )
