"""Intervals held against theory, against scipy and statsmodels, and against how often they should hold the truth."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from sightline.agents.evaluation.bootstrap import Seeds
from sightline.agents.evaluation.intervals import (
    NOT_RESAMPLED,
    Interval,
    bootstrap_interval,
    interquartile_interval,
    interquartile_mean,
    paired_difference,
    ratio_interval,
    wilson_interval,
)


def test_a_large_sample_agrees_with_normal_theory() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    found = bootstrap_interval(values, np.random.default_rng(1))
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize("confidence", [0.8, 0.99])
def test_the_interval_of_a_mean_is_that_of_scipys_percentile_bootstrap(confidence: float) -> None:
    values = np.random.default_rng(2).exponential(size=80)
    found = bootstrap_interval(values, np.random.default_rng(3), confidence=confidence, resamples=40_000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, confidence_level=confidence, method="percentile", rng=4
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert found.confidence == confidence


def test_the_interval_of_a_paired_difference_is_that_of_scipys_paired_bootstrap() -> None:
    rng = np.random.default_rng(5)
    baseline = rng.normal(0, 5, 60)
    candidate = baseline + rng.exponential(size=60)
    found = paired_difference(candidate, baseline, rng, resamples=40_000)
    expected = stats.bootstrap(
        (candidate, baseline),
        lambda one, other, axis: (one - other).mean(axis=axis),
        paired=True,
        n_resamples=40_000,
        method="percentile",
        rng=6,
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.015)


def test_the_interval_of_a_ratio_is_that_of_scipys_paired_bootstrap() -> None:
    rng = np.random.default_rng(7)
    below = rng.random(60) < 0.6
    above = rng.exponential(size=60) + below
    found = ratio_interval(above, below, rng, confidence=0.9, resamples=40_000)
    expected = stats.bootstrap(
        (above, below.astype(float)),
        lambda one, other, axis: one.mean(axis=axis) / other.mean(axis=axis),
        paired=True,
        n_resamples=40_000,
        confidence_level=0.9,
        method="percentile",
        rng=8,
    ).confidence_interval
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.01)
    assert found.confidence == 0.9


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilsons_interval_is_that_of_scipy_and_of_statsmodels(confidence: float) -> None:
    for trials, share in product((1, 2, 7, 50, 1000), (0.0, 0.1, 0.5, 0.9, 1.0)):
        successes = round(share * trials)
        found = wilson_interval(successes, trials, confidence=confidence)
        assert (found.value, found.confidence, found.resampled) == (successes / trials, confidence, NOT_RESAMPLED)
        scipys = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
        statsmodels = proportion_confint(successes, trials, alpha=1 - confidence, method="wilson")
        assert (found.low, found.high) == pytest.approx((scipys.low, scipys.high), abs=1e-12)
        assert (found.low, found.high) == pytest.approx(statsmodels, abs=1e-12)


def test_the_interquartile_mean_is_scipys_trimmed_mean_where_quarters_are_whole() -> None:
    values = np.random.default_rng(9).normal(size=(4, 13))
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25, axis=None))


def test_the_interquartile_mean_counts_a_value_at_the_edge_in_part() -> None:
    # Of six values a quarter is 1.5: the second and the fifth count half.
    assert interquartile_mean([20, 1, 2, 3, 4, 9]) == pytest.approx((2 / 2 + 3 + 4 + 9 / 2) / 3)


@given(st.lists(st.integers(-100, 100), min_size=4, max_size=40).filter(lambda values: len(values) % 4 == 0))
def test_the_interquartile_mean_is_the_mean_of_the_middle_half(values: list[int]) -> None:
    quarter = len(values) // 4
    assert interquartile_mean(values) == pytest.approx(np.mean(sorted(values)[quarter:-quarter]))


def test_clusters_give_the_numbers_that_the_predictors_statistics_gave() -> None:
    rng = np.random.default_rng(20240229)
    groups, values, baseline = rng.integers(0, 12, 40), rng.random((3, 40)).T, rng.random((3, 40)).T
    found = bootstrap_interval(values, np.random.default_rng(5), groups=groups, seeds="fixed", resamples=2000)
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.4714115672614741, 0.4064743311351641, 0.5503320048379163), abs=1e-14
    )
    paired = paired_difference(
        values, baseline, np.random.default_rng(5), groups=groups, seeds="fixed", confidence=0.9, resamples=2000
    )
    assert (paired.value, paired.low, paired.high) == pytest.approx(
        (-0.05666445261121981, -0.12122781212765654, 0.016665179872083956), abs=1e-14
    )


def test_fixed_seeds_give_the_numbers_that_the_agents_statistics_gave() -> None:
    rng = np.random.default_rng(20240302)
    values, baseline = rng.random((30, 2)), rng.random(30)
    found = bootstrap_interval(values, np.random.default_rng(7), seeds="fixed", resamples=3000)
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.5080014513310911, 0.43238688353078186, 0.5806970650265391), abs=1e-14
    )
    paired = paired_difference(
        values, baseline, np.random.default_rng(7), seeds="fixed", confidence=0.8, resamples=3000
    )
    assert (paired.value, paired.low, paired.high) == pytest.approx(
        (0.02170645837611179, -0.06910636018156983, 0.11324671529510177), abs=1e-14
    )


def test_resampled_seeds_give_what_the_growth_experiments_statistics_gave() -> None:
    rng = np.random.default_rng(20240301)
    values, baseline = rng.normal(0.3, 1, (4, 25)).T, rng.normal(0, 1, (2, 25)).T
    mean = bootstrap_interval(values, np.random.default_rng(0), resamples=100_000)
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.36141, -0.00641, 0.68095), abs=0.006)
    paired = paired_difference(values, baseline, np.random.default_rng(0), resamples=100_000)
    assert (paired.value, paired.low, paired.high) == pytest.approx((0.44303, -0.06307, 0.94810), abs=0.008)
    middle = interquartile_interval(values, np.random.default_rng(3), resamples=500)
    assert (middle.value, middle.low, middle.high) == pytest.approx(
        (0.3864995618714277, 0.009077206059628999, 0.7107563845204535), abs=1e-14
    )


def coverage(draw: Callable[[np.random.Generator], Interval], truth: float, trials: int) -> float:
    rng = np.random.default_rng(2)
    return float(np.mean([found.low <= truth <= found.high for found in (draw(rng) for _ in range(trials))]))


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = coverage(lambda rng: bootstrap_interval(rng.random(60) < 0.4, rng, confidence=0.9, resamples=400), 0.4, 400)
    assert 0.85 < held < 0.94  # 0.9 less the small bias of the percentile method, three standard errors either way


def clustered(rng: np.random.Generator, *, use_groups: bool) -> Interval:
    groups = np.repeat(np.arange(40), rng.integers(1, 6, size=40))
    values = rng.normal(size=40)[groups] + 0.3 * rng.normal(size=len(groups))
    return bootstrap_interval(values, rng, groups=groups if use_groups else None, confidence=0.9, resamples=400)


def test_clusters_keep_an_intervals_promise_where_goals_depend_on_each_other() -> None:
    assert 0.84 < coverage(lambda rng: clustered(rng, use_groups=True), 0.0, 300) < 0.95
    assert coverage(lambda rng: clustered(rng, use_groups=False), 0.0, 300) < 0.8


def trained(rng: np.random.Generator, seeds: Seeds, count: int = 10, confidence: float = 0.9) -> Interval:
    values = rng.normal(size=(40, 1)) + rng.normal(0, 0.5, (1, count)) + 0.5 * rng.normal(size=(40, count))
    return bootstrap_interval(values, rng, seeds=seeds, confidence=confidence, resamples=400)


def test_resampled_seeds_keep_the_promise_for_other_trainings_and_fixed_seeds_do_not() -> None:
    assert 0.82 < coverage(lambda rng: trained(rng, "resampled"), 0.0, 300) < 0.94
    assert coverage(lambda rng: trained(rng, "fixed"), 0.0, 300) < 0.82


@pytest.mark.slow
@pytest.mark.parametrize(("count", "least", "most"), [(3, 0.75, 0.84), (5, 0.84, 0.91), (10, 0.89, 0.95)])
def test_few_training_seeds_make_an_interval_too_narrow(count: int, least: float, most: float) -> None:
    def difference(rng: np.random.Generator, seeds: Seeds) -> Interval:
        goals = rng.normal(size=(200, 1))
        sides = [goals + rng.normal(0, 0.3, (1, count)) + rng.normal(0, 0.3, (200, count)) for _ in range(2)]
        return paired_difference(sides[0], sides[1], rng, seeds=seeds, resamples=1000)

    assert least < coverage(lambda rng: difference(rng, "resampled"), 0.0, 2000) < most
    assert coverage(lambda rng: difference(rng, "fixed"), 0.0, 500) < 0.2


def test_wilsons_interval_keeps_its_promise_on_average_over_rates() -> None:
    trials = 40
    bounds = [wilson_interval(successes, trials) for successes in range(trials + 1)]
    rates = np.linspace(0.02, 0.98, 97)
    chances = stats.binom.pmf(np.arange(trials + 1)[:, None], trials, rates)
    held = sum(chances[k] * ((bounds[k].low <= rates) & (rates <= bounds[k].high)) for k in range(trials + 1))
    assert held.mean() == pytest.approx(0.95, abs=0.01)
