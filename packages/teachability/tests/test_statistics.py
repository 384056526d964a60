from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sightline.teachability.statistics import (
    cluster_bootstrap,
    cluster_mean,
    cluster_sums,
    disattenuate,
    holm,
    partial_spearman,
    permute_clusters,
    ranks,
    spearman,
    spearman_brown,
)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_ranks_are_scipys(values):
    assert ranks(values) == pytest.approx(stats.rankdata(values))


def test_a_partial_correlation_is_that_of_residuals_and_vanishes_where_a_third_variable_explains_both():
    generator = np.random.default_rng(0)
    third = generator.normal(size=4000)
    x, y = third + 0.5 * generator.normal(size=4000), third + 0.5 * generator.normal(size=4000)
    assert spearman(x, y) > 0.7
    assert abs(partial_spearman(x, y, [third])) < 0.1
    # The textbook formula for one given variable.
    a, b, c = spearman(x, y), spearman(x, third), spearman(y, third)
    expected = (a - b * c) / math.sqrt((1 - b**2) * (1 - c**2))
    assert partial_spearman(x, y, [third]) == pytest.approx(expected, abs=1e-9)
    assert math.isnan(partial_spearman(x, y, [x]))


def test_whole_clusters_are_drawn():
    # Ten copies of each of 30 values: rows are worth a tenth of what they seem.
    generator = np.random.default_rng(0)
    values = np.repeat(generator.normal(size=30), 10)
    clusters = np.repeat(np.arange(30), 10).tolist()
    by_cluster = cluster_mean(values, clusters, seed=0)
    by_row = cluster_mean(values, list(range(300)), seed=0)
    assert (by_cluster.high - by_cluster.low) / (by_row.high - by_row.low) == pytest.approx(math.sqrt(10), rel=0.2)
    again = cluster_bootstrap(lambda rows: float(values[rows].mean()), clusters, seed=0)
    assert (again.value, again.low, again.high) == pytest.approx((by_cluster.value, by_cluster.low, by_cluster.high))


def test_nothing_has_no_interval():
    for found in (cluster_mean([], [], seed=0), cluster_bootstrap(lambda rows: 1.0, [], seed=0)):
        assert all(math.isnan(number) for number in (found.value, found.low, found.high))


def test_intervals_cover_what_they_promise():
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(400):
        effects = generator.normal(size=40)
        values = np.repeat(effects, 2) + generator.normal(size=80)
        found = cluster_mean(values, np.repeat(np.arange(40), 2).tolist(), seed=seed, draws=500)
        covered += found.low <= 0 <= found.high
    assert 0.90 <= covered / 400 <= 0.98


@given(st.lists(st.tuples(st.integers(0, 4), st.fractions(-1, 1, max_denominator=1000)), max_size=30))
def test_differences_are_summed_by_cluster_without_rounding(rows):
    expected = {cluster: sum((value for c, value in rows if c == cluster), Fraction(0)) for cluster, _ in rows}
    found = cluster_sums([float(value) for _, value in rows], [cluster for cluster, _ in rows])
    assert found == list(expected.values())
    assert cluster_sums([2 / 3 - 999 / 1000], ["a"]) == [Fraction(2, 3) - Fraction(999, 1000)]


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_reliability_corrects_a_correlation_of_noisy_measurements():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=20000)
    outcome = truth + generator.normal(size=20000)
    halves = [truth + generator.normal(size=20000) * 1.5 for _ in range(2)]
    measured = (halves[0] + halves[1]) / 2
    reliability = spearman_brown(spearman(*halves))
    assert disattenuate(spearman(measured, outcome), reliability) == pytest.approx(spearman(truth, outcome), abs=0.03)
    assert math.isnan(disattenuate(0.5, -0.1))


def test_clusters_are_exchanged_whole():
    labels = np.array([0, 0, 1, 1, 2, 3])
    clusters = ["a", "a", "b", "b", "c", "d"]
    seen = {tuple(permute_clusters(labels, clusters, np.random.default_rng(seed)).tolist()) for seed in range(40)}
    assert seen == {(*pair, *single) for pair in [(0, 0, 1, 1), (1, 1, 0, 0)] for single in [(2, 3), (3, 2)]}
