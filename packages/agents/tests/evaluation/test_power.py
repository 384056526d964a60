from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from sightline.agents.evaluation.power import detectable_difference, mcnemar_power, power_statement, power_table
from sightline.agents.evaluation.significance import mcnemar_test, sign_flip_test


@pytest.mark.parametrize(("goals", "difference", "discordance"), [(12, 0.3, 0.5), (25, -0.2, 0.4), (20, 0.3, 0.3)])
def test_the_power_is_the_sum_over_all_outcomes(goals: int, difference: float, discordance: float) -> None:
    win, loss = (discordance + difference) / 2, (discordance - difference) / 2
    expected = 0.0
    for wins in range(goals + 1):
        for losses in range(goals + 1 - wins):
            ties = goals - wins - losses
            ways = math.comb(goals, wins) * math.comb(goals - wins, losses)
            if mcnemar_test(wins, losses) <= 0.05:
                expected += ways * win**wins * loss**losses * (1 - discordance) ** ties
    assert mcnemar_power(goals, difference, discordance) == pytest.approx(expected)


def test_the_power_agrees_with_simulated_experiments() -> None:
    rng = np.random.default_rng(0)
    tables = rng.multinomial(200, [0.14, 0.06, 0.8], size=2000)
    rejected = np.mean([mcnemar_test(int(wins), int(losses)) <= 0.05 for wins, losses, _ in tables])
    assert mcnemar_power(200, 0.08, 0.2) == pytest.approx(rejected, abs=4 * np.sqrt(0.25 / 2000))


def test_the_power_with_several_runs_per_goal_follows_from_the_mean_squared_difference() -> None:
    rng = np.random.default_rng(1)
    rejections, discordances = [], []
    for _ in range(200):
        base = rng.beta(0.6, 0.6, 200)  # some goals are easy, some are hard, for both agents
        first = (rng.random((200, 3)) < np.clip(base + 0.12, 0, 1)[:, None]).sum(axis=1)
        gaps = [Fraction(int(a), 3) - int(b) for a, b in zip(first, rng.random(200) < base, strict=True)]
        rejections.append(sign_flip_test(gaps) <= 0.05)
        discordances.append((np.mean([float(gap) ** 2 for gap in gaps]), np.mean([float(gap) for gap in gaps])))
    discordance, difference = np.mean(discordances, axis=0)
    assert mcnemar_power(200, float(difference), float(discordance)) == pytest.approx(np.mean(rejections), abs=0.1)


def test_without_a_difference_the_test_errs_no_more_often_than_its_level() -> None:
    assert mcnemar_power(300, 0.0, 0.2) <= 0.05


def test_the_detectable_difference_is_the_least_one_with_the_wanted_power() -> None:
    seen = detectable_difference(200, 0.15)
    assert seen is not None
    assert mcnemar_power(200, seen, 0.15) >= 0.8 > mcnemar_power(200, seen - 2e-4, 0.15)


def test_200_goals_show_seven_points_where_one_in_nine_ends_differently() -> None:
    seen = detectable_difference(200, 0.11)
    assert seen is not None
    assert seen == pytest.approx(0.07, abs=0.003)
    assert power_statement(200, 0.11).startswith("With 200 paired goals, of which the two agents end 11 % differently")


def test_more_goals_see_more_and_more_comparisons_see_less() -> None:
    few, many, shared = (
        detectable_difference(goals, 0.2, tests=count) for goals, count in ((100, 1), (400, 1), (400, 5))
    )
    assert few is not None
    assert many is not None
    assert shared is not None
    assert many < shared < few


def test_a_few_goals_that_hardly_differ_show_nothing() -> None:
    assert detectable_difference(30, 0.05) is None
    assert "you can see no difference reliably" in power_statement(30, 0.05)
    assert power_table(30, tests=2, discordances=(0.05,)).rows == (("5", "none", "none"),)


@pytest.mark.parametrize(
    ("goals", "difference", "discordance"), [(0, 0.1, 0.2), (10, 0.3, 0.2), (10, 0.0, 0.0), (10, 0.0, 1.5)]
)
def test_impossible_plans_are_refused(goals: int, difference: float, discordance: float) -> None:
    with pytest.raises(ValueError, match=r"must be|needs at least"):
        mcnemar_power(goals, difference, discordance)


@pytest.mark.parametrize(("tests", "power"), [(0, 0.8), (1, 0.0), (1, 1.0)])
def test_a_level_shared_by_no_test_and_an_impossible_power_are_refused(tests: int, power: float) -> None:
    with pytest.raises(ValueError, match=r"tests must be at least 1 and power within \(0, 1\)"):
        detectable_difference(100, 0.2, tests=tests, power=power)


@pytest.mark.parametrize(("alpha", "tests"), [(0.01, 1), (0.05, 10), (0.1, 4)])
def test_the_level_and_the_number_of_tests_that_share_it_count(alpha: float, tests: int) -> None:
    seen = detectable_difference(200, 0.15, alpha=alpha, tests=tests, power=0.9)
    assert seen is not None
    power = [mcnemar_power(200, value, 0.15, alpha=alpha / tests) for value in (seen, seen - 2e-4)]
    assert power[0] >= 0.9 > power[1]
    assert seen == detectable_difference(200, 0.15, alpha=alpha / tests, power=0.9)


def test_the_power_at_another_level_is_the_sum_over_all_outcomes() -> None:
    expected = sum(
        math.comb(12, wins) * math.comb(12 - wins, losses) * 0.4**wins * 0.1**losses * 0.5 ** (12 - wins - losses)
        for wins in range(13)
        for losses in range(13 - wins)
        if mcnemar_test(wins, losses) <= 0.2
    )
    assert mcnemar_power(12, 0.3, 0.5, alpha=0.2) == pytest.approx(expected)


def test_the_table_shows_what_one_test_and_what_all_together_can_see() -> None:
    table = power_table(300, tests=4, discordances=(0.1, 0.25))
    seen = {
        (discordance, tests): detectable_difference(300, discordance, tests=tests)
        for discordance in (0.1, 0.25)
        for tests in (1, 4)
    }
    assert table.columns[1:] == ("one test: points", "4 tests: points")
    assert table.rows == tuple(
        (shown, *(f"{100 * (seen[discordance, tests] or 0):.1f}" for tests in (1, 4)))
        for shown, discordance in (("10", 0.1), ("25", 0.25))
    )
    assert "300 paired goals" in table.caption
    assert [row[0] for row in power_table(300).rows] == ["5", "10", "20", "30"]


def test_the_statement_names_the_difference_and_the_tests() -> None:
    seen = detectable_difference(300, 0.2, tests=4)
    assert seen is not None
    assert f"a difference of {100 * seen:.1f} points or more" in power_statement(300, 0.2, tests=4)
    assert power_statement(300, 0.2, tests=4).endswith("McNemar's exact test at 5 %, shared by 4 tests).")
