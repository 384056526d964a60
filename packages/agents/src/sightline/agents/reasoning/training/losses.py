"""Losses of one segment, each [B]: of the cells, of halting, of the number of segments.

Nothing here averages over the batch; the trainer does.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sightline.agents.reasoning.models.heads import Output


class CellObjective:
    """Every cell should have its token, those that are given too; an answer is right when all do.

    Without a loss on the given cells nothing is learnt for minutes: digits are exchangeable, and copying is what first
    gives them a meaning.
    """

    def __init__(self, *, stablemax: bool = False) -> None:
        """Choose the cross-entropy.

        Args:
            stablemax: take the stable-max in float64 in place of the softmax.
        """
        self.stablemax = stablemax

    def loss(self, output: Output, targets: dict[str, Tensor]) -> Tensor:
        """Return the mean cross-entropy over each puzzle's cells, [B]."""
        cells, logits = targets["cells"], output.logits.transpose(1, 2)
        if self.stablemax:
            chances = log_stablemax(logits, dim=1)
            return functional.nll_loss(chances, cells, reduction="none").mean(dim=1).to(logits.dtype)
        return functional.cross_entropy(logits, cells, reduction="none").mean(dim=1)

    def measure(self, output: Output, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `right`, bool [B], and `cell_accuracy`, [B]."""
        hit = output.logits.argmax(dim=-1) == targets["cells"]
        return {"right": hit.all(dim=1), "cell_accuracy": hit.double().mean(dim=1)}


class PolicyValueObjective:
    """A distribution over actions and an expected outcome; an answer is right when its best action is the target's."""

    def __init__(self, *, value_weight: float = 1.0) -> None:
        """Choose the weight of the value's squared error beside the policy's cross-entropy."""
        self.value_weight = value_weight

    def loss(self, output: Output, targets: dict[str, Tensor]) -> Tensor:
        """Return cross-entropy with `policy`, [B, A], and squared error of `value`, [B], added up, [B]."""
        policy = functional.cross_entropy(output.logits, targets["policy"], reduction="none")
        return policy + self.value_weight * (_value(output) - targets["value"]).square()

    def measure(self, output: Output, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `right`, bool [B], and `value_error`, [B], the absolute error of the value."""
        right = output.logits.argmax(dim=-1) == targets["policy"].argmax(dim=-1)
        return {"right": right, "value_error": (_value(output) - targets["value"]).abs()}


def _value(output: Output) -> Tensor:
    if output.value is None:
        raise ValueError("the model has no value; set actions in its configuration")
    return output.value


def log_stablemax(logits: Tensor, dim: int) -> Tensor:
    """Return the logarithm of s(x) / sum s(x), s(x) = x + 1 above zero and 1 / (1 - x) below, in float64.

    It grows linearly where the exponential explodes, so that gradients do not vanish once an answer is sure
    (arXiv 2501.04697); in half precision its small values would overflow the logarithm.
    """
    wide = logits.double()
    # The branch not taken is kept away from its pole, or its gradient would be NaN times zero.
    values = torch.where(wide >= 0, wide + 1, 1 / (1 - wide.clamp(max=0)))
    return values.log() - values.sum(dim=dim, keepdim=True).log()


def halting_loss(halt: Tensor, right: Tensor) -> Tensor:
    """Return the binary cross-entropy of the halting logit with whether the answer is right, [B]."""
    return functional.binary_cross_entropy_with_logits(halt, right.to(halt.dtype), reduction="none")


def continue_loss(proceed: Tensor, following: Output, last: Tensor) -> Tensor:
    """Return the loss of the logit of going on, [B], as HRM learns it (arXiv 2506.21734, equation 9).

    Args:
        proceed: its logit now, [B].
        following: what the model says after the next segment, without a graph.
        last: bool [B], whether the next segment is the last that is allowed, where halting is all that is left.
    """
    if following.proceed is None:
        raise ValueError("the model has no logit of going on; set continue_head in its configuration")
    best = torch.where(last, following.halt, torch.maximum(following.halt, following.proceed))
    return functional.binary_cross_entropy_with_logits(proceed, best.sigmoid().detach(), reduction="none")


def ponder_cost(halt: Tensor, survival: Tensor) -> tuple[Tensor, Tensor]:
    """Return this segment's part of the expected number of segments, and the chance of having gone on so far.

    With h_k = sigmoid(q_k), S_k = (1 - h_0) ... (1 - h_k), the expected number of segments after the first is the sum
    of all S_k. Each segment adds its own with the earlier factors as constants: less of it means halting sooner.

    Args:
        halt: logits, [B].
        survival: S of the segment before, [B], 1 at the first.

    Returns:
        S_k with the graph of h_k, [B], and the same without any.
    """
    gone_on = survival * (-halt).sigmoid()
    return gone_on, gone_on.detach()
