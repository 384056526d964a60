from __future__ import annotations

import numpy as np
import pytest
import torch

from sightline.agents.reasoning import TRM, Addition, Trace, TRMConfig, choose_threshold, trace_puzzles

RIGHT = np.array([[0, 1, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0]], dtype=np.bool_)
CONFIDENCE = np.array([[0.1, 0.9, 0.9], [0.6, 0.7, 0.95], [0.8, 0.9, 0.2], [0.1, 0.3, 0.2]], dtype=np.float32)
TRACE = Trace(RIGHT, CONFIDENCE)


def test_rates_are_shares_after_each_segment() -> None:
    np.testing.assert_allclose(TRACE.exact_rates(), [0.25, 0.5, 0.5])
    np.testing.assert_allclose(TRACE.first(2).exact_rates(), [0.25, 0.5])


@pytest.mark.parametrize(
    ("threshold", "steps", "right"),
    [(0.5, [2, 1, 1, 3], [1, 0, 1, 0]), (0.75, [2, 3, 1, 3], [1, 1, 1, 0]), (0.99, [3, 3, 3, 3], [1, 1, 0, 0])],
)
def test_each_puzzle_halts_at_its_first_segment_of_enough_confidence(
    threshold: float, steps: list[int], right: list[int]
) -> None:
    result = TRACE.halted(threshold)
    assert result.steps.tolist() == steps
    assert result.right.tolist() == [bool(value) for value in right]
    assert result.mean_steps == np.mean(steps)
    assert result.exact_rate == np.mean(right)


def test_the_most_confident_segment_answers() -> None:
    assert TRACE.most_confident().right.tolist() == [True, True, True, False]


def test_calibration_is_mean_and_binned_distance() -> None:
    trace = Trace(np.array([[1], [0], [1], [1]], dtype=np.bool_), np.array([[0.95], [0.91], [0.15], [0.18]]))
    calibration = trace.calibration()
    assert calibration.confidence == pytest.approx(0.5475)
    assert calibration.exact_rate == 0.75
    assert calibration.gap == pytest.approx(0.2025)
    assert calibration.expected_error == pytest.approx(0.5 * (0.93 - 0.5) + 0.5 * (1 - 0.165))


def test_the_threshold_is_the_cheapest_within_the_tolerance() -> None:
    rng = np.random.default_rng(0)
    first_right = rng.integers(0, 8, size=500)
    right = np.arange(8) >= first_right[:, None]
    # Overconfident: one half is passed two segments before the answer is right.
    confidence = 1 / (1 + np.exp(-(np.arange(8) - first_right[:, None] + 2.0)))
    trace = Trace(right, confidence.astype(np.float32))
    threshold = choose_threshold(trace, tolerance=0.01)
    chosen = trace.halted(threshold)
    assert chosen.exact_rate >= trace.exact_rates()[-1] - 0.01
    assert chosen.mean_steps < 8
    assert trace.halted(0.5).exact_rate < 0.5
    for level in np.linspace(0.01, 0.99, 99):
        other = trace.halted(float(level))
        assert other.exact_rate < trace.exact_rates()[-1] - 0.01 or other.mean_steps >= chosen.mean_steps - 0.05


def test_a_trace_judges_what_solving_answers() -> None:
    task = Addition(1)
    model = TRM(TRMConfig.for_task(task, width=16, layers=1)).double()
    with torch.no_grad():
        model.halt.weight.normal_(generator=torch.Generator().manual_seed(0))
    batch = task.sample(np.random.default_rng(0), 30)
    trace = trace_puzzles(model, task, batch, 4, batch_size=7)
    for steps in (1, 4):
        answers = model.solve(batch.inputs, max_steps=steps)
        best = trace.first(steps).most_confident()
        assert (answers.solved == best.right).all()
        np.testing.assert_allclose(answers.confidence, trace.confidence[:, :steps].max(axis=1), rtol=1e-5)
