from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from sightline.agents.evaluation.differences import compare_methods
from sightline.agents.evaluation.intervals import paired_difference


def table(seeds: int, units: int, *, shift: float = 0.0, rng_seed: int = 0) -> np.ndarray:
    return np.random.default_rng(rng_seed).normal(shift, 1.0, (units, seeds))


def test_a_shift_on_every_unit_is_found_exactly_although_units_differ_widely() -> None:
    baseline = 100 * table(1, 30)
    (found,) = compare_methods("new", ["old"], {"new": np.repeat(baseline + 2, 3, axis=1), "old": baseline}, seed=0)
    assert (found.candidate, found.baseline, found.outcome) == ("new", "old", "better")
    assert (found.difference.value, found.difference.low, found.difference.high) == pytest.approx((2, 2, 2))
    assert found.by_seed == pytest.approx((2, 2, 2))


def test_equal_methods_are_undecided() -> None:
    values = {"new": table(5, 100, rng_seed=1), "old": table(5, 100, rng_seed=2)}
    (found,) = compare_methods("new", ["old"], values, seed=0)
    assert found.outcome == "undecided"
    assert found.p_value > 0.05


def test_a_worse_candidate_is_called_worse() -> None:
    values = {"new": table(3, 50, shift=-5), "old": table(1, 50)}
    (found,) = compare_methods("new", ["old"], values, seed=0)
    assert found.outcome == "worse"


def test_the_interval_agrees_with_a_bootstrap_written_as_loops() -> None:
    mine, theirs = table(4, 12, shift=1.0), table(2, 12, rng_seed=1)
    (found,) = compare_methods("new", ["old"], {"new": mine, "old": theirs}, seed=0, resamples=4_000)
    rng = np.random.default_rng(7)
    drawn = []
    for _ in range(4_000):
        units = rng.integers(0, 12, 12)
        sides = [side[units][:, rng.integers(0, side.shape[1], side.shape[1])].mean() for side in (mine, theirs)]
        drawn.append(sides[0] - sides[1])
    assert (found.difference.low, found.difference.high) == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.06)
    assert found.p_value == pytest.approx(2 * np.mean(np.array(drawn) <= 0), abs=0.01)


def test_the_arguments_reach_the_interval() -> None:
    mine, theirs, groups = table(3, 40, shift=0.2), table(2, 40, rng_seed=1), np.arange(40) // 4
    design: dict[str, Any] = {"groups": groups, "seeds": "fixed", "unit": "questions"}
    design |= {"confidence": 0.8, "resamples": 700}
    (found,) = compare_methods("new", ["old"], {"new": mine, "old": theirs}, seed=5, **design)
    expected = paired_difference(mine, theirs, np.random.default_rng(5), **design)
    assert (found.difference.low, found.difference.high) == (expected.low, expected.high)
    assert (found.difference.confidence, found.difference.resampled) == (0.8, expected.resampled)
    assert expected.resampled == "clusters of questions, training seeds held fixed"


def test_the_level_of_the_outcome_is_that_of_the_interval() -> None:
    values = {"new": table(1, 60, shift=0.27, rng_seed=3), "old": np.zeros(60)}
    usual, sure = (
        compare_methods("new", ["old"], values, seed=0, confidence=confidence)[0] for confidence in (0.9, 0.999)
    )
    assert 0.001 < usual.adjusted_p_value < 0.1
    assert (usual.outcome, sure.outcome) == ("better", "undecided")


def test_all_comparisons_are_adjusted_together() -> None:
    rng = np.random.default_rng(3)
    values = {"new": rng.normal(0.36, 1, 40), **{f"old{i}": rng.normal(0.05 * i, 0.1, 40) for i in range(6)}}
    together = compare_methods("new", [f"old{i}" for i in range(6)], values, seed=0)
    (alone,) = compare_methods("new", ["old3"], values, seed=0)
    plain = [item.p_value for item in together]
    assert alone.p_value == alone.adjusted_p_value == plain[3]  # every comparison draws the same units
    assert [item.adjusted_p_value for item in together] == pytest.approx(multipletests(plain, method="holm")[1])
    assert together[3].adjusted_p_value > plain[3]


def test_an_adjusted_p_value_decides_and_not_the_plain_one() -> None:
    rng = np.random.default_rng(5)
    spread = rng.normal(size=40)
    shifted = 0.38 + (spread - spread.mean()) / spread.std()  # 2.4 standard errors from 0
    values = {"new": shifted, **{f"old{i}": rng.normal(0, 0.01, 40) for i in range(10)}}
    (alone,) = compare_methods("new", ["old0"], values, seed=0)
    together = compare_methods("new", [f"old{i}" for i in range(10)], values, seed=0)
    assert alone.outcome == "better"
    assert together[0].p_value < 0.05 < together[0].adjusted_p_value
    assert together[0].outcome == "undecided"


def test_equal_methods_are_told_apart_about_as_rarely_as_the_level_says() -> None:
    rng = np.random.default_rng(6)
    found = []
    for trial in range(300):
        units = rng.normal(size=(30, 1))
        values = {name: units + rng.normal(0, 0.4, (1, 8)) + rng.normal(0, 0.5, (30, 8)) for name in ("new", "old")}
        (comparison,) = compare_methods("new", ["old"], values, seed=trial, resamples=300)
        found.append(comparison.p_value <= 0.05)
    assert np.mean(found) < 0.05 + 0.03 + 3 * np.sqrt(0.05 * 0.95 / 300)  # eight seeds show a little too little spread


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"new": [1.0, np.nan], "old": [1.0, 1.0]}, "finite"),
        ({"new": [1.0, 2.0], "old": [1.0, 2.0, 3.0]}, "new has 2 episodes, old 3: give the same"),
        ({"new": [1.0], "old": [1.0]}, "at least two independent episodes, got 1"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(values: dict[str, list], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare_methods("new", ["old"], values, seed=0, unit="episodes")
