"""Alpha, the share of a seed in the forward pass: ramps along a curve from one value to another.

A ramp moves once per epoch and ends exactly at its target. The functions know nothing of stages; which slots may begin
a ramp is decided in `lifecycle`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sightline.tamiyo_policy.hosts.operations import AlphaCurve
from sightline.tamiyo_policy.hosts.slots import AlphaMode, SlotStates

_STEEPNESS = {AlphaCurve.SIGMOID_GENTLE: 6.0, AlphaCurve.SIGMOID: 12.0, AlphaCurve.SIGMOID_SHARP: 24.0}


def curve_value(time: Tensor, curve: Tensor) -> Tensor:
    """Return how far a ramp has come: monotone, 0 at time 0 and 1 at time 1, for every curve.

    Linear is t, cosine (1 - cos(pi t)) / 2, a sigmoid the logistic of steepness 6, 12 or 24 about 1/2, scaled to meet
    both ends.

    Args:
        time: float [...] in [0, 1], the part of the ramp that is over.
        curve: int64 [...], an `AlphaCurve`.

    Returns:
        float [...].
    """
    value = torch.where(curve == AlphaCurve.COSINE, (1 - torch.cos(torch.pi * time)) / 2, time)
    for kind, steepness in _STEEPNESS.items():
        ends = torch.sigmoid(torch.tensor([-steepness / 2, steepness / 2]))
        logistic = (torch.sigmoid(steepness * (time - 0.5)) - float(ends[0])) / float(ends[1] - ends[0])
        value = torch.where(curve == kind, logistic, value)
    return value


def begin_ramp(states: SlotStates, at: Tensor, *, target: Tensor | float, steps: Tensor) -> SlotStates:
    """Start ramps from the present alpha; a ramp of 0 steps, or to where alpha already is, ends at once.

    Args:
        states: [E, K]; `curve` gives the shape. Alpha must stand still where a ramp begins.
        at: bool [E, K], where.
        target: float in [0, 1] that broadcasts to [E, K].
        steps: int64 that broadcasts to [E, K], epochs, not negative.

    Raises:
        ValueError: alpha is already moving in one of the slots: a ramp may not be turned midway.
    """
    if bool((at & (states.alpha_mode != AlphaMode.HOLD)).any()):
        raise ValueError("a ramp can only begin where alpha stands still; wait until the current ramp has ended")
    goal = torch.as_tensor(target, dtype=states.alpha.dtype, device=states.alpha.device)
    mode = torch.where(goal > states.alpha, AlphaMode.UP, AlphaMode.DOWN)
    instant = (steps == 0) | (goal == states.alpha)
    return states.update(
        at,
        alpha=torch.where(instant, goal, states.alpha),
        alpha_start=states.alpha,
        alpha_target=goal,
        alpha_mode=torch.where(instant, AlphaMode.HOLD, mode),
        alpha_steps_total=torch.where(instant, 0, steps),
        alpha_steps_done=0,
    )


def advance_ramps(states: SlotStates) -> SlotStates:
    """Move every ramp by one epoch, and end those that have arrived."""
    moving = states.alpha_mode != AlphaMode.HOLD
    done = states.alpha_steps_done + moving
    time = (done / states.alpha_steps_total.clamp(min=1)).clamp(max=1.0)
    way = states.alpha_target - states.alpha_start
    arrived = done >= states.alpha_steps_total
    alpha = torch.where(arrived, states.alpha_target, states.alpha_start + way * curve_value(time, states.curve))
    return states.update(
        moving,
        alpha=alpha,
        alpha_steps_done=done,
        alpha_mode=torch.where(arrived, AlphaMode.HOLD, states.alpha_mode),
    )


def time_to_target(states: SlotStates) -> Tensor:
    """Return int64 [E, K]: epochs until the current ramp ends, 0 where alpha stands still."""
    moving = states.alpha_mode != AlphaMode.HOLD
    return torch.where(moving, states.alpha_steps_total - states.alpha_steps_done, 0)
