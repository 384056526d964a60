from __future__ import annotations

from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from sightline.agents.evaluation.significance import holm, match_test, mcnemar_test, mean_above_test, sign_flip_test


def by_enumeration(thirds: list[int]) -> float:
    signs = np.array(list(product((1, -1), repeat=len(thirds))))
    return float(np.mean(np.abs(signs @ np.array(thirds)) >= abs(sum(thirds))))


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_the_sign_flip_test_counts_what_enumeration_counts(thirds: list[int]) -> None:
    assert sign_flip_test([Fraction(value, 3) for value in thirds]) == pytest.approx(by_enumeration(thirds))


def test_the_sign_flip_test_is_scipys_exact_permutation_test() -> None:
    differences = [3, -1, 2, 2, 0, -3, 1, 2, 3]
    expected = stats.permutation_test(
        (np.array(differences),), np.sum, permutation_type="samples", n_resamples=2 ** len(differences)
    )
    assert sign_flip_test([Fraction(value, 3) for value in differences]) == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(("wins", "losses"), [(6, 16), (16, 6), (0, 5), (40, 41), (3, 0), (0, 0)])
def test_mcnemar_is_scipys_binomial_test_and_that_of_statsmodels(wins: int, losses: int) -> None:
    table = [[30, wins], [losses, 20]]
    assert mcnemar_test(wins, losses) == pytest.approx(mcnemar(table, exact=True).pvalue)
    if wins + losses:
        assert mcnemar_test(wins, losses) == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_with_one_run_per_goal_the_sign_flip_test_is_mcnemars(wins: int, losses: int, ties: int) -> None:
    differences = [Fraction(1)] * wins + [Fraction(-1)] * losses + [Fraction(0)] * ties
    assert sign_flip_test(differences) == pytest.approx(mcnemar_test(wins, losses))


def test_mcnemar_gives_the_textbook_value() -> None:
    # 6 against 16 discordant pairs: 2 * sum of C(22, 0..6) / 2^22.
    assert mcnemar_test(6, 16) == pytest.approx(2 * 110_056 / 2**22)
    assert mcnemar_test(16, 6) == mcnemar_test(6, 16)
    assert mcnemar_test(0, 0) == mcnemar_test(4, 4) == 1


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be negative, got -1 and 2"):
        mcnemar_test(-1, 2)


def test_the_sign_flip_test_rejects_no_more_often_than_its_level() -> None:
    rng = np.random.default_rng(0)
    rejections = []
    for _ in range(400):
        difficulty = rng.random(60)[:, None]
        first, second = (rng.random((60, 3)) < difficulty for _ in range(2))
        gaps = first.sum(axis=1).astype(int) - second.sum(axis=1).astype(int)
        rejections.append(sign_flip_test([Fraction(int(gap), 3) for gap in gaps]) <= 0.05)
    assert np.mean(rejections) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_holm_is_the_closed_test_of_bonferronis(p_values: list[float]) -> None:
    # Marcus, Peritz and Gabriel 1976: the adjusted value is the largest over all intersections a hypothesis is in.
    places = range(len(p_values))
    subsets = [[i for i in places if mask >> i & 1] for mask in range(1, 2 ** len(p_values))]
    bonferroni = [(subset, min(1.0, len(subset) * min(p_values[i] for i in subset))) for subset in subsets]
    expected = [max(value for subset, value in bonferroni if place in subset) for place in places]
    assert holm(p_values) == pytest.approx(expected)


def test_holm_keeps_the_order_it_was_given() -> None:
    for order in permutations([0.01, 0.02, 0.5]):
        adjusted = dict(zip(order, holm(order), strict=True))
        assert adjusted == pytest.approx({0.01: 0.03, 0.02: 0.04, 0.5: 0.5})


def test_a_probability_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, 1.5])


def test_a_mean_is_above_a_threshold_at_the_level_where_the_normal_interval_ends() -> None:
    values = np.random.default_rng(1).normal(1.0, 2.0, 100)
    bound = values.mean() - 1.959964 * values.std(ddof=1) / 10
    assert mean_above_test(values, float(bound)) == pytest.approx(0.05, rel=1e-4)
    assert mean_above_test(values, float(bound) - 0.1) < 0.05 < mean_above_test(values, float(bound) + 0.1)


def test_a_mean_above_a_threshold_is_tested_by_the_normal_tail() -> None:
    values = np.random.default_rng(2).normal(0.3, 2.0, 60)
    score = (values.mean() - 0.1) / stats.sem(values)
    assert mean_above_test(values, 0.1) == pytest.approx(2 * stats.norm.sf(score))
    floored = (values.mean() - 0.1) / np.sqrt(9 / 60)
    assert mean_above_test(values, 0.1, least_variance=9.0) == pytest.approx(2 * stats.norm.sf(floored))


def test_values_without_spread_prove_what_the_least_variance_allows() -> None:
    assert mean_above_test([0.0] * 10, -0.05) == 0.0
    assert mean_above_test([0.0] * 10, 0.0) == 1.0
    assert mean_above_test([0.0] * 10, -0.05, least_variance=0.05) > 0.4
    with pytest.raises(ValueError, match="at least two goals, got 1"):
        mean_above_test([0.0], 0.0)


def test_a_match_needs_both_no_loss_and_lower_cost() -> None:
    equal, cheaper, dearer = [Fraction(0)] * 200, [Fraction(-5)] * 200, [Fraction(5)] * 200
    worse = [Fraction(-1)] * 30 + [Fraction(0)] * 170
    assert match_test(equal, cheaper, margin=0.05) < 0.01
    assert match_test(equal, dearer, margin=0.05) == 1
    assert match_test(worse, cheaper, margin=0.05) == 1
    assert match_test(equal[:1], cheaper[:1], margin=0.05) == 1


@pytest.mark.parametrize(("goals", "margin"), [(60, 0.05), (80, 0.05), (60, 0.1), (20, 0.3)])
def test_goals_without_a_difference_exclude_a_loss_only_by_their_number(goals: int, margin: float) -> None:
    p_value = match_test([Fraction(0)] * goals, [Fraction(-5)] * goals, margin=margin)
    assert p_value == pytest.approx(2 * stats.norm.sf(margin / np.sqrt(margin * (1 - margin) / goals)))
    assert (p_value > 0.05) == (goals == 60 and margin == 0.05)


def test_a_match_is_as_sure_as_the_weaker_of_its_two_claims() -> None:
    rng = np.random.default_rng(3)
    success = [Fraction(int(value)) for value in rng.integers(-1, 2, 300)]
    savings = [Fraction(int(value)) for value in rng.integers(-9, 8, 300)]
    no_loss = mean_above_test([float(value) for value in success], -0.1)
    cheaper = mean_above_test([-float(value) for value in savings], 0.0)
    assert no_loss != cheaper
    assert match_test(success, savings, margin=0.1) == max(no_loss, cheaper)
