"""Which actions are legal in which state, as the masks that the policy's heads take.

True means legal. The module knows the rules of `lifecycle`, and neither the network nor the reward.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sightline.tamiyo_policy.hosts.config import LifecycleConfig
from sightline.tamiyo_policy.hosts.lifecycle import legal_slots
from sightline.tamiyo_policy.hosts.operations import AlphaCurve, AlphaSpeed, AlphaTarget, Op, Style, Tempo
from sightline.tamiyo_policy.hosts.slots import SlotStates


def legality_masks(states: SlotStates, config: LifecycleConfig, selectable_blueprints: Tensor) -> dict[str, Tensor]:
    """Return the masks of all heads; every head has at least one legal choice.

    Args:
        states: [E, K].
        config: the constants.
        selectable_blueprints: bool [blueprints] or [E, blueprints], what GERMINATE may put into a slot, and never noop;
            in a host for which there is nothing it is illegal, and its blueprint head has all choices.

    Returns:
        Bool [E, size] by the head's name, and for the slot head `"slot_by_op"` [E, ops, K], the slots of each
        operation; the row of an illegal operation is empty. Style and alpha target have a choice only where some slot
        can be germinated or retargeted; elsewhere their placeholder alone is legal.


    Raises:
        ValueError: no blueprint can be selected anywhere.
    """
    if selectable_blueprints.ndim == 1 and not bool(selectable_blueprints.any()):
        raise ValueError("no blueprint can be selected; name at least one that is not noop")
    num_environments = len(states.stage)
    selectable = selectable_blueprints.expand(num_environments, -1)
    something = selectable.any(1)
    slot_by_op = legal_slots(states, config)
    slot_by_op[:, Op.GERMINATE] &= something[:, None]
    legal_ops = slot_by_op.any(2)
    chooses = (legal_ops[:, Op.GERMINATE] | legal_ops[:, Op.SET_ALPHA_TARGET])[:, None]

    def every(size: int) -> Tensor:
        return torch.ones(num_environments, size, dtype=torch.bool, device=states.stage.device)

    def only(choice: int, size: int) -> Tensor:
        return torch.arange(size, device=states.stage.device) == choice

    return {
        "blueprint": selectable | ~something[:, None],
        "style": chooses | only(Style.SIGMOID_ADD, len(Style)),
        "tempo": every(len(Tempo)),
        "alpha_target": chooses | only(AlphaTarget.FULL, len(AlphaTarget)),
        "alpha_speed": every(len(AlphaSpeed)),
        "alpha_curve": every(len(AlphaCurve)),
        "op": legal_ops,
        "slot_by_op": slot_by_op,
    }
