"""The terms of the PPO objective, as functions of tensors [E, T, heads] and [E, T].

Knows nothing about networks, optimisers or buffers. Every mean is a weighted sum over a divisor given by the caller, so
that the average over the minibatches of an epoch is the value of the whole rollout, however rare a head is in one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LOG_RATIO_BOUND = 20.0


@dataclass(frozen=True)
class PolicyTerm:
    """The clipped surrogate and what it says about how far the policy has moved."""

    loss: Tensor
    """Scalar, to be minimised."""
    divergence: Tensor
    """Scalar, estimate of KL(old || new) per learnable step."""
    clip_fraction: Tensor
    """[groups], share of counted steps whose ratio left the clip range."""
    largest_ratio: Tensor
    """Scalar, over counted steps."""


def policy_term(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    divisors: Tensor,
    clip_range: float,
    *,
    joint: bool = False,
) -> PolicyTerm:
    """Return PPO's clipped surrogate (Schulman et al. 2017, equation 7), one ratio per head, summed over heads.

    Each head is averaged over the steps at which it mattered, so that a rare head weighs as much as a frequent one. The
    divergence is the estimator (r - 1) - ln r, never negative, of every head, weighted by how often the head mattered.

    Args:
        log_probs: [E, T, H] float32, under the current parameters.
        old_log_probs: [E, T, H] float32, under those that chose the actions.
        advantages: [E, T] float32, normalised.
        weights: [E, T, H] float32, 1 where a head mattered at a learnable step, else 0.
        divisors: [H] float32, steps counted per head; with `joint`, the largest of them counts the learnable steps.
        clip_range: distance from 1 that a ratio may have before its gradient is cut.
        joint: one ratio of the whole action, the product over heads, as a control.

    Returns:
        The term; its `clip_fraction` has one entry per head, or a single one with `joint`.
    """
    change = (log_probs - old_log_probs) * weights
    if joint:
        change = change.sum(-1, keepdim=True)
        weights = weights.amax(-1, keepdim=True)
        divisors = divisors.amax(-1, keepdim=True)
    divisors = divisors.clamp(min=1e-8)
    log_ratio = change.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    ratio = log_ratio.exp()
    gain = advantages.unsqueeze(-1)
    surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - clip_range, 1 + clip_range) * gain)
    loss = -((surrogate * weights).sum((0, 1)) / divisors).sum()
    with torch.no_grad():
        divergence = ((ratio - 1 - log_ratio) * weights).sum() / divisors.amax()
        clipped = ((ratio - 1).abs() > clip_range).to(weights.dtype) * weights
        clip_fraction = clipped.sum((0, 1)) / divisors
        largest = (ratio * weights).amax()
    return PolicyTerm(loss, divergence, clip_fraction, largest)


def weighted_mean(values: Tensor, weights: Tensor, divisor: Tensor) -> Tensor:
    """Return the sum of `values` x `weights`, both of one shape, over `divisor` (a scalar, at least 1e-8)."""
    return (values * weights).sum() / divisor.clamp(min=1e-8)


def explained_variance(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return 1 - variance of the error / variance of the targets, for vectors [N]; 0 for targets without spread."""
    spread = targets.var(correction=0)
    if not bool(spread > 1e-12):
        return torch.zeros_like(spread)
    return 1 - (targets - predictions).var(correction=0) / spread
