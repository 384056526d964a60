from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.teachability import assign_quadrants, calibrate_thresholds
from sightline.teachability.labels import measure_depth, measure_uncertainty, read_thresholds, write_thresholds
from sightline.teachability.labels.quadrants import share_above
from sightline.teachability.records import Bound, LabelledSnapshot, Snapshot, ValueLabels, snapshot_id


def row(number: int, u: float, low: float, high: float, kind: str = "page") -> LabelledSnapshot:
    """A labelled snapshot whose two-action student has normalised entropy u."""
    grid = np.linspace(0.5, 1, 20001)
    entropies = -(grid * np.log2(grid) + (1 - grid) * np.log2(np.maximum(1 - grid, 1e-300)))
    p = float(grid[np.argmin(np.abs(entropies - u))])
    bound = Bound(low=low, high=high, estimate=(low + high) / 2, method="graph")
    return LabelledSnapshot(
        snapshot=Snapshot(
            id=snapshot_id(str(number).encode()),
            task=number,
            group=str(number),
            trajectory_id="t",
            step=0,
            state=base64.b64encode(str(number).encode()).decode(),
            instruction="",
            observation="",
            actions=("a", "b"),
            kind=kind,
            taken="a",
            reward_at_end=0.0,
            outcome="failure",
            mined_by="uniform",
            before_end=1,
        ),
        uncertainty=measure_uncertainty([p, 1 - p]),
        values=ValueLabels(
            V=bound, V_reward=bound, Q_teacher=bound, Q_taken=bound, L_local=bound, L_taken=bound, steps_left=3
        ),
    )


def test_a_planted_population_is_placed_right_and_wider_intervals_leave_more_undecided():
    generator = np.random.default_rng(0)
    u, lead = generator.random(400), generator.choice([0.0, 0.01, 0.2, 0.5], 400)
    undecided = []
    for width in (0.0, 0.04, 0.1, 0.3):
        centre = lead + generator.uniform(-width / 2, width / 2, 400)
        rows = [row(i, u[i], centre[i] - width / 2, centre[i] + width / 2) for i in range(400)]
        thresholds = calibrate_thresholds(rows[:100])
        placed = assign_quadrants(rows, thresholds)
        right = decided = 0
        for one, true_u, true_l in zip(placed, u, lead, strict=True):
            if one.quadrant == "undecided":
                continue
            decided += 1
            high_u, high_l = true_u >= thresholds.u, true_l >= 0.05
            right += one.quadrant == {(1, 1): "Q1", (1, 0): "Q2", (0, 0): "Q3", (0, 1): "Q4"}[high_u, high_l]
        assert right >= 0.95 * decided
        undecided.append(400 - decided)
    assert undecided == sorted(undecided)
    assert undecided[0] == 0 < undecided[-1]


def test_thresholds_come_from_the_calibration_rows_alone_and_never_move():
    calibration = [row(i, 0.1 * i, 0.1 * i, 0.1 * i) for i in range(11)]
    thresholds = calibrate_thresholds(calibration, l_rule="median")
    assert thresholds.u == pytest.approx(0.5, abs=1e-3)
    assert thresholds.l_local == pytest.approx(0.5)
    first = assign_quadrants([row(50, 0.6, 0.6, 0.6)], thresholds)[0].quadrant
    more = assign_quadrants([row(50, 0.6, 0.6, 0.6), *(row(i, 1.0, 0.9, 0.9) for i in range(60, 90))], thresholds)
    assert more[0].quadrant == first == "Q1"


def test_ties_count_as_high():
    thresholds = calibrate_thresholds([row(0, 0.5, 0.05, 0.05)])
    assert assign_quadrants([row(0, 0.5, 0.05, 0.05)], thresholds)[0].quadrant == "Q1"


def test_kinds_left_out_and_rows_without_values_have_no_quadrant():
    thresholds = calibrate_thresholds([row(0, 0.5, 0.1, 0.1), row(1, 1.0, 0.5, 0.5, kind="index")], leave_out={"index"})
    assert thresholds.snapshots == 1
    bare = row(3, 0.5, 0.1, 0.1).model_copy(update={"values": None})
    placed = assign_quadrants([row(2, 0.9, 0.9, 0.9, kind="index"), bare], thresholds, leave_out={"index"})
    assert [one.quadrant for one in placed] == [None, None]


def test_no_calibration_is_an_error():
    with pytest.raises(ValueError, match="none of 0 calibration snapshots"):
        calibrate_thresholds([])


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(-1, 1))
def test_the_share_above_is_that_of_uniform_draws(low, width, threshold):
    bound = Bound(low=low, high=low + width, estimate=low, method="graph")
    share = share_above(bound, threshold)
    if width > 1e-3:
        assert share == pytest.approx(float(np.clip((low + width - threshold) / width, 0, 1)), abs=1e-9)
    else:
        assert 0 <= share <= 1


def test_thresholds_read_back(tmp_path):
    thresholds = calibrate_thresholds([row(0, 0.5, 0.1, 0.1)])
    write_thresholds(tmp_path / "thresholds.json", thresholds)
    assert read_thresholds(tmp_path / "thresholds.json") == thresholds


def bounds(*pairs):
    return [None if p is None else Bound(low=p[0], high=p[1], estimate=p[0], method="graph") for p in pairs]


@pytest.mark.parametrize(
    ("path", "steps", "status"),
    [
        (bounds((0.9, 0.9), (0.6, 0.7)), 0, "observed"),
        (bounds((0.9, 0.9), (0.2, 0.3), (0.0, 0.1)), 2, "observed"),
        (bounds((0.1, 0.2), (0.2, 0.3)), 2, "censored"),
        (bounds((0.9, 0.9), (0.4, 0.6), (0.0, 0.1)), 1, "undecided"),
        (bounds((0.9, 0.9), None, (0.0, 0.1)), 1, "undecided"),
    ],
)
def test_depth_counts_back_to_the_last_moment_that_could_be_saved(path, steps, status):
    found = measure_depth(path)
    assert (found.steps, found.status) == (steps, status)
