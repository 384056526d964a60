from typing import Any

import pytest
import torch

from sightline.tamiyo_policy.growth.action_space import growth_action_space
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace


def test_growth_heads_come_in_the_documented_order_and_size():
    space = growth_action_space(3)
    assert space.names == ("slot", "blueprint", "style", "tempo", "alpha_target", "alpha_speed", "alpha_curve", "op")
    assert space.sizes == (3, 13, 4, 3, 3, 4, 5, 6)
    assert (space.op_head, space.slot_head) == (7, 0)


def test_each_operation_uses_the_heads_of_the_specification():
    space = growth_action_space(3)
    used = {
        Op.WAIT: "op",
        Op.GERMINATE: "op slot blueprint style tempo alpha_target",
        Op.SET_ALPHA_TARGET: "op slot style alpha_target alpha_speed alpha_curve",
        Op.PRUNE: "op slot alpha_speed alpha_curve",
        Op.FOSSILIZE: "op slot",
        Op.ADVANCE: "op slot",
    }
    for op, heads in used.items():
        relevant = {name for name, uses in zip(space.names, space.relevance[op].tolist(), strict=True) if uses}
        assert relevant == set(heads.split())


def test_slots_are_masked_by_operation_and_other_heads_once():
    assert growth_action_space(3).mask_shapes == {
        "slot_by_op": (6, 3),
        "blueprint": (13,),
        "style": (4,),
        "tempo": (3,),
        "alpha_target": (3,),
        "alpha_speed": (4,),
        "alpha_curve": (5,),
        "op": (6,),
    }


def test_columns_and_names_are_inverses():
    space = growth_action_space(2)
    actions = torch.randint(0, 2, (4, 5, 8), generator=torch.Generator().manual_seed(0))
    named = space.by_name(actions)
    assert torch.equal(named["op"], actions[..., 7])
    assert torch.equal(space.columns(named), actions)


def test_a_missing_and_an_unknown_head_are_named():
    space = FactoredActionSpace.independent(("left", "right"), (2, 2))
    with pytest.raises(ValueError, match=r"missing: \['right'\], unknown: \['up'\]"):
        space.columns({"left": torch.zeros(1), "up": torch.zeros(1)})


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ("op", "op")},
        {"sizes": (2, 0)},
        {"op_head": 2},
        {"slot_head": 1},
        {"relevance": torch.ones(3, 2, dtype=torch.bool)},
        {"relevance": torch.tensor([[True, False], [True, True]])},
        {"placeholder": torch.tensor([2, 0])},
    ],
)
def test_contradictory_spaces_are_refused(changes):
    parts: dict[str, Any] = {
        "names": ("part", "op"),
        "sizes": (2, 2),
        "op_head": 1,
        "relevance": torch.tensor([[False, True], [True, True]]),
        "placeholder": torch.tensor([0, 0]),
    }
    FactoredActionSpace(**parts)
    with pytest.raises(ValueError, match=r"must|needs"):
        FactoredActionSpace(**{**parts, **changes})
