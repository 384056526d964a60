"""Generalised advantage estimation over rows of steps, and the normalisation of advantages.

Knows tensors of rewards and values only: nothing about networks, buffers, heads or devices.
"""

from __future__ import annotations

import torch
from torch import Tensor

ADVANTAGE_DEVIATION_FLOOR = 0.1
"""Smallest divisor of normalised advantages, in units of the return scale: near-equal advantages stay small."""


def generalised_advantages(
    rewards: Tensor,
    values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    bootstrap_values: Tensor,
    *,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Return advantages by GAE(lambda) (Schulman et al. 2016, equation 16), each row an environment of its own.

    The value that follows a step is its own bootstrap value where the step was truncated and in the last column, else
    the value of the next column; it counts as zero where the step terminated, also if it was truncated at the same
    time. The sum over later steps stops at both kinds of ending, so no episode sees the next one.

    Args:
        rewards: [E, T] float.
        values: [E, T] float, of the states the actions were chosen in, in the unit of the rewards.
        terminated: [E, T] bool, the step ended its episode for good.
        truncated: [E, T] bool, the step was the last of its episode only because of a limit.
        bootstrap_values: [E, T] float, the value after the step; read at truncated steps and in the last column.
        gamma: discount per step.
        gae_lambda: weight of longer returns: 0 gives one-step errors, 1 gives whole returns.

    Returns:
        [E, T] float, advantages; added to `values` they are the targets of the critic.
    """
    following = torch.cat([values[:, 1:], bootstrap_values[:, -1:]], dim=1)
    following = torch.where(truncated, bootstrap_values, following)
    errors = rewards + gamma * following.masked_fill(terminated, 0.0) - values
    carries = (gamma * gae_lambda) * (~(terminated | truncated)).to(errors.dtype)
    carried = torch.zeros_like(errors[:, 0])
    backwards = []
    for error, carry in zip(reversed(errors.unbind(1)), reversed(carries.unbind(1)), strict=True):
        carried = torch.addcmul(error, carry, carried)
        backwards.append(carried)
    return torch.stack(backwards[::-1], dim=1)


def discounted_sums(rewards: Tensor, terminated: Tensor, truncated: Tensor, *, gamma: float) -> Tensor:
    """Return discounted rewards to the end of each episode or row, without any value estimate: [E, T].

    Args:
        rewards: [E, T] float.
        terminated: [E, T] bool.
        truncated: [E, T] bool.
        gamma: discount per step.
    """
    zeros = torch.zeros_like(rewards)
    return generalised_advantages(rewards, zeros, terminated, truncated, zeros, gamma=gamma, gae_lambda=1.0)


def normalise_advantages(advantages: Tensor, learnable: Tensor) -> Tensor:
    """Return advantages with mean 0 and population standard deviation 1 over the learnable steps, others scaled alike.

    Args:
        advantages: [E, T] float, in units of the return scale, so that the floor of the divisor has no unit.
        learnable: [E, T] bool, the steps that count for mean and deviation; with none, all come back as zero.

    Returns:
        [E, T] float; the divisor is at least `ADVANTAGE_DEVIATION_FLOOR`.
    """
    counted = advantages[learnable]
    if counted.numel() == 0:
        return torch.zeros_like(advantages)
    deviation = counted.std(correction=0).clamp(min=ADVANTAGE_DEVIATION_FLOOR)
    return (advantages - counted.mean()) / deviation
