"""How a module's residual is blended into the host besides plain addition: the operators and their pullbacks.

All are the identity where the residual is zero. Axes: n modules, D channels, B samples, S tokens. Knows nothing about
modules, stages or alpha.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from sightline.tamiyo_policy.hosts.slots import Operator

BlendPullback: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Gradient of the result -> gradients of residual and input [n, D, B, S], and of the gate [n, D + 1]."""


def blend(operator: Operator, residual: Tensor, x: Tensor, gate: Tensor) -> tuple[Tensor, BlendPullback]:
    """The residual as an operator lets it pass: x tanh(r) for MULTIPLY, g(x) r for GATE, g learned per sample.

    Args:
        operator: MULTIPLY or GATE.
        residual: [n, D, B, S].
        x: [n, D, B, S], what the module reads.
        gate: [n, D + 1], weight and bias of g; of no effect on MULTIPLY.

    Returns:
        [n, D, B, S] and its pullback.

    Raises:
        ValueError: for another operator.
    """
    if operator == Operator.MULTIPLY:
        return _multiply(residual, x, gate)
    if operator == Operator.GATE:
        return _gate(residual, x, gate)
    raise ValueError(f"{operator!r} does not change a residual")


def _multiply(residual: Tensor, x: Tensor, gate: Tensor) -> tuple[Tensor, BlendPullback]:
    bounded = torch.tanh(residual)

    def pullback(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return gradient * x * (1 - bounded.square()), gradient * bounded, torch.zeros_like(gate)

    return x * bounded, pullback


def _gate(residual: Tensor, x: Tensor, gate: Tensor) -> tuple[Tensor, BlendPullback]:
    weight, bias = gate[:, :-1, None], gate[:, -1:]
    pooled = x.mean(3)
    share = torch.sigmoid((weight * pooled).sum(1) + bias)[:, None, :, None]

    def pullback(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        of_share = (gradient * residual).sum((1, 3), keepdim=True)
        of_sum = (of_share * share * (1 - share)).squeeze(3)
        of_gate = torch.cat([(of_sum * pooled).sum(2), of_sum.sum(2)], dim=1)
        of_x = (weight * of_sum / x.shape[3]).unsqueeze(3).expand_as(x)
        return gradient * share, of_x, of_gate

    return share * residual, pullback
