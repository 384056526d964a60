from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from sightline.teachability.predictor import (
    auroc,
    average_precision,
    calibration_error,
    confusion,
    macro_f1,
    ndcg_at_k,
    precision_at_k,
    top_k_overlap,
)
from sightline.teachability.statistics import kendall, spearman

TIED = st.lists(st.tuples(st.integers(0, 4), st.integers(-2, 3)), min_size=3, max_size=30)


@given(TIED, st.integers(1, 12))
def test_ndcg_is_scikit_learns_with_ties(pairs, k):
    scores, gains = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    if gains.max() > 0:
        expected = metrics.ndcg_score(np.maximum(gains, 0)[None], scores[None], k=k)
        assert ndcg_at_k(scores, gains, k) == pytest.approx(expected, abs=1e-9)
    else:
        assert np.isnan(ndcg_at_k(scores, gains, k))


@given(TIED)
def test_areas_are_scikit_learns_with_ties(pairs):
    scores, gains = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    positive = gains > 0
    if 0 < positive.sum() < len(positive):
        assert auroc(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores), abs=1e-9)
        assert average_precision(scores, positive) == pytest.approx(
            metrics.average_precision_score(positive, scores), abs=1e-9
        )
    else:
        assert np.isnan(auroc(scores, positive))


@given(TIED)
def test_rank_correlations_are_scipys_with_ties(pairs):
    x, y = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    if np.ptp(x) and np.ptp(y):
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)
        assert kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-9)
    else:
        assert np.isnan(spearman(x, y))


@given(TIED, st.integers(1, 10))
def test_precision_and_overlap_are_the_mean_over_random_orders_of_ties(pairs, k):
    scores, gains = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    k = min(k, len(scores))
    generator = np.random.default_rng(0)
    precisions, overlaps = [], []
    for _ in range(600):
        first = np.lexsort((generator.random(len(scores)), -scores))[:k]
        second = np.lexsort((generator.random(len(scores)), -gains))[:k]
        precisions.append((gains[first] > 0).mean())
        overlaps.append(len(set(first) & set(second)) / k)
    assert precision_at_k(scores, gains > 0, k) == pytest.approx(np.mean(precisions), abs=0.09)
    assert top_k_overlap(scores, gains, k) == pytest.approx(np.mean(overlaps), abs=0.09)


def test_f1_and_confusion_are_scikit_learns():
    generator = np.random.default_rng(0)
    truth, guess = generator.integers(0, 4, 200), generator.integers(0, 4, 200)
    assert macro_f1(guess, truth) == pytest.approx(metrics.f1_score(truth, guess, average="macro"))
    assert (confusion(guess, truth, 4) == metrics.confusion_matrix(truth, guess)).all()


def test_calibration_error_is_zero_for_the_truth_and_the_shift_for_a_shift():
    truth = np.random.default_rng(0).random(200)
    assert calibration_error(truth, truth) == pytest.approx(0.0)
    assert calibration_error(truth + 0.2, truth) == pytest.approx(0.2)
