from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from sightline.jepa.explaining.calibration import Calibrator
from sightline.jepa.explaining.decisions import (
    ActionableSignal,
    AnswerPolicy,
    Reason,
    Threshold,
    fit_policy,
    precision_bound,
    precision_threshold,
    read_policy,
    report_signals,
    write_policy,
)
from sightline.jepa.explaining.evidence import FEATURES, Outcomes


def reads(feature: str) -> Calibrator:
    """A calibrator whose log odds are one feature."""
    weights = tuple(float(name == feature) for name in FEATURES)
    ones, zeros = (1.0,) * len(FEATURES), (0.0,) * len(FEATURES)
    return Calibrator(features=FEATURES, means=zeros, scales=ones, coefficients=weights, intercept=0.0)


def at(value: float | None) -> Threshold:
    return Threshold(value=value, target=0.9, confidence=0.95, bound=value, coverage=0.5, groups=100)


@pytest.fixture
def policy() -> AnswerPolicy:
    return AnswerPolicy(
        first_right=reads("top_score"),
        among_results=reads("lead"),
        subspace_right=reads("routing_confidence"),
        trust=at(0.9),
        check_from=0.8,
        ask_below=0.7,
        narrow_margin=-6.0,
        unfamiliar=0.3,
        fine_norm_quantiles=tuple(np.linspace(0, 1, 101).tolist()),
    )


def rows(**columns: float) -> np.ndarray:
    """One row of features, calm unless told otherwise: [1, F]."""
    calm = {"known_similarity": 0.9, "margin": 0.0, "has_steering": 1.0, "fine_norm": 0.5}
    return np.array([[(calm | columns).get(name, 0.0) for name in FEATURES]])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 400), st.data(), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_bound_is_that_of_the_exact_binomial_test(trials: int, data: st.DataObject, confidence: float):
    successes = data.draw(st.integers(0, trials))
    exact = binomtest(successes, trials, alternative="greater").proportion_ci(confidence, method="exact").low
    assert precision_bound(successes, trials, confidence=confidence) == pytest.approx(exact, abs=1e-9)


def test_thresholds_keep_their_promise_on_all_but_one_in_twenty_validation_sets():
    rng = np.random.default_rng(5)
    broken = 0
    for _ in range(300):
        stated = rng.random(400)
        threshold = precision_threshold(stated, rng.random(400) < stated, np.arange(400), target=0.8)
        # Where probabilities are uniform and honest, precision above t is (1 + t) / 2.
        broken += threshold.value is not None and (1 + threshold.value) / 2 < 0.8
    assert broken <= 0.05 * 300


def test_one_unlucky_question_among_the_surest_does_not_end_the_search():
    event = np.ones(400, dtype=bool)
    event[[395, 397]] = False
    threshold = precision_threshold(np.linspace(0.5, 1, 400), event, np.arange(400), target=0.9)
    assert threshold.coverage == 1.0


def test_the_threshold_is_not_needlessly_strict():
    stated = np.random.default_rng(0).random(20_000)
    event = np.random.default_rng(1).random(20_000) < stated
    threshold = precision_threshold(stated, event, np.arange(20_000), target=0.8)
    # The truth is 0.6, which covers 0.4; the tested sets grow by half, so the largest that passes may be a third less.
    assert 0.4 / 1.5 * 0.95 < threshold.coverage < 0.41


def test_repeating_every_question_promises_no_more():
    rng = np.random.default_rng(2)
    stated = rng.random(400)
    event = rng.random(400) < stated
    once = precision_threshold(stated, event, np.arange(400), target=0.8)
    often = precision_threshold(np.repeat(stated, 8), np.repeat(event, 8), np.repeat(np.arange(400), 8), target=0.8)
    assert often == once


def test_a_promise_that_no_set_keeps_gives_no_threshold():
    stated = np.linspace(0, 1, 300)
    threshold = precision_threshold(stated, np.arange(300) % 2 == 0, np.arange(300), target=0.9)
    assert (threshold.value, threshold.bound, threshold.coverage) == (None, None, 0.0)
    assert not threshold.reached(np.array([1.0])).any()


def test_few_questions_cannot_make_a_promise_however_right_they_are():
    assert precision_threshold(np.full(20, 0.99), np.ones(20, dtype=bool), np.arange(20), target=0.9).value is None


@pytest.mark.parametrize(("target", "confidence"), [(1.0, 0.95), (0.9, 0.0)])
def test_targets_and_confidences_must_be_possible(target: float, confidence: float):
    with pytest.raises(ValueError, match=r"in \(0, 1\)"):
        precision_threshold([0.5], np.array([True]), [0], target=target, confidence=confidence)


def test_a_threshold_wants_as_many_events_as_probabilities():
    with pytest.raises(ValueError, match=r"\[2\], \[1\] and \[2\]"):
        precision_threshold([0.5, 0.6], np.array([True]), [0, 1], target=0.9)


@pytest.mark.parametrize(
    ("columns", "signal"),
    [
        ({"top_score": 3.0, "lead": -3.0, "routing_confidence": -3.0}, ActionableSignal.TRUST),
        ({"top_score": 0.0, "lead": 3.0, "routing_confidence": -3.0, "has_steering": 0.0}, ActionableSignal.ASK),
        ({"top_score": 0.0, "lead": 3.0, "routing_confidence": -3.0, "has_steering": 1.0}, ActionableSignal.CHECK),
        ({"top_score": 0.0, "lead": 0.0, "routing_confidence": -3.0, "has_steering": 1.0}, ActionableSignal.ABSTAIN),
        ({"top_score": 0.0, "lead": 3.0, "routing_confidence": 3.0}, ActionableSignal.CHECK),
        ({"top_score": 0.0, "lead": 0.0, "routing_confidence": 3.0}, ActionableSignal.ABSTAIN),
    ],
)
def test_the_signal_follows_the_first_threshold_that_decides(
    policy: AnswerPolicy, columns: dict[str, float], signal: ActionableSignal
):
    assert policy.decide(rows(**columns)).signals == (signal,)


def test_without_a_trust_threshold_nothing_is_trusted(policy: AnswerPolicy):
    cautious = policy.model_copy(update={"trust": at(None)})
    assert cautious.decide(rows(top_score=50.0, lead=9.0, routing_confidence=9.0)).signals == (ActionableSignal.CHECK,)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"has_steering": 0.0}, Reason.STEERING_MISSING),
        ({"dispute": 0.2}, Reason.STEERING_DISPUTED),
        ({"margin": -7.0}, Reason.NARROW_MARGIN),
        ({"fine_norm": 0.97}, Reason.ATYPICAL),
        ({"known_similarity": 0.1}, Reason.UNFAMILIAR),
        ({"routing_confidence": -1.0}, Reason.SUBSPACE_UNCERTAIN),
    ],
)
def test_a_reason_is_given_where_it_holds_and_only_there(
    policy: AnswerPolicy, columns: dict[str, float], reason: Reason
):
    calm = {"routing_confidence": 5.0}
    assert reason in policy.decide(rows(**(calm | columns))).reasons[0]
    assert reason not in policy.decide(rows(**calm)).reasons[0]


def test_a_dispute_needs_steering(policy: AnswerPolicy):
    reasons = policy.decide(rows(dispute=0.5, has_steering=0.0)).reasons[0]
    assert Reason.STEERING_DISPUTED not in reasons


def test_atypicality_is_the_quantile_among_validation_predictions(policy: AnswerPolicy):
    assert policy.decide(rows(fine_norm=0.25)).atypicality.tolist() == pytest.approx([0.25])
    assert policy.decide(rows(fine_norm=9.0)).atypicality.tolist() == [1.0]


@pytest.fixture(scope="module")
def fitted() -> tuple[AnswerPolicy, np.ndarray, Outcomes]:
    """A policy fitted to half of a world in which three features decide, with the other half."""
    rng = np.random.default_rng(7)
    features = rng.normal(size=(4_000, len(FEATURES)))
    features[:, FEATURES.index("has_steering")] = rng.random(4_000) < 0.7
    first = rng.random(4_000) < 1 / (1 + np.exp(-2.5 * features[:, 0]))
    among = first | (rng.random(4_000) < 1 / (1 + np.exp(-3 * features[:, 2])))
    subspace = rng.random(4_000) < 1 / (1 + np.exp(-1 - 2 * features[:, 3]))
    outcomes = Outcomes(first, among, subspace)
    half = Outcomes(first[:2_000], among[:2_000], subspace[:2_000])
    rest = Outcomes(first[2_000:], among[2_000:], subspace[2_000:])
    assert len(outcomes.first_right) == 4_000
    return fit_policy(features[:2_000], half, np.arange(2_000)), features[2_000:], rest


def test_trusted_answers_of_other_questions_are_right_nine_times_in_ten(
    fitted: tuple[AnswerPolicy, np.ndarray, Outcomes],
):
    policy, features, outcomes = fitted
    report = {row.signal: row for row in report_signals(policy.decide(features).signals, outcomes)}
    trusted = report[ActionableSignal.TRUST]
    assert trusted.first_right >= 0.9
    assert trusted.share > 0.1
    assert report[ActionableSignal.CHECK].among_results > 0.5 > report[ActionableSignal.ABSTAIN].among_results
    assert report[ActionableSignal.ASK].subspace_right < report[ActionableSignal.CHECK].subspace_right
    assert report[ActionableSignal.ASK].subspace_right < 0.5


def test_every_signal_is_given_and_the_shares_sum_to_one(fitted: tuple[AnswerPolicy, np.ndarray, Outcomes]):
    policy, features, outcomes = fitted
    report = report_signals(policy.decide(features).signals, outcomes)
    assert all(row.count for row in report)
    assert sum(row.share for row in report) == pytest.approx(1.0)


@pytest.mark.parametrize(("right", "signal"), [(True, ActionableSignal.TRUST), (False, ActionableSignal.ASK)])
def test_validation_without_a_difference_trusts_everything_or_nothing(right: bool, signal: ActionableSignal):
    features = np.random.default_rng(0).normal(size=(200, len(FEATURES)))
    features[:, FEATURES.index("has_steering")] = 0
    always = np.full(200, right)
    policy = fit_policy(features, Outcomes(always, always, always), np.arange(200))
    assert set(policy.decide(features).signals) == {signal}


def test_the_report_counts_what_came_true():
    signals = [ActionableSignal.TRUST, ActionableSignal.TRUST, ActionableSignal.ASK]
    outcomes = Outcomes(np.array([True, False, False]), np.array([True, True, False]), np.array([True, False, False]))
    trust, check, ask, abstain = report_signals(signals, outcomes)
    assert (trust.count, trust.first_right, trust.among_results, trust.subspace_right) == (2, 0.5, 1.0, 0.5)
    interval = binomtest(1, 2).proportion_ci(method="exact")
    assert trust.bounds == pytest.approx((interval.low, interval.high))
    assert (ask.count, ask.share, ask.first_right) == (1, pytest.approx(1 / 3), 0.0)
    assert check.count == abstain.count == 0
    assert np.isnan(check.first_right)
    assert check.bounds == (0.0, 1.0)


def test_a_report_wants_one_outcome_for_each_signal():
    none = np.zeros(2, dtype=bool)
    with pytest.raises(ValueError, match="1 signals do not fit 2"):
        report_signals([ActionableSignal.ASK], Outcomes(none, none, none))


def test_a_saved_policy_decides_the_same(tmp_path: Path, fitted: tuple[AnswerPolicy, np.ndarray, Outcomes]):
    policy, features, _ = fitted
    write_policy(tmp_path / "policy.json", policy)
    again = read_policy(tmp_path / "policy.json")
    assert again == policy
    assert np.array_equal(again.decide(features).confidence, policy.decide(features).confidence)


def test_a_failed_write_leaves_the_old_policy(tmp_path: Path, policy: AnswerPolicy, monkeypatch: pytest.MonkeyPatch):
    write_policy(tmp_path / "policy.json", policy)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_policy(tmp_path / "policy.json", policy.model_copy(update={"unfamiliar": 0.9}))
    assert read_policy(tmp_path / "policy.json") == policy
    assert [path.name for path in tmp_path.iterdir()] == ["policy.json"]


def test_a_damaged_policy_is_named_with_its_field(tmp_path: Path, policy: AnswerPolicy):
    path = tmp_path / "policy.json"
    path.write_text(policy.model_dump_json().replace('"narrow_margin":-6.0', '"narrow_margin":"wide"'))
    with pytest.raises(ValueError, match=r"policy\.json, field 'narrow_margin'.*fit the policy again"):
        read_policy(path)


def test_a_policy_for_other_features_is_refused(tmp_path: Path, policy: AnswerPolicy):
    path = tmp_path / "policy.json"
    path.write_text(policy.model_dump_json().replace('"top_score"', '"bottom_score"', 1))
    with pytest.raises(ValueError, match=r"field 'first_right': fitted to features bottom_score"):
        read_policy(path)
