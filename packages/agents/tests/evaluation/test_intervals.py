from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.evaluation.intervals import (
    Interval,
    bootstrap_interval,
    paired_difference,
    rate_interval,
    ratio_interval,
    wilson_interval,
)


def test_a_large_sample_agrees_with_normal_theory() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    interval = bootstrap_interval(values, np.random.default_rng(1))
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    intervals = [bootstrap_interval(rng.random(60) < 0.4, rng, confidence=0.9, resamples=400) for _ in range(400)]
    coverage = np.mean([interval.low <= 0.4 <= interval.high for interval in intervals])
    assert 0.85 < coverage < 0.94  # 0.9 less the small bias of the percentile method, three standard errors either way


def test_runs_of_one_goal_are_not_counted_as_more_goals() -> None:
    goals = np.random.default_rng(3).random(50)
    once = bootstrap_interval(goals, np.random.default_rng(4))
    copied = bootstrap_interval(np.repeat(goals[:, None], 3, axis=1), np.random.default_rng(4))
    assert copied.low == pytest.approx(once.low)
    assert copied.high == pytest.approx(once.high)


def test_pairing_removes_what_the_goals_share() -> None:
    rng = np.random.default_rng(5)
    difficulty = rng.normal(0, 10, size=200)
    candidate, baseline = difficulty + 1 + rng.normal(0, 0.5, 200), difficulty + rng.normal(0, 0.5, 200)
    interval = paired_difference(candidate, baseline, rng)
    assert 0.8 < interval.low < 1 < interval.high < 1.2


def test_a_paired_difference_is_antisymmetric() -> None:
    rng = np.random.default_rng(6)
    first, second = rng.random((40, 3)), rng.random(40)
    forward = paired_difference(first, second, np.random.default_rng(7))
    backward = paired_difference(second, first, np.random.default_rng(7))
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))


def test_the_same_generator_gives_the_same_interval() -> None:
    values = [0.0, 1.0, 1.0, 0.5]
    first, second = (bootstrap_interval(values, np.random.default_rng(8)) for _ in range(2))
    assert first == second


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.integers(0, 99))
def test_bounds_lie_within_the_data(values: list[float], seed: int) -> None:
    interval = bootstrap_interval(values, np.random.default_rng(seed), resamples=200)
    slack = 1e-9 * max(1.0, *map(abs, values))
    assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack


def test_equal_values_give_an_interval_of_width_zero() -> None:
    assert bootstrap_interval([0.25] * 10, np.random.default_rng(0)) == Interval(0.25, 0.25, 0.25)


def test_many_values_are_resampled_in_blocks() -> None:
    values = np.arange(3_000_000) % 2
    interval = bootstrap_interval(values, np.random.default_rng(0), resamples=3)
    assert interval.low <= 0.5 + 1e-2
    assert interval.high >= 0.5 - 1e-2


@pytest.mark.parametrize(
    ("values", "message"),
    [([], "at least two goals, got 0"), ([1.0], "got 1"), ([1.0, np.nan], "finite"), (np.ones((2, 2, 2)), "3 dim")],
)
def test_what_has_no_interval_is_an_error(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, np.random.default_rng(0))


def test_an_impossible_confidence_is_an_error() -> None:
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        bootstrap_interval([0.0, 1.0], np.random.default_rng(0), confidence=95)


def test_unequal_goals_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="same goals on both sides, got 3 and 2"):
        paired_difference([1, 2, 3], [1, 2], np.random.default_rng(0))


def test_wilson_bounds_solve_the_score_equation() -> None:
    # The bounds are the rates p at which |rate - p| = z * sqrt(p (1 - p) / n).
    interval = wilson_interval(30, 100)
    for bound in (interval.low, interval.high):
        assert abs(0.3 - bound) == pytest.approx(1.959964 * np.sqrt(bound * (1 - bound) / 100), rel=1e-6)


def test_wilson_has_width_where_nothing_ever_succeeded() -> None:
    interval = wilson_interval(0, 200)
    assert interval.low == 0
    assert interval.high == pytest.approx(1.96**2 / (200 + 1.96**2), rel=1e-3)


def test_a_rate_lies_within_its_wilson_interval_at_the_ends_too() -> None:
    for trials in range(1, 300):
        assert wilson_interval(0, trials).low == 0
        assert wilson_interval(trials, trials).high == 1


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 2), (0, 0)])
def test_impossible_counts_are_errors(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        wilson_interval(successes, trials)


def test_a_rate_that_never_varies_has_wilsons_interval_and_any_other_the_bootstraps() -> None:
    rng = np.random.default_rng(0)
    assert rate_interval([1.0] * 20, rng) == wilson_interval(20, 20)
    assert rate_interval([0.5, 1.0, 0.0], rng) == bootstrap_interval([0.5, 1.0, 0.0], np.random.default_rng(0))
    assert rate_interval([1.0], rng) is None


def test_a_ratio_of_means_agrees_with_the_delta_method() -> None:
    rng = np.random.default_rng(1)
    below = rng.random(500) < 0.6
    above = 100 + 50 * below + rng.normal(0, 20, 500)
    interval = ratio_interval(above, below, rng)
    assert interval is not None
    ratio = above.mean() / below.mean()
    half = 1.96 * (above - ratio * below).std() / below.mean() / np.sqrt(500)
    assert interval.mean == pytest.approx(ratio)
    assert interval.low == pytest.approx(ratio - half, abs=0.15 * half)
    assert interval.high == pytest.approx(ratio + half, abs=0.15 * half)


def test_a_ratio_over_hardly_any_success_has_no_upper_bound() -> None:
    interval = ratio_interval([10.0] * 50, [1.0] + [0.0] * 49, np.random.default_rng(2))
    assert interval is not None
    assert interval.high == np.inf
    assert ratio_interval([10.0] * 50, [0.0] * 50, np.random.default_rng(2)) is None


def test_a_ratio_needs_the_same_goals_above_and_below() -> None:
    with pytest.raises(ValueError, match="got 2 and 3"):
        ratio_interval([1.0, 2.0], [1.0, 1.0, 1.0], np.random.default_rng(0))
