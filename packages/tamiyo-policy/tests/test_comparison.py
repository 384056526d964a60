from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.tamiyo_policy.comparison import (
    compare_all,
    holm,
    interquartile_estimate,
    interquartile_mean,
    mean_estimate,
)

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def table(seeds: int, episodes: int, *, shift: float = 0.0, rng_seed: int = 0) -> np.ndarray:
    return np.random.default_rng(rng_seed).normal(shift, 1.0, (seeds, episodes))


def test_a_shift_on_every_episode_is_found_exactly_although_episodes_differ_widely():
    baseline = 100 * table(1, 30)
    (found,) = compare_all("new", ["old"], {"new": np.repeat(baseline + 2, 3, axis=0), "old": baseline}, seed=0)
    assert found.difference.value == pytest.approx(2)
    assert (found.difference.low, found.difference.high) == pytest.approx((2, 2))
    assert found.outcome == "better"
    assert found.by_seed == pytest.approx((2, 2, 2))


def test_equal_methods_are_undecided():
    values = {"new": table(5, 100, rng_seed=1), "old": table(5, 100, rng_seed=2)}
    (found,) = compare_all("new", ["old"], values, seed=0)
    assert found.outcome == "undecided"
    assert found.p_value > 0.05


def test_the_interval_agrees_with_a_bootstrap_written_as_loops():
    mine, theirs = table(4, 12, shift=1.0), table(2, 12, rng_seed=1)
    (found,) = compare_all("new", ["old"], {"new": mine, "old": theirs}, seed=0, resamples=4_000)
    rng = np.random.default_rng(7)
    drawn = []
    for _ in range(4_000):
        episodes = rng.integers(0, 12, 12)
        sides = [side[rng.integers(0, len(side), len(side))][:, episodes].mean() for side in (mine, theirs)]
        drawn.append(sides[0] - sides[1])
    assert (found.difference.low, found.difference.high) == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.06)


def test_seeds_that_disagree_widen_the_interval():
    episodes = table(1, 200)
    alike, unlike = np.repeat(episodes, 4, axis=0), episodes + np.array([[-3.0], [-1], [1], [3]])
    widths = [(estimate := mean_estimate(values, seed=0)).high - estimate.low for values in (alike, unlike)]
    assert widths[1] > 5 * widths[0]


def test_what_all_seeds_share_in_an_episode_does_not_average_out_over_seeds():
    episodes = table(1, 50)
    one = mean_estimate(episodes, seed=0)
    many = mean_estimate(np.repeat(episodes, 20, axis=0), seed=0)
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.1)


def test_the_smallest_p_value_is_what_the_resamples_can_tell():
    values = {"new": table(1, 20, shift=50), "old": table(1, 20)}
    (found,) = compare_all("new", ["old"], values, seed=0, resamples=99)
    assert found.p_value == pytest.approx(2 / 100)


def test_a_worse_candidate_is_called_worse():
    values = {"new": table(3, 50, shift=-5), "old": table(1, 50)}
    (found,) = compare_all("new", ["old"], values, seed=0)
    assert found.outcome == "worse"


def test_one_outcome_among_many_comparisons_needs_more():
    rng = np.random.default_rng(3)
    values = {"new": rng.normal(0.36, 1, (1, 40)), **{f"old{i}": rng.normal(0, 0.01, (1, 40)) for i in range(10)}}
    alone = compare_all("new", ["old0"], values, seed=0)
    together = compare_all("new", [f"old{i}" for i in range(10)], values, seed=0)
    assert alone[0].p_value == together[0].p_value
    assert together[0].adjusted_p_value == pytest.approx(min(1.0, 10 * min(item.p_value for item in together)), rel=0.5)
    assert together[0].adjusted_p_value > alone[0].adjusted_p_value


def test_holm_gives_the_values_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(P_VALUES)
def test_holm_rejects_what_stepping_down_by_hand_rejects(p_values: list[float]):
    rejected = [False] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        if p_values[place] > 0.05 / (len(p_values) - rank):
            break
        rejected[place] = True
    adjusted = holm(p_values)
    close = [abs(value - 0.05) < 1e-12 for value in adjusted]
    assert all(near or (value <= 0.05) == known for value, known, near in zip(adjusted, rejected, close, strict=True))


@given(st.lists(st.integers(-100, 100), min_size=4, max_size=40).filter(lambda values: len(values) % 4 == 0))
def test_the_interquartile_mean_is_the_mean_of_the_middle_half(values: list[int]):
    quarter = len(values) // 4
    assert interquartile_mean(values) == pytest.approx(np.mean(sorted(values)[quarter:-quarter]))


def test_the_interquartile_mean_ignores_an_outlier_and_its_interval_holds_it():
    values = table(2, 60)
    values[0, 0] = 1e6
    estimate = interquartile_estimate(values, seed=0, resamples=200)
    assert -0.5 < estimate.low < estimate.value < estimate.high < 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"new": [[1.0, np.nan]], "old": [[1.0, 1.0]]}, "not finite"),
        ({"new": [[1.0, 2.0]], "old": [[1.0]]}, "play the same"),
        ({"new": [1.0, 2.0], "old": [[1.0]]}, r"\[seeds, episodes\]"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(values: dict[str, list], message: str):
    with pytest.raises(ValueError, match=message):
        compare_all("new", ["old"], values, seed=0)
