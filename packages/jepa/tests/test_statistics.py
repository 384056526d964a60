from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.jepa.statistics import group_bootstrap, paired_bootstrap


def test_intervals_hold_the_true_mean_as_often_as_they_say_though_groups_correlate() -> None:
    rng = np.random.default_rng(0)
    held = []
    for trial in range(300):
        groups = np.repeat(np.arange(40), rng.integers(1, 6, size=40))
        values = rng.normal(size=40)[groups] + 0.3 * rng.normal(size=len(groups))
        interval = group_bootstrap(values, groups, seed=trial, confidence=0.9, resamples=400)
        held.append(interval.low <= 0 <= interval.high)
    assert 0.84 <= np.mean(held) <= 0.95


def test_asking_the_same_questions_again_does_not_narrow_an_interval() -> None:
    values = np.random.default_rng(1).random(50)
    once = group_bootstrap(values, np.arange(50), seed=0, resamples=500)
    five_seeds = group_bootstrap(np.tile(values, 5), np.tile(np.arange(50), 5), seed=0, resamples=500)
    assert five_seeds.mean == pytest.approx(once.mean)
    assert (five_seeds.low, five_seeds.high) == pytest.approx((once.low, once.high))


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 20))
def test_the_mean_is_over_all_values_and_within_its_interval(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    values, groups = rng.random(count), np.r_[0, 1, rng.integers(0, 4, count - 2)]
    interval = group_bootstrap(values, groups, seed=0, resamples=200)
    assert interval.mean == pytest.approx(values.mean())
    assert values.min() - 1e-9 <= interval.low <= interval.high <= values.max() + 1e-9


def test_pairing_finds_a_small_difference_between_values_that_vary_much() -> None:
    rng = np.random.default_rng(2)
    baseline = rng.random(200)
    candidate = baseline + 0.02 + 0.01 * rng.normal(size=200)
    groups = np.arange(200) // 2
    paired = paired_bootstrap(candidate, baseline, groups, seed=0, resamples=1000)
    assert 0 < paired.low < 0.02 < paired.high < 0.03
    alone = group_bootstrap(candidate, groups, seed=0, resamples=1000)
    assert alone.high - alone.low > 5 * (paired.high - paired.low)


def test_blocks_of_resamples_make_one_sample() -> None:
    values, groups = np.random.default_rng(3).random(2000), np.arange(2000)
    wide = group_bootstrap(values, groups, seed=0, resamples=3000)  # three blocks of resamples
    expected = 1.96 * values.std() / np.sqrt(2000)
    assert wide.high - wide.mean == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("values", "groups", "confidence", "message"),
    [
        ([1.0, 2.0], [0], 0.95, "one shape"),
        ([1.0, np.nan], [0, 1], 0.95, "value 1 is not finite"),
        ([1.0, 2.0], [3, 3], 0.95, "at least two groups"),
        ([1.0, 2.0], [0, 1], 95, "within"),
    ],
)
def test_values_that_have_no_interval_are_refused(
    values: list[float], groups: list[int], confidence: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        group_bootstrap(values, groups, seed=0, confidence=confidence)


def test_differences_of_unequal_numbers_of_values_are_refused() -> None:
    with pytest.raises(ValueError, match="same questions"):
        paired_bootstrap([1.0, 2.0], [1.0], [0, 1], seed=0)
