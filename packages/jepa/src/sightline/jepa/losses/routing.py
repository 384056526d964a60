"""Losses that make a router name the right subspace, use all of them, and leave little to the fine part.

Each returns a dictionary like those of `losses.losses`. They need live tensors: what a `Decomposition` holds
after `DecomposedPredictor.forward` has gradients.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from sightline.jepa.losses.losses import LossParts


def routing_loss(logits: Tensor, category: Tensor) -> LossParts:
    """Compute the cross-entropy of the true source's category under the routing logits.

    Args:
        logits: `[B, K]`.
        category: `[B]` int64 in [0, K).

    Returns:
        `loss` and `accuracy`.
    """
    accuracy = (logits.argmax(dim=1) == category).float().mean()
    return {"loss": functional.cross_entropy(logits, category), "accuracy": accuracy.detach()}


def load_balance_loss(weights: Tensor) -> LossParts:
    """Compute 1 minus the normalised entropy of the batch-mean of routing weights: 0 if all subspaces share alike.

    It says nothing about single samples: each may be certain, as long as they differ.

    Args:
        weights: `[B, K]`, rows sum to 1, K >= 2.

    Returns:
        `loss` in [0, 1] and `entropy` of the mean, in nats.
    """
    entropy = _entropy(weights.mean(dim=0))
    return {"loss": 1 - entropy / math.log(weights.shape[1]), "entropy": entropy.detach()}


def routing_confidence_loss(weights: Tensor) -> LossParts:
    """Compute the mean normalised entropy of the samples' routing weights: 0 if each is routed to one subspace.

    Args:
        weights: `[B, K]`, rows sum to 1, K >= 2.

    Returns:
        `loss` in [0, 1] and the mean `entropy`, in nats.
    """
    entropy = _entropy(weights).mean()
    return {"loss": entropy / math.log(weights.shape[1]), "entropy": entropy.detach()}


def residual_penalty(fine: Tensor, margin: float) -> LossParts:
    """Compute the mean of `max(0, ||fine|| - margin)`.

    Args:
        fine: `[B, D]`.
        margin: length that costs nothing, in lengths of a centroid.

    Returns:
        `loss` and `length`, the mean length.

    Raises:
        ValueError: the margin is negative.
    """
    if margin < 0:
        raise ValueError(f"margin must not be negative, not {margin!r}")
    lengths = fine.norm(dim=1)
    return {"loss": functional.relu(lengths - margin).mean(), "length": lengths.mean().detach()}


def disentanglement_loss(weights: Tensor) -> LossParts:
    """Compute the mean squared correlation of two subspaces' routing weights over the batch.

    Correlations, not covariances: the latter vanish with the number of subspaces, whatever the router does. Weights
    that sum to 1 are negatively correlated, `-1 / (K - 1)` on average, which is the floor.

    Args:
        weights: `[B, K]`, rows sum to 1, K >= 2.

    Returns:
        `loss`, 0 for a batch of one.
    """
    count, subspaces = weights.shape
    if count < 2:
        return {"loss": weights.sum() * 0.0}
    centred = weights - weights.mean(dim=0)
    # A subspace that the batch does not use has no variance; 1e-6 makes its correlations 0 instead of undefined.
    scaled = centred / (centred.square().mean(dim=0) + 1e-6).sqrt()
    correlations = scaled.T @ scaled / count
    squares = correlations.square()
    return {"loss": (squares.sum() - squares.diagonal().sum()) / (subspaces * (subspaces - 1))}


def _entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy of the last axis, in nats; 0 log 0 = 0."""
    return -(probabilities * probabilities.clamp_min(1e-12).log()).sum(dim=-1)
