from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sightline.tamiyo_policy.growth.action_space import growth_action_space
from sightline.tamiyo_policy.growth.config import HeuristicConfig
from sightline.tamiyo_policy.growth.heuristic import HeuristicMemory, heuristic_actions, random_legal_actions
from sightline.tamiyo_policy.growth.masks import legality_masks
from sightline.tamiyo_policy.growth.observation import HostSignals
from sightline.tamiyo_policy.hosts.config import SCALED_LIFECYCLE
from sightline.tamiyo_policy.hosts.lifecycle import legal_slots
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.hosts.slots import SlotStates, Stage

SPACE = growth_action_space(3)
SELECTABLE = torch.tensor([False] + [True] * 12)
CONFIG = HeuristicConfig(rotation=(3, 8, 5))
FIRST = torch.tensor([[True, False, False]])
PLATEAU = replace(
    HostSignals.start(1), epoch=torch.tensor([9]), steady_epochs=torch.tensor([3]), stabilized=torch.tensor([True])
)


def decide(
    states: SlotStates,
    signals: HostSignals = PLATEAU,
    memory: HeuristicMemory | None = None,
    selectable: torch.Tensor = SELECTABLE,
) -> tuple[dict[str, int], HeuristicMemory]:
    memory = HeuristicMemory.start(1, CONFIG) if memory is None else memory
    masks = legality_masks(states, SCALED_LIFECYCLE, selectable)
    actions, memory = heuristic_actions(
        memory, states, signals, masks, SPACE, config=CONFIG, lifecycle=SCALED_LIFECYCLE
    )
    return {name: int(column) for name, column in SPACE.by_name(actions[0]).items()}, memory


def seed(stage: Stage, **fields: float) -> SlotStates:
    usual = {"blueprint": 3, "age": 9, "epochs_in_stage": 5, "health": 1.0, "alpha": 1.0, "alpha_target": 1.0}
    return SlotStates.empty(1, 3).update(FIRST, stage=stage, **(usual | fields))


def test_on_a_plateau_it_germinates_the_rotation_in_order() -> None:
    memory = None
    seen = []
    for _ in range(4):
        action, memory = decide(SlotStates.empty(1, 3), memory=memory)
        seen.append((action["op"], action["slot"], action["blueprint"]))
    assert seen == [(Op.GERMINATE, 0, 3), (Op.GERMINATE, 0, 8), (Op.GERMINATE, 0, 5), (Op.GERMINATE, 0, 3)]


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": torch.tensor([4])},
        {"steady_epochs": torch.tensor([2])},
        {"stabilized": torch.tensor([False])},
    ],
)
def test_it_waits_while_the_host_learns_by_itself(change: dict[str, torch.Tensor]) -> None:
    assert decide(SlotStates.empty(1, 3), replace(PLATEAU, **change))[0]["op"] == Op.WAIT


def test_blueprints_that_are_not_selectable_are_passed_over() -> None:
    without = SELECTABLE.clone()
    without[3] = False
    assert decide(SlotStates.empty(1, 3), selectable=without)[0]["blueprint"] == 8
    without[[8, 5]] = False
    assert decide(SlotStates.empty(1, 3), selectable=without)[0]["op"] == Op.WAIT


@pytest.mark.parametrize("stage", [Stage.GERMINATED, Stage.TRAINING, Stage.BLENDING])
def test_it_advances_a_seed_whose_gate_is_open(stage: Stage) -> None:
    action, _ = decide(seed(stage))
    assert (action["op"], action["slot"]) == (Op.ADVANCE, 0)


def test_a_slot_that_is_masked_is_never_taken_though_another_would_be_legal() -> None:
    states, memory = seed(Stage.TRAINING), HeuristicMemory.start(1, CONFIG)
    masks = legality_masks(states, SCALED_LIFECYCLE, SELECTABLE)
    masks["slot_by_op"][:, Op.ADVANCE] = torch.tensor([False, True, False])
    actions, _ = heuristic_actions(memory, states, PLATEAU, masks, SPACE, config=CONFIG, lifecycle=SCALED_LIFECYCLE)
    assert int(SPACE.by_name(actions[0])["op"]) != Op.ADVANCE


def test_it_does_not_knock_at_a_closed_gate() -> None:
    assert decide(seed(Stage.TRAINING, epochs_in_stage=1))[0]["op"] == Op.WAIT


@pytest.mark.parametrize(("contribution", "op"), [(0.6, Op.FOSSILIZE), (0.4, Op.PRUNE), (-9.0, Op.PRUNE)])
def test_it_decides_on_a_held_seed_by_its_contribution(contribution: float, op: Op) -> None:
    assert decide(seed(Stage.HOLDING, contribution=contribution, contribution_age=0))[0]["op"] == op


@pytest.mark.parametrize(
    ("contribution", "age", "op"), [(-3.0, 9, Op.PRUNE), (-1.0, 9, Op.ADVANCE), (-3.0, 4, Op.ADVANCE)]
)
def test_it_prunes_a_seed_that_hurts_once_it_is_old_enough(contribution: float, age: int, op: Op) -> None:
    assert decide(seed(Stage.BLENDING, contribution=contribution, contribution_age=0, age=age))[0]["op"] == op


def test_after_a_prune_it_waits_out_the_embargo() -> None:
    _, memory = decide(seed(Stage.HOLDING, contribution=-9.0, contribution_age=0))
    ops = []
    for _ in range(CONFIG.embargo_epochs + 1):
        action, memory = decide(SlotStates.empty(1, 3), memory=memory)
        ops.append(action["op"])
    assert ops == [Op.WAIT] * CONFIG.embargo_epochs + [Op.GERMINATE]


def test_a_blueprint_that_was_pruned_often_is_passed_over_until_forgiven() -> None:
    memory = HeuristicMemory.start(1, CONFIG)
    memory = replace(memory, penalties=torch.tensor([[3.0, 0.0, 0.0]]))
    assert decide(SlotStates.empty(1, 3), memory=memory)[0]["blueprint"] == 8
    assert decide(SlotStates.empty(1, 3), memory=replace(memory, penalties=memory.penalties / 2))[0]["blueprint"] == 3


def test_a_prune_is_held_against_its_blueprint_and_fades() -> None:
    _, memory = decide(seed(Stage.HOLDING, blueprint=8, contribution=-9.0, contribution_age=0))
    assert memory.penalties.tolist() == [[0.0, 2.0, 0.0]]
    _, memory = decide(SlotStates.empty(1, 3), memory=memory)
    assert memory.penalties.tolist() == [[0.0, 1.0, 0.0]]


def test_random_choices_are_legal_and_leave_unused_heads_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    stages = torch.tensor([[Stage.HOLDING, Stage.BLENDING, Stage.DORMANT]]).expand(400, -1)
    states = SlotStates.empty(400, 3).update(torch.ones(400, 3, dtype=torch.bool), stage=stages, age=9)
    states = states.update(~states.in_stage(Stage.DORMANT), blueprint=1)
    masks = legality_masks(states, SCALED_LIFECYCLE, SELECTABLE)
    actions = random_legal_actions(masks, SPACE, generator)
    heads = SPACE.by_name(actions)
    assert bool(legal_slots(states, SCALED_LIFECYCLE)[torch.arange(400), heads["op"], heads["slot"]].all())
    germinates = heads["op"] == Op.GERMINATE
    assert bool(SELECTABLE[heads["blueprint"]][germinates].all())
    assert torch.equal(
        torch.where(SPACE.relevance[heads["op"]], SPACE.placeholder, actions), SPACE.placeholder.expand(400, -1)
    )


def test_random_operations_are_uniform_over_the_legal_ones() -> None:
    masks = legality_masks(SlotStates.empty(4000, 3), SCALED_LIFECYCLE, SELECTABLE)
    actions = random_legal_actions(masks, SPACE, torch.Generator().manual_seed(0))
    germinates = actions[:, -1] == Op.GERMINATE
    assert germinates.float().mean().item() == pytest.approx(0.5, abs=0.04)
    blueprints = torch.bincount(actions[germinates, 1], minlength=13)
    assert blueprints[0] == 0
    assert int(blueprints[1:].min()) > 100


def test_random_choices_repeat_with_their_seed() -> None:
    masks = legality_masks(SlotStates.empty(50, 3), SCALED_LIFECYCLE, SELECTABLE)
    first, second = (random_legal_actions(masks, SPACE, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
