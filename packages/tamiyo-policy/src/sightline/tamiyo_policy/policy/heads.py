"""Perceptrons that read the recurrent features: plain heads, and heads conditioned on operation and slot.

The module knows nothing about distributions, masks or losses. `...` stands for batch axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from sightline.tamiyo_policy.policy.contexts import Context
from sightline.tamiyo_policy.policy.recurrence import initialise_linear


def perceptron(
    widths: Sequence[int], *, last_gain: float, normalised: int = 0, generator: torch.Generator | None = None
) -> nn.Sequential:
    """Return linear layers with ReLU between them, orthogonal with gain sqrt(2), the last with its own gain.

    Args:
        widths: input, hidden and output widths.
        last_gain: gain of the last layer; small for policies, which then begin near uniform (Andrychowicz et al. 2021).
        normalised: number of hidden layers, from the first, that have a LayerNorm before the ReLU.
        generator: draws the weights; None is torch's default.

    Returns:
        A module from [..., widths[0]] to [..., widths[-1]].
    """
    layers: list[nn.Module] = []
    last = len(widths) - 2
    for index, (before, after) in enumerate(pairwise(widths)):
        layer = nn.Linear(before, after)
        initialise_linear(layer, last_gain if index == last else 2**0.5, generator)
        layers.append(layer)
        if index < last:
            layers += [nn.LayerNorm(after), nn.ReLU()] if index < normalised else [nn.ReLU()]
    return nn.Sequential(*layers)


class ConditionedHead(nn.Module):
    """Logits of one head for each context it can be drawn in.

    The first layer's pre-activation is shifted by a vector for the operation and, where the context has a slot, by a
    linear function of that slot's features; the rest is shared by all contexts.

    Args:
        widths: features, hidden widths (at least one) and number of choices.
        contexts: the head's C contexts.
        num_ops: number of operations.
        slot_features: F, features of a slot.
        generator: draws the weights; None is torch's default.
    """

    op_index: Tensor
    slot_index: Tensor
    has_slot: Tensor

    def __init__(
        self,
        widths: Sequence[int],
        contexts: Sequence[Context],
        *,
        num_ops: int,
        slot_features: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.features = nn.Linear(widths[0], widths[1])
        initialise_linear(self.features, 2**0.5, generator)
        self.operation = nn.Linear(num_ops, widths[1], bias=False)
        initialise_linear(self.operation, 2**0.5, generator)
        self.register_buffer("op_index", torch.tensor([context.ops[0] for context in contexts]), persistent=False)
        has_slot = [context.slot is not None for context in contexts]
        self.slot: nn.Linear | None = None
        if any(has_slot):
            self.slot = nn.Linear(slot_features, widths[1], bias=False)
            initialise_linear(self.slot, 2**0.5, generator)
        slots = [context.slot or 0 for context in contexts]
        self.register_buffer("slot_index", torch.tensor(slots), persistent=False)
        self.register_buffer("has_slot", torch.tensor(has_slot)[:, None], persistent=False)
        self.rest = nn.Sequential(nn.ReLU(), *perceptron(widths[1:], last_gain=0.01, generator=generator))

    def forward(self, features: Tensor, slots: Tensor) -> Tensor:
        """Return logits of all contexts.

        Args:
            features: [..., widths[0]].
            slots: [..., K, F].

        Returns:
            [..., C, choices].
        """
        shifted = self.features(features).unsqueeze(-2) + self.operation.weight.t()[self.op_index]
        if self.slot is not None:
            shifted = shifted + self.slot(slots).index_select(-2, self.slot_index) * self.has_slot
        return self.rest(shifted)
