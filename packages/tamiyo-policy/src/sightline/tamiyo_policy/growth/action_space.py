"""The heads with which networks are grown."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sightline.tamiyo_policy.hosts.operations import (
    NUM_BLUEPRINTS,
    AlphaCurve,
    AlphaSpeed,
    AlphaTarget,
    Op,
    Style,
    Tempo,
)
from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace

_GROWTH_HEADS: Mapping[str, tuple[int, frozenset[Op]]] = {
    "blueprint": (0, frozenset({Op.GERMINATE})),
    "style": (Style.SIGMOID_ADD, frozenset({Op.GERMINATE, Op.SET_ALPHA_TARGET})),
    "tempo": (Tempo.STANDARD, frozenset({Op.GERMINATE})),
    "alpha_target": (AlphaTarget.FULL, frozenset({Op.GERMINATE, Op.SET_ALPHA_TARGET})),
    "alpha_speed": (AlphaSpeed.INSTANT, frozenset({Op.SET_ALPHA_TARGET, Op.PRUNE})),
    "alpha_curve": (AlphaCurve.LINEAR, frozenset({Op.SET_ALPHA_TARGET, Op.PRUNE})),
}
"""Placeholder of each head between slot and op, and the operations that use it."""


def growth_action_space(num_slots: int, num_blueprints: int = NUM_BLUEPRINTS) -> FactoredActionSpace:
    """Return the eight heads with which networks are grown.

    Args:
        num_slots: K, size of the slot head.
        num_blueprints: size of the blueprint head.

    Returns:
        Heads slot, blueprint, style, tempo, alpha_target, alpha_speed, alpha_curve and op, in this order. WAIT uses no
        head but op; every other operation uses the slot too.

    Raises:
        ValueError: no slots, or no blueprints.
    """
    names = ("slot", *_GROWTH_HEADS, "op")
    sizes = (num_slots, num_blueprints, len(Style), len(Tempo), len(AlphaTarget), len(AlphaSpeed), len(AlphaCurve))
    relevance = torch.zeros(len(Op), len(names), dtype=torch.bool)
    relevance[:, -1] = True
    relevance[Op.WAIT + 1 :, 0] = True
    for head, (_, operations) in enumerate(_GROWTH_HEADS.values(), start=1):
        relevance[sorted(operations), head] = True
    placeholder = torch.tensor([0, *(int(choice) for choice, _ in _GROWTH_HEADS.values()), int(Op.WAIT)])
    return FactoredActionSpace(names, (*sizes, len(Op)), len(names) - 1, relevance, placeholder, slot_head=0)


def waiting(num_envs: int, space: FactoredActionSpace) -> Tensor:
    """Return actions int64 [E, 8] that do nothing.

    Args:
        num_envs: E.
        space: the eight heads.
    """
    actions = space.placeholder.expand(num_envs, -1).clone()
    actions[:, space.names.index("op")] = int(Op.WAIT)
    return actions
