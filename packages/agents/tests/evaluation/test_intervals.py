from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.evaluation.bootstrap import Seeds
from sightline.agents.evaluation.intervals import (
    Interval,
    bootstrap_interval,
    interquartile_interval,
    paired_difference,
    percentile_interval,
    rate_interval,
    ratio_interval,
    resampled_by,
    show_interval,
    wilson_interval,
)


def interval(value: float, low: float, high: float, resampled: str = "goals") -> Interval:
    return Interval(value, low, high, 0.95, resampled)


def test_several_training_seeds_of_the_same_results_are_not_counted_as_more_goals() -> None:
    goals = np.random.default_rng(3).random(50)
    once = bootstrap_interval(goals, np.random.default_rng(4))
    for seeds in ("fixed", "resampled"):
        copied = bootstrap_interval(np.repeat(goals[:, None], 3, axis=1), np.random.default_rng(4), seeds=seeds)
        assert copied.low == pytest.approx(once.low, abs=0.01)
        assert copied.high == pytest.approx(once.high, abs=0.01)


def test_training_seeds_that_disagree_widen_the_interval_unless_they_are_held_fixed() -> None:
    goals = np.random.default_rng(5).normal(size=(200, 1))
    alike, unlike = np.repeat(goals, 4, axis=1), goals + np.array([-3.0, -1, 1, 3])

    def width(values: np.ndarray, seeds: Seeds = "resampled") -> float:
        found = bootstrap_interval(values, np.random.default_rng(0), seeds=seeds)
        return found.high - found.low

    assert width(unlike) > 5 * width(alike)
    assert width(unlike, "fixed") == pytest.approx(width(alike, "fixed"))


def test_pairing_removes_what_the_goals_share() -> None:
    rng = np.random.default_rng(5)
    difficulty = rng.normal(0, 10, size=200)
    candidate, baseline = difficulty + 1 + rng.normal(0, 0.5, 200), difficulty + rng.normal(0, 0.5, 200)
    found = paired_difference(candidate, baseline, rng)
    assert 0.8 < found.low < 1 < found.high < 1.2


def test_a_paired_difference_is_antisymmetric() -> None:
    first, second = np.random.default_rng(6).random((2, 40))
    forward = paired_difference(first, second, np.random.default_rng(7))
    backward = paired_difference(second, first, np.random.default_rng(7))
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))


VALUES = np.random.default_rng(8).random((30, 3))
ONE_SEED = VALUES[:, 0]
GROUPS = np.arange(30) // 2
MAKERS: dict[str, Callable[..., Interval | None]] = {
    "mean": bootstrap_interval,
    "difference": lambda values, rng, **design: paired_difference(values, ONE_SEED, rng, **design),
    "rate": rate_interval,
    "ratio": lambda values, rng, **design: ratio_interval(values, np.ones_like(values), rng, **design),
    "interquartile": interquartile_interval,
}


@pytest.mark.parametrize("maker", MAKERS)
def test_every_interval_says_what_was_resampled(maker: str) -> None:
    def resampled(values: np.ndarray = VALUES, **design: object) -> str:
        found = MAKERS[maker](values, np.random.default_rng(0), resamples=20, **design)
        assert found is not None
        return found.resampled

    assert resampled() == "goals and training seeds"
    assert resampled(seeds="fixed") == "goals, training seeds held fixed"
    assert resampled(ONE_SEED) == resampled(ONE_SEED, seeds="fixed") == "goals"
    assert resampled(unit="questions") == "questions and training seeds"
    if maker != "interquartile":
        assert resampled(groups=GROUPS) == "clusters of goals and training seeds"
        assert resampled(ONE_SEED, groups=GROUPS, unit="questions") == "clusters of questions"


@pytest.mark.parametrize("maker", MAKERS)
def test_every_interval_is_as_sure_as_it_was_asked_to_be(maker: str) -> None:
    found = {
        confidence: MAKERS[maker](VALUES, np.random.default_rng(0), confidence=confidence, resamples=2000)
        for confidence in (0.5, 0.95, 0.99)
    }
    assert [each is not None and each.confidence for each in found.values()] == [0.5, 0.95, 0.99]
    half, usual, sure = (each.high - each.low for each in found.values() if each is not None)
    assert half < 0.5 * usual < 0.5 * sure
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        MAKERS[maker](VALUES, np.random.default_rng(0), confidence=95)


@pytest.mark.parametrize("maker", MAKERS)
def test_as_many_resamples_are_drawn_as_asked_for_and_from_the_generator_given(maker: str) -> None:
    make, rng = MAKERS[maker], np.random.default_rng(0)
    only = make(VALUES, np.random.default_rng(0), resamples=1)
    assert only is not None
    assert only.low == only.high != only.value
    first, second = make(VALUES, rng, resamples=50), make(VALUES, rng, resamples=50)
    assert first != second
    assert make(VALUES, np.random.default_rng(0), resamples=50) == first


@pytest.mark.parametrize("maker", ["mean", "difference", "rate", "ratio"])
def test_goals_of_a_cluster_are_drawn_together(maker: str) -> None:
    halves = np.repeat([0.0, 1.0], 15)  # two clusters: a resample's mean is 0, 1/2 or 1
    found = MAKERS[maker](halves, np.random.default_rng(0), groups=halves, resamples=400)
    alone = MAKERS[maker](halves, np.random.default_rng(0), resamples=400)
    assert found is not None
    assert alone is not None
    ends = (found.low, found.high) if maker != "difference" else (found.low, found.high + ONE_SEED[:15].mean())
    assert ends[1] - ends[0] > 0.85
    assert alone.high - alone.low < 0.5


@pytest.mark.parametrize("maker", ["mean", "rate", "ratio"])
def test_a_goal_is_averaged_over_the_values_that_its_cells_stand_for(maker: str) -> None:
    values, weights = [[0.5, 0.0], [0.2, 1.0], [0.3, 0.1]], [[2, 0], [1, 3], [1, 1]]
    found = MAKERS[maker](values, np.random.default_rng(0), weights=weights, resamples=20)
    assert found is not None
    assert found.value == pytest.approx((0.5 + (0.2 + 3) / 4 + 0.2) / 3)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.integers(0, 99))
def test_bounds_lie_within_the_data(values: list[float], seed: int) -> None:
    found = bootstrap_interval(values, np.random.default_rng(seed), resamples=200)
    slack = 1e-9 * max(1.0, *map(abs, values))
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack


def test_equal_values_give_an_interval_of_width_zero() -> None:
    assert bootstrap_interval([0.25] * 10, np.random.default_rng(0)) == interval(0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("values", "message"),
    [([], "at least two goals, got 0"), ([1.0], "got 1"), ([1.0, np.nan], "finite"), (np.ones((2, 2, 2)), "3 dim")],
)
def test_what_has_no_interval_is_an_error(values: list[float], message: str) -> None:
    for make in (bootstrap_interval, interquartile_interval):
        with pytest.raises(ValueError, match=message):
            make(values, np.random.default_rng(0))


def test_one_cluster_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="at least two clusters, got 1"):
        bootstrap_interval([1.0, 2.0], rng, groups=[3, 3])
    with pytest.raises(ValueError, match="at least two clusters, got 1"):
        paired_difference([1.0, 2.0], [1.0, 2.0], rng, groups=[3, 3])
    assert rate_interval([1.0, 0.0], rng, groups=[3, 3]) is None
    assert ratio_interval([1.0, 0.0], [1.0, 1.0], rng, groups=[3, 3]) is None


def test_unequal_goals_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="same episodes on both sides, got 3 and 2"):
        paired_difference([1, 2, 3], [1, 2], np.random.default_rng(0), unit="episodes")


def test_wilson_bounds_solve_the_score_equation() -> None:
    # The bounds are the rates p at which |rate - p| = z * sqrt(p (1 - p) / n).
    found = wilson_interval(30, 100)
    for bound in (found.low, found.high):
        assert abs(0.3 - bound) == pytest.approx(1.959964 * np.sqrt(bound * (1 - bound) / 100), rel=1e-6)


def test_a_rate_lies_within_its_wilson_interval_at_the_ends_too() -> None:
    for trials in range(1, 300):
        assert wilson_interval(0, trials).low == 0
        assert wilson_interval(trials, trials).high == 1


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 2), (0, 0)])
def test_impossible_counts_are_errors(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        wilson_interval(successes, trials)


def test_an_impossible_confidence_is_an_error() -> None:
    for confidence in (0.0, 1.0, 95):
        with pytest.raises(ValueError, match="between 0 and 1"):
            wilson_interval(1, 2, confidence=confidence)


@pytest.mark.parametrize("confidence", [0.9, 0.99])
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_rate_that_never_varies_has_wilsons_interval(rate: float, confidence: float) -> None:
    expected = wilson_interval(round(20 * rate), 20, confidence=confidence)
    rng = np.random.default_rng(0)
    assert rate_interval([rate] * 20, rng, confidence=confidence) == expected
    assert rate_interval([[rate] * 3] * 20, rng, confidence=confidence) == expected
    other = 1 - rate  # stands in cells without a value
    assert rate_interval([[rate, other]] * 20, rng, weights=[[1, 0]] * 20, confidence=confidence) == expected
    grouped = rate_interval([rate] * 40, rng, groups=np.arange(40) // 2, confidence=confidence)
    assert grouped == expected  # clusters are what is independent


@pytest.mark.parametrize("values", [[0.5, 1.0, 0.0], [0.5, 0.5, 0.5]])
def test_any_other_rate_has_the_bootstraps_interval(values: list[float]) -> None:
    design: dict[str, Any] = {"confidence": 0.8, "resamples": 90, "unit": "episodes"}
    found = rate_interval(values, np.random.default_rng(0), **design)
    assert found == bootstrap_interval(values, np.random.default_rng(0), **design)
    assert rate_interval([1.0], np.random.default_rng(0)) is None


def test_a_ratio_of_means_agrees_with_the_delta_method() -> None:
    rng = np.random.default_rng(1)
    below = rng.random(500) < 0.6
    above = 100 + 50 * below + rng.normal(0, 20, 500)
    found = ratio_interval(above, below, rng)
    assert found is not None
    ratio = above.mean() / below.mean()
    half = 1.96 * (above - ratio * below).std() / below.mean() / np.sqrt(500)
    assert found.value == pytest.approx(ratio)
    assert found.low == pytest.approx(ratio - half, abs=0.15 * half)
    assert found.high == pytest.approx(ratio + half, abs=0.15 * half)


def test_both_parts_of_a_ratio_are_of_the_same_trainings() -> None:
    below = np.tile([1.0, 2.0, 9.0], (20, 1))
    found = ratio_interval(3 * below, below, np.random.default_rng(0))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((3, 3))


def test_a_ratio_over_hardly_any_success_has_no_upper_bound() -> None:
    found = ratio_interval([10.0] * 50, [1.0] + [0.0] * 49, np.random.default_rng(2))
    assert found is not None
    assert found.high == np.inf
    assert 100 < found.low < 500
    assert ratio_interval([10.0] * 50, [0.0] * 50, np.random.default_rng(2)) is None
    assert ratio_interval([10.0], [1.0], np.random.default_rng(2)) is None


def test_a_ratio_needs_the_same_goals_above_and_below() -> None:
    with pytest.raises(ValueError, match=r"got \[2\] and \[3\]"):
        ratio_interval([1.0, 2.0], [1.0, 1.0, 1.0], np.random.default_rng(0))


def test_an_interval_is_read_off_the_quantiles_of_resampled_values() -> None:
    samples = np.random.default_rng(0).permutation(np.arange(101.0))
    found = percentile_interval(7.0, samples, 0.8, "goals")
    assert (found.low, found.high) == pytest.approx((10.0, 90.0))
    assert (found.value, found.confidence, found.resampled) == (7.0, 0.8, "goals")
    assert percentile_interval(7.0, np.append(samples, np.nan), 0.8, "goals") == found
    unbounded = percentile_interval(7.0, np.append(samples, [np.inf] * 24), 0.8, "goals")
    assert (unbounded.low, unbounded.high) == (12.0, np.inf)


def test_a_table_names_each_way_of_resampling_once() -> None:
    several = [interval(0, 0, 0, "goals"), None, interval(0, 0, 0, "episodes"), interval(1, 1, 1, "goals")]
    assert resampled_by(several) == "goals; episodes"
    assert resampled_by([None]) == "n/a"


def test_an_interval_is_shown_with_its_bounds() -> None:
    assert show_interval(interval(0.391, 0.35, 0.4351), ".1f", scale=100) == "39.1 [35.0, 43.5]"
    assert show_interval(interval(-1234.5, -2000, 3), "+,.0f") == "-1,234 [-2,000, +3]"
    assert show_interval(None, ".1f") == "n/a"
