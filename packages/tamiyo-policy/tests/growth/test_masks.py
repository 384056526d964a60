import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.tamiyo_policy.growth.action_space import growth_action_space
from sightline.tamiyo_policy.growth.masks import legality_masks
from sightline.tamiyo_policy.hosts.config import SCALED_LIFECYCLE
from sightline.tamiyo_policy.hosts.operations import AlphaTarget, Op, Style
from sightline.tamiyo_policy.hosts.slots import AlphaMode, SlotStates, Stage

SELECTABLE = torch.tensor([False, True, False, True])


def slots(*stages: Stage, age: int = 9, alpha_mode: int = AlphaMode.HOLD, pending: bool = False) -> SlotStates:
    stage = torch.tensor([[int(stage) for stage in stages]])
    module = (stage >= Stage.GERMINATED) & (stage <= Stage.FOSSILIZED)
    states = SlotStates.empty(1, len(stages))
    values = {"stage": stage, "blueprint": torch.where(module, 1, -1), "age": age}
    return states.update(torch.ones_like(module), **values, alpha_mode=alpha_mode, prune_pending=pending)


def legal_ops(states: SlotStates) -> set[Op]:
    masks = legality_masks(states, SCALED_LIFECYCLE, SELECTABLE)
    return {Op(op) for op in masks["op"][0].nonzero().flatten().tolist()}


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (Stage.DORMANT, {Op.GERMINATE}),
        (Stage.GERMINATED, {Op.ADVANCE, Op.PRUNE}),
        (Stage.TRAINING, {Op.ADVANCE, Op.PRUNE}),
        (Stage.BLENDING, {Op.ADVANCE, Op.PRUNE, Op.SET_ALPHA_TARGET}),
        (Stage.HOLDING, {Op.FOSSILIZE, Op.PRUNE, Op.SET_ALPHA_TARGET}),
        (Stage.FOSSILIZED, set()),
        (Stage.PRUNED, set()),
        (Stage.EMBARGOED, set()),
        (Stage.RESETTING, set()),
    ],
)
def test_the_stage_decides_what_is_legal(stage: Stage, expected: set[Op]) -> None:
    assert legal_ops(slots(stage)) == expected | {Op.WAIT}


@pytest.mark.parametrize("stage", [Stage.GERMINATED, Stage.TRAINING, Stage.PRUNED, Stage.EMBARGOED, Stage.RESETTING])
def test_seeds_are_developed_one_after_the_other(stage: Stage) -> None:
    assert Op.GERMINATE not in legal_ops(slots(stage, Stage.DORMANT))


@pytest.mark.parametrize("stage", [Stage.BLENDING, Stage.HOLDING, Stage.FOSSILIZED])
def test_a_seed_that_is_past_training_does_not_stop_the_next(stage: Stage) -> None:
    assert Op.GERMINATE in legal_ops(slots(stage, Stage.DORMANT))


def test_alpha_in_motion_forbids_turning_it() -> None:
    moving = slots(Stage.BLENDING, alpha_mode=AlphaMode.UP)
    assert legal_ops(moving) == {Op.WAIT, Op.ADVANCE}


@settings(max_examples=40, deadline=None)
@given(
    stages=st.lists(st.sampled_from([stage for stage in Stage if stage]), min_size=1, max_size=4), age=st.integers(0, 9)
)
def test_every_head_has_a_choice_and_slots_agree_with_operations(stages: list[Stage], age: int) -> None:
    space = growth_action_space(len(stages), len(SELECTABLE))
    masks = legality_masks(slots(*stages, age=age), SCALED_LIFECYCLE, SELECTABLE)
    assert set(masks) == set(space.mask_shapes)
    for name, shape in space.mask_shapes.items():
        assert masks[name].shape == (1, *shape)
        assert bool(masks[name].any())
    assert torch.equal(masks["slot_by_op"].any(2), masks["op"])
    assert bool(masks["op"][:, Op.WAIT].all())


def test_style_and_target_have_no_choice_where_they_cannot_matter() -> None:
    masks = legality_masks(slots(Stage.FOSSILIZED), SCALED_LIFECYCLE, SELECTABLE)
    assert masks["style"][0].nonzero().flatten().tolist() == [Style.SIGMOID_ADD]
    assert masks["alpha_target"][0].nonzero().flatten().tolist() == [AlphaTarget.FULL]


@pytest.mark.parametrize(
    ("stage", "operation"),
    [(Stage.DORMANT, Op.GERMINATE), (Stage.BLENDING, Op.SET_ALPHA_TARGET), (Stage.HOLDING, Op.SET_ALPHA_TARGET)],
)
def test_style_and_target_are_chosen_where_an_operation_that_uses_them_is_legal(stage: Stage, operation: Op) -> None:
    space = growth_action_space(1)
    masks = legality_masks(slots(stage), SCALED_LIFECYCLE, SELECTABLE)
    assert bool(masks["op"][0, operation])
    for name in ("style", "alpha_target"):
        assert bool(space.relevance[operation, space.names.index(name)])
        assert bool(masks[name].all())


def test_each_environment_has_masks_of_its_own() -> None:
    stages = [Stage.FOSSILIZED, Stage.DORMANT, Stage.TRAINING, Stage.HOLDING]
    parts = [slots(stage) for stage in stages]
    together = SlotStates.from_state_dict(
        {name: torch.cat([part.state_dict()[name] for part in parts]) for name in parts[0].state_dict()}
    )
    masks = legality_masks(together, SCALED_LIFECYCLE, SELECTABLE)
    for row, part in enumerate(parts):
        alone = legality_masks(part, SCALED_LIFECYCLE, SELECTABLE)
        assert all(torch.equal(masks[name][row], mask[0]) for name, mask in alone.items())


def test_only_selectable_blueprints_are_legal() -> None:
    masks = legality_masks(slots(Stage.DORMANT), SCALED_LIFECYCLE, SELECTABLE)
    assert masks["blueprint"].tolist() == [SELECTABLE.tolist()]


def test_a_shop_without_blueprints_is_an_error() -> None:
    with pytest.raises(ValueError, match="no blueprint"):
        legality_masks(slots(Stage.DORMANT), SCALED_LIFECYCLE, torch.zeros(4, dtype=torch.bool))
