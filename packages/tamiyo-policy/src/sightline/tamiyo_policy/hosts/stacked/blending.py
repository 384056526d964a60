"""How a module's residual is blended into the host: the operators, and the share of a seed that only learns.

Everything is the identity where the residual is zero. Axes: n modules, D channels, B samples, S tokens. Knows nothing
about modules or stages.
"""

import torch
from torch import Tensor

from sightline.tamiyo_policy.hosts.slots import Operator


def blend(operator: Operator, residual: Tensor, x: Tensor, gate: Tensor) -> Tensor:
    """Return what an operator lets pass of a residual: x tanh(r) for MULTIPLY, g(x) r for GATE, g learned per sample.

    Args:
        operator: MULTIPLY or GATE.
        residual: [n, D, B, S].
        x: [n, D, B, S], what the module reads.
        gate: [n, D + 1], weight and bias of g; of no effect on MULTIPLY.

    Returns:
        [n, D, B, S].

    Raises:
        ValueError: for another operator.
    """
    if operator == Operator.MULTIPLY:
        return x * torch.tanh(residual)
    if operator == Operator.GATE:
        weight, bias = gate[:, :-1, None], gate[:, -1:]
        return torch.sigmoid((weight * x.mean(3)).sum(1) + bias)[:, None, :, None] * residual
    raise ValueError(f"{operator!r} does not change a residual")


def hide(residual: Tensor) -> Tensor:
    """Return zeros that pass their gradient on to a residual [n, D, B, S], so that it learns without any effect.

    They are zeros also where the residual is not finite, and no gradient passes there.
    """
    return (residual - residual.detach()).nan_to_num()
