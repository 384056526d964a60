from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from sightline.jepa.training.collapse import mean_cosine, measure_collapse, rank_me


def unit(rows: int, dimension: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(rows, dimension, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_a_constant_prediction_shows_in_every_number():
    report = measure_collapse(unit(1, 16, 0).expand(200, 16), unit(100, 16, 1))
    assert report.rank_me == pytest.approx(1.0, abs=1e-3)
    assert report.scaled_deviation == pytest.approx(0.0, abs=1e-5)
    assert report.mean_cosine == pytest.approx(1.0, abs=1e-5)
    assert report.hubness > 2.5
    assert report.distinct_nearest == pytest.approx(1 / 200)


def test_isotropic_predictions_are_spread():
    report = measure_collapse(unit(3000, 16, 0), unit(500, 16, 1))
    assert report.rank_me == pytest.approx(16, abs=0.5)
    assert report.scaled_deviation == pytest.approx(1.0, abs=0.05)
    assert abs(report.mean_cosine) < 0.01
    assert report.hubness < 2


def test_rank_counts_directions_of_equal_strength():
    assert rank_me(torch.eye(8)[:5]) == pytest.approx(5.0)


def test_mean_cosine_agrees_with_all_pairs():
    rows = unit(40, 8, 2)
    cosines = (rows @ rows.T).double().numpy()
    assert mean_cosine(rows) == pytest.approx(cosines[~np.eye(40, dtype=bool)].mean(), abs=1e-6)


def test_hubness_is_the_skewness_of_how_often_a_source_is_near():
    predictions, sources = unit(60, 8, 3), unit(30, 8, 4)
    near = np.argsort(-(predictions @ sources.T).numpy(), axis=1)[:, :5]
    counts = np.bincount(near.ravel(), minlength=30).astype(float)
    expected = ((counts - counts.mean()) ** 3).mean() / counts.std() ** 3
    assert measure_collapse(predictions, sources, k=5).hubness == pytest.approx(expected)


def test_sources_shared_evenly_have_no_hubs():
    assert measure_collapse(torch.eye(6), torch.eye(6), k=1).hubness == 0.0


@pytest.mark.parametrize(("count", "k"), [(1, 3), (5, 0), (5, 31)])
def test_too_little_to_measure_is_refused(count: int, k: int):
    with pytest.raises(ValueError, match="at least two predictions"):
        measure_collapse(unit(count, 8, 0), unit(30, 8, 1), k=k)
