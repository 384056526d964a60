import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.tamiyo_policy.hosts.alpha import advance_ramps, begin_ramp, curve_value, time_to_target
from sightline.tamiyo_policy.hosts.operations import AlphaCurve
from sightline.tamiyo_policy.hosts.slots import AlphaMode, SlotStates

HERE = torch.ones(1, 1, dtype=torch.bool)
CURVES = st.sampled_from(list(AlphaCurve))


def slow_curve(time: float, curve: AlphaCurve) -> float:
    if curve == AlphaCurve.LINEAR:
        return time
    if curve == AlphaCurve.COSINE:
        return (1 - math.cos(math.pi * time)) / 2
    steepness = {AlphaCurve.SIGMOID_GENTLE: 6, AlphaCurve.SIGMOID: 12, AlphaCurve.SIGMOID_SHARP: 24}[curve]
    low, value, high = (1 / (1 + math.exp(-steepness * (t - 0.5))) for t in (0, time, 1))
    return (value - low) / (high - low)


@settings(max_examples=50, deadline=None)
@given(time=st.floats(0, 1), curve=CURVES)
def test_curves_follow_their_formulas(time: float, curve: AlphaCurve) -> None:
    value = curve_value(torch.tensor(time), torch.tensor(int(curve)))
    assert value.item() == pytest.approx(slow_curve(time, curve), abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(start=st.floats(0, 1, width=32), target=st.floats(0, 1, width=32), steps=st.integers(0, 9), curve=CURVES)
def test_a_ramp_is_monotone_and_ends_exactly_at_its_target_on_time(
    start: float, target: float, steps: int, curve: AlphaCurve
) -> None:
    states = SlotStates.empty(1, 1).update(HERE, alpha=start, curve=int(curve))
    states = begin_ramp(states, HERE, target=target, steps=torch.tensor(steps))
    values = [start, states.alpha.item()]
    for left in range(int(time_to_target(states)), 0, -1):
        assert time_to_target(states).item() == left
        states = advance_ramps(states)
        values.append(states.alpha.item())
    assert states.alpha_mode.item() == AlphaMode.HOLD
    assert values[-1] == states.alpha_target.item() == target
    ordered = sorted(values, reverse=target < start)
    assert values == pytest.approx(ordered, abs=1e-6)
    assert len(values) - 2 == (0 if start == target else steps)


def test_a_ramp_of_no_steps_is_over_at_once() -> None:
    states = begin_ramp(SlotStates.empty(1, 1), HERE, target=0.7, steps=torch.tensor(0))
    assert (states.alpha.item(), states.alpha_mode.item()) == (pytest.approx(0.7), AlphaMode.HOLD)


def test_a_ramp_cannot_be_turned_midway() -> None:
    states = begin_ramp(SlotStates.empty(1, 1), HERE, target=1.0, steps=torch.tensor(3))
    with pytest.raises(ValueError, match="stands still"):
        begin_ramp(states, HERE, target=0.0, steps=torch.tensor(3))


def test_alpha_that_stands_still_is_left_alone() -> None:
    states = SlotStates.empty(1, 1).update(HERE, alpha=0.3, alpha_target=1.0)
    assert advance_ramps(states).alpha.item() == pytest.approx(0.3)
