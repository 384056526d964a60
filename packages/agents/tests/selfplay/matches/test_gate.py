from __future__ import annotations

import math

import numpy as np
import pytest

from sightline.agents.selfplay import SequentialTest


def matches(score: float, draws: float, number: int, seed: int, pairs: int = 1500) -> np.ndarray:
    """Scores of pairs of independent games with this expected score and share of draws, [number, pairs]."""
    win = score - draws / 2
    drawn = np.random.default_rng(seed).choice(
        [1.0, 0.5, 0.0], size=(number, pairs, 2), p=[win, draws, 1 - win - draws]
    )
    return drawn.mean(axis=2)


@pytest.mark.parametrize("draws", [0.0, 0.2, 0.5])
def test_errors_of_both_kinds_are_as_rare_as_promised_and_matches_as_long_as_wald_says(draws: float) -> None:
    test = SequentialTest()
    for score, wrong in ((0.5, "accept"), (0.55, "reject")):
        decisions, lengths = zip(*(test.decide(row) for row in matches(score, draws, 2000, 0)), strict=True)
        assert np.mean([decision == wrong for decision in decisions]) <= 0.06
        assert decisions.count("undecided") < 20
        win = score - draws / 2
        deviation = math.sqrt((win + draws / 4 - score**2) / 2)
        assert np.mean(lengths) == pytest.approx(test.expected_pairs(score, deviation), rel=0.1)


def test_a_copy_of_the_best_is_accepted_in_at_most_six_of_a_hundred_gates() -> None:
    test = SequentialTest()
    for draws in (0.1, 0.6):
        accepted = [test.decide(row)[0] == "accept" for row in matches(0.5, draws, 500, 1, pairs=200)]
        assert np.mean(accepted) <= 0.06


def test_the_ratio_is_that_of_two_normal_distributions() -> None:
    """Of their likelihoods for all pairs, with the variance found, up to the small weight of the five outcomes."""
    scores = matches(0.53, 0.3, 1, 2, pairs=400)[0]
    test = SequentialTest()
    log_likelihood = [-((scores - mean) ** 2).sum() / (2 * scores.var()) for mean in (0.5, 0.55)]
    assert test.ratios(scores)[-1] == pytest.approx(log_likelihood[1] - log_likelihood[0], rel=1e-3)


def test_looks_are_taken_only_after_every_eight_pairs() -> None:
    test = SequentialTest()
    assert test.decide([1.0] * 7) == ("undecided", 7)
    assert test.decide([1.0] * 30) == ("accept", 8)
    assert test.decide([0.0, 0.25] * 15) == ("reject", 8)
    assert test.decide([]) == ("undecided", 0)


def test_wald_s_length_at_the_hypotheses_is_his_formula() -> None:
    test = SequentialTest()
    log19, deviation = math.log(19), 0.3
    information = (0.05 / deviation) ** 2 / 2
    expected = (0.95 * log19 - 0.05 * log19) / information
    assert test.expected_pairs(0.5, deviation) == pytest.approx(expected)
    assert test.expected_pairs(0.55, deviation) == pytest.approx(expected)
    assert test.expected_pairs(0.525, deviation) == pytest.approx(log19**2 / (0.05 / deviation) ** 2)


def test_hypotheses_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="at_most < at_least"):
        SequentialTest(at_least=0.5)
    with pytest.raises(ValueError, match="alpha and beta"):
        SequentialTest(alpha=0.7)
