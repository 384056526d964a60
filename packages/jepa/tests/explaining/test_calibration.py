from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from sightline.jepa.explaining.calibration import (
    Calibrator,
    calibration_error_by_chance,
    cross_fitted,
    fit_calibrator,
    reliability,
    risk_coverage,
)


def logistic_world(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [B, 2] of very different scales, the probability they imply, and an event drawn from it."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 2)) * [0.01, 100.0] + [5.0, -3.0]
    truth = 1 / (1 + np.exp(-(120 * (features[:, 0] - 5) - 0.01 * (features[:, 1] + 3) + 0.3)))
    return features, truth, rng.random(count) < truth


def test_a_fitted_calibrator_finds_the_probabilities_that_made_the_events():
    features, truth, event = logistic_world(20_000)
    stated = fit_calibrator(features, ("a", "b"), event).probability(features)
    assert np.abs(stated - truth).max() < 0.03


def test_a_feature_that_never_varies_does_no_harm():
    features, truth, event = logistic_world(5_000)
    padded = np.column_stack([features, np.full(len(features), 7.0)])
    stated = fit_calibrator(padded, ("a", "b", "constant"), event).probability(padded)
    assert np.abs(stated - truth).mean() < 0.03


def test_extreme_features_give_probabilities_and_no_overflow():
    calibrator = Calibrator(features=("a",), means=(0.0,), scales=(1e-9,), coefficients=(5.0,), intercept=0.0)
    assert calibrator.probability([[-1e6], [0.0], [1e6]]).tolist() == [0.0, 0.5, 1.0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_a_calibrator_survives_json(seed: int, count: int):
    rng = np.random.default_rng(seed)
    calibrator = Calibrator(
        features=tuple(f"f{column}" for column in range(count)),
        means=tuple(rng.normal(size=count).tolist()),
        scales=tuple(rng.uniform(0.1, 2, count).tolist()),
        coefficients=tuple(rng.normal(size=count).tolist()),
        intercept=float(rng.normal()),
    )
    again = Calibrator.model_validate_json(calibrator.model_dump_json())
    rows = rng.normal(size=(7, count))
    assert np.array_equal(again.probability(rows), calibrator.probability(rows))


def test_a_calibrator_whose_parts_are_not_equally_many_is_refused():
    with pytest.raises(ValueError, match="equally many"):
        Calibrator(features=("a", "b"), means=(0.0,), scales=(1.0,), coefficients=(1.0,), intercept=0.0)


@pytest.mark.parametrize(("held", "probability"), [(True, 4 / 5), (False, 1 / 5)])
def test_an_event_that_always_or_never_holds_has_one_probability_short_of_certainty(held: bool, probability: float):
    calibrator = fit_calibrator(np.array([[0.0], [1.0], [2.0]]), ("a",), np.full(3, held))
    assert calibrator.probability(np.array([[-9.0], [9.0]])) == pytest.approx([probability, probability])


def test_a_greater_penalty_leaves_less_to_the_features():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 1))
    event = rng.random(200) < 1 / (1 + np.exp(-2 * features[:, 0]))
    weights = [abs(fit_calibrator(features, ("a",), event, penalty=each).coefficients[0]) for each in (1, 30, 1000)]
    assert weights == sorted(weights, reverse=True)
    assert weights[2] < 0.3 * weights[0]


def test_a_calibrator_of_no_examples_is_refused():
    with pytest.raises(ValueError, match="at least one example"):
        fit_calibrator(np.zeros((0, 1)), ("a",), np.zeros(0, dtype=bool))


def test_a_feature_that_is_not_finite_is_named():
    features = np.array([[0.0, 1.0], [2.0, np.nan]])
    with pytest.raises(ValueError, match="feature 'margin' of row 1 is nan"):
        fit_calibrator(features, ("score", "margin"), np.array([True, False]))


def test_the_wrong_number_of_features_is_refused():
    calibrator = Calibrator(features=("a",), means=(0.0,), scales=(1.0,), coefficients=(1.0,), intercept=0.0)
    with pytest.raises(ValueError, match=r"\[B, 1\] for a; they are \[2, 3\]"):
        calibrator.probability(np.zeros((2, 3)))


def test_events_must_be_bool():
    with pytest.raises(ValueError, match=r"bool \[2\], not int64"):
        fit_calibrator(np.zeros((2, 1)), ("a",), np.array([1, 0]))


def test_a_groups_own_events_have_no_part_in_its_cross_fitted_probabilities():
    features, _, event = logistic_world(300)
    groups = np.arange(300) // 3
    before = cross_fitted(features, ("a", "b"), event, groups)
    mine = groups == 17
    after = cross_fitted(features, ("a", "b"), event ^ mine, groups)
    assert np.array_equal(before[mine], after[mine])
    assert not np.array_equal(before[~mine], after[~mine])


def test_cross_fitting_wants_one_group_for_each_row():
    with pytest.raises(ValueError, match=r"groups must be \[4\]"):
        cross_fitted(np.zeros((4, 1)), ("a",), np.array([True, False, True, False]), np.zeros(3))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 200), st.integers(1, 20))
def test_the_calibration_error_is_the_weighted_gap_of_sorted_bins(seed: int, count: int, bins: int):
    rng = np.random.default_rng(seed)
    stated, event = rng.random(count), rng.random(count) < 0.5
    pairs = sorted(zip(stated.tolist(), event.tolist(), strict=True))
    expected, start = 0.0, 0
    for number in range(bins):
        size = count // bins + (number < count % bins)
        piece = pairs[start : start + size]
        start += size
        gap = sum(held for _, held in piece) / size - sum(probability for probability, _ in piece) / size
        expected += abs(gap) * size / count
    result = reliability(stated, event, bins=bins)
    assert result.error == pytest.approx(expected)
    assert result.count.sum() == count


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_the_bins_are_those_of_scikit_learns_calibration_curve(bins: int):
    rng = np.random.default_rng(bins)
    stated = rng.permutation(np.linspace(0.01, 0.99, 200))  # no ties, and as many in every bin
    event = rng.random(200) < stated
    held, said = calibration_curve(event, stated, n_bins=bins, strategy="quantile")
    assert reliability(stated, event, bins=bins).error == pytest.approx(np.abs(held - said).mean())


def test_honest_probabilities_err_no_more_than_chance_and_exaggerated_ones_do():
    _, truth, event = logistic_world(900, seed=3)
    by_chance = calibration_error_by_chance(truth)
    assert reliability(truth, event).error < by_chance[int(0.99 * len(by_chance))]
    exaggerated = np.where(truth > 0.5, 0.98, 0.02)
    assert reliability(exaggerated, event).error > by_chance[-1]


def test_the_error_by_chance_shrinks_with_the_size_of_the_test():
    few, many = (calibration_error_by_chance(np.full(count, 0.5)).mean() for count in (150, 15_000))
    # Each of 15 bins errs by sqrt(p (1 - p) / n) * sqrt(2 / pi) on average.
    assert few == pytest.approx(0.5 / np.sqrt(10) * np.sqrt(2 / np.pi), rel=0.1)
    assert many == pytest.approx(few / 10, rel=0.2)


def test_rows_that_share_their_luck_err_as_much_as_one_of_them_would():
    questions = np.arange(150)
    alone = calibration_error_by_chance(np.full(150, 0.3))
    asked_thrice = calibration_error_by_chance(np.full(450, 0.3), np.repeat(questions, 3))
    assert asked_thrice.mean() == pytest.approx(alone.mean(), rel=0.1)
    with pytest.raises(ValueError, match="one for each row"):
        calibration_error_by_chance(np.full(450, 0.3), questions)


def test_more_bins_than_examples_are_refused():
    with pytest.raises(ValueError, match="3 examples cannot fill 15 bins"):
        reliability([0.1, 0.2, 0.3], np.array([True, False, True]))


def test_a_probability_above_one_is_refused():
    with pytest.raises(ValueError, match="probability 1 is"):
        reliability([0.5, 1.5], np.array([True, False]), bins=1)


def test_no_probabilities_are_refused():
    with pytest.raises(ValueError, match="at least one example"):
        risk_coverage([], np.array([], dtype=bool))


def test_risk_and_coverage_of_four_answers():
    curve = risk_coverage([0.9, 0.2, 0.7, 0.4], np.array([True, True, False, False]))
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0.0, 1 / 2, 2 / 3, 1 / 2])
    assert curve.area == pytest.approx((0 + 1 / 2 + 2 / 3 + 1 / 2) / 4)
    assert curve.accuracy_at(0.5) == pytest.approx(0.5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_answers_of_one_probability_have_the_same_risk_at_every_coverage(seed: int):
    event = np.random.default_rng(seed).random(30) < 0.4
    curve = risk_coverage(np.full(30, 0.6), event)
    assert np.allclose(curve.risk, 1 - event.mean())


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0.0001, 1.0))
def test_the_accuracy_at_a_coverage_is_that_of_the_most_confident_answers(seed: int, count: int, coverage: float):
    rng = np.random.default_rng(seed)
    stated, event = rng.permutation(count) / count, rng.random(count) < 0.5
    answered = max(1, round(coverage * count))
    best = sorted(range(count), key=lambda row: -stated[row])[:answered]
    found = risk_coverage(stated, event).accuracy_at(coverage)
    assert found == pytest.approx(sum(bool(event[row]) for row in best) / answered)


def test_the_smallest_coverage_is_the_most_confident_answer_and_the_whole_is_allowed():
    curve = risk_coverage([0.9, 0.2, 0.7, 0.4], np.array([False, True, True, True]))
    assert curve.accuracy_at(0.001) == 0.0
    assert curve.accuracy_at(1.0) == pytest.approx(3 / 4)
    for beyond in (0.0, -0.1, 1.001, float("nan")):
        with pytest.raises(ValueError, match=r"\(0, 1\]"):
            curve.accuracy_at(beyond)
