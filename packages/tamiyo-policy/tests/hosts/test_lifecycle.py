from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.tamiyo_policy.growth.action_space import growth_action_space
from sightline.tamiyo_policy.hosts.config import SCALED_LIFECYCLE, LifecycleConfig
from sightline.tamiyo_policy.hosts.lifecycle import (
    AppliedOperations,
    GradientReading,
    apply_operations,
    gradient_ratio,
    legal_slots,
    open_gates,
    record_gradients,
    record_measurements,
    remove,
    tick,
)
from sightline.tamiyo_policy.hosts.operations import AlphaCurve, Op, Style
from sightline.tamiyo_policy.hosts.slots import LEGAL_TRANSITIONS, AlphaMode, Operator, SlotStates, Stage

NUM_SLOTS = 3
SPACE = growth_action_space(NUM_SLOTS)
SELECTABLE = torch.tensor([False] + [True] * 12)
ONES = torch.ones(1)


def act(op: Op, slot: int = 0, **heads: int) -> dict[str, int]:
    placeholders = dict(zip(SPACE.names, SPACE.placeholder.tolist(), strict=True))
    return placeholders | {"blueprint": 1, "op": op, "slot": slot} | heads


def apply(states: SlotStates, action: dict[str, int], config: LifecycleConfig = SCALED_LIFECYCLE) -> AppliedOperations:
    actions = torch.tensor([[action[name] for name in SPACE.names]])
    blueprints = {"selectable_blueprints": SELECTABLE, "accuracy": 50 * ONES, "gain": ONES}
    return apply_operations(states, actions, config, **blueprints)


def measure(states: SlotStates, *, norm: float = 1.0, contribution: float = 2.0) -> SlotStates:
    alike = torch.ones_like(states.alpha)
    states = record_gradients(states, GradientReading(norm * alike, alike, states.in_forward))
    return record_measurements(
        states,
        accuracy=60 * ONES,
        gain=3 * ONES,
        contribution=contribution * alike,
        interaction=0 * alike,
        measured=states.alpha > 0,
    )


def run(actions: Iterable[dict[str, int]], config: LifecycleConfig = SCALED_LIFECYCLE) -> SlotStates:
    states = SlotStates.empty(1, NUM_SLOTS)
    for action in actions:
        states = measure(tick(apply(states, action, config).states, config))
    return states


WAIT = act(Op.WAIT)
ADVANCE = act(Op.ADVANCE)
TO_HOLDING = [act(Op.GERMINATE), ADVANCE, WAIT, WAIT, WAIT, ADVANCE, WAIT, WAIT, ADVANCE]


@dataclass
class Slot:
    """The rules again, one slot at a time, in plain Python."""

    stage: Stage = Stage.DORMANT
    waited: int = 0
    age: int = 0
    alpha: float = 0.0
    start: float = 0.0
    target: float = 0.0
    total: int = 0
    done: int = 0
    curve: int = 0
    tempo: int = 0
    pending: bool = False
    healthy: bool = False
    measured: bool = False

    @property
    def moving(self) -> bool:
        return self.done < self.total

    def go(self, stage: Stage) -> None:
        assert stage in LEGAL_TRANSITIONS[self.stage]
        self.stage, self.waited = stage, 0

    def ramp(self, target: float, steps: int) -> None:
        self.start, self.target, self.done, self.total = self.alpha, target, 0, steps
        if steps == 0 or target == self.alpha:
            self.alpha, self.total = target, 0

    def prune(self) -> None:
        self.go(Stage.PRUNED)
        self.__dict__.update({**Slot().__dict__, "stage": Stage.PRUNED})

    def curve_value(self) -> float:
        time = self.done / self.total
        if self.curve == AlphaCurve.LINEAR:
            return time
        if self.curve == AlphaCurve.COSINE:
            return (1 - math.cos(math.pi * time)) / 2
        steepness = {2: 6, 3: 12, 4: 24}[self.curve]
        low, value, high = (1 / (1 + math.exp(-steepness * (t - 0.5))) for t in (0, time, 1))
        return (value - low) / (high - low)

    def gate(self, config: LifecycleConfig) -> bool:
        return {
            Stage.GERMINATED: True,
            Stage.TRAINING: self.waited >= config.min_training_epochs and self.healthy,
            Stage.BLENDING: not self.moving and not self.pending and self.alpha == self.target == 1.0,
            Stage.HOLDING: self.measured and self.healthy,
        }.get(self.stage, False)


def slow_step(slots: list[Slot], action: dict[str, int], config: LifecycleConfig) -> Op:
    slot, op = slots[action["slot"]], Op(action["op"])
    growing = {Stage.GERMINATED, Stage.TRAINING, Stage.PRUNED, Stage.EMBARGOED, Stage.RESETTING}
    settled = slot.stage in (Stage.BLENDING, Stage.HOLDING) and not slot.moving and not slot.pending
    young = slot.stage in (Stage.GERMINATED, Stage.TRAINING)
    steps = config.speed_steps[action["alpha_speed"]]
    target = config.alpha_targets[action["alpha_target"]]
    done = True
    if op == Op.GERMINATE and slot.stage == Stage.DORMANT and not any(other.stage in growing for other in slots):
        slot.go(Stage.GERMINATED)
        slot.target, slot.tempo = target, config.tempo_steps[action["tempo"]]
        slot.curve = 0 if action["style"] in (Style.LINEAR_ADD, Style.LINEAR_MULTIPLY) else 3
    elif op == Op.SET_ALPHA_TARGET and settled:
        if slot.stage == Stage.HOLDING and target < 1:
            slot.go(Stage.BLENDING)
        slot.curve = action["alpha_curve"]
        slot.ramp(target, steps)
    elif op == Op.PRUNE and (settled or young) and slot.age >= config.min_prune_age:
        if settled and slot.alpha > 0 and steps > 0:
            if slot.stage == Stage.HOLDING:
                slot.go(Stage.BLENDING)
            slot.pending, slot.curve = True, action["alpha_curve"]
            slot.ramp(0.0, steps)
        else:
            slot.prune()
    elif op == Op.FOSSILIZE and slot.stage == Stage.HOLDING and slot.gate(config):
        slot.go(Stage.FOSSILIZED)
    elif op == Op.ADVANCE and slot.stage in (Stage.GERMINATED, Stage.TRAINING, Stage.BLENDING) and slot.gate(config):
        slot.go({2: Stage.TRAINING, 3: Stage.BLENDING, 4: Stage.HOLDING}[slot.stage])
        if slot.stage == Stage.BLENDING:
            slot.ramp(slot.target, slot.tempo)
    else:
        done = op == Op.WAIT
    for each in slots:
        slow_tick(each, config)
    return op if done else Op.WAIT


def slow_tick(slot: Slot, config: LifecycleConfig) -> None:
    following = {
        Stage.PRUNED: (1, Stage.EMBARGOED),
        Stage.EMBARGOED: (config.embargo_epochs, Stage.RESETTING),
        Stage.RESETTING: (1, Stage.DORMANT),
    }
    limit, after = following.get(slot.stage, (math.inf, slot.stage))
    if slot.waited >= limit:
        slot.go(after)
    if slot.moving:
        slot.done += 1
        arrived = slot.done == slot.total
        slot.alpha = slot.target if arrived else slot.start + (slot.target - slot.start) * slot.curve_value()
        if arrived and slot.pending:
            slot.prune()
    slot.waited += slot.stage != Stage.DORMANT
    slot.age += slot.stage in range(Stage.GERMINATED, Stage.PRUNED)
    if slot.stage in (Stage.TRAINING, Stage.BLENDING, Stage.HOLDING, Stage.FOSSILIZED):
        slot.healthy = True
    slot.measured |= slot.alpha > 0


# Operations drawn in the order in which seeds grow get further than uniform ones.
OPERATIONS = st.sampled_from([Op.WAIT, Op.GERMINATE, *[Op.ADVANCE] * 5, Op.SET_ALPHA_TARGET, Op.PRUNE, Op.FOSSILIZE])
ACTIONS = st.fixed_dictionaries(
    {name: st.integers(0, size - 1) for name, size in zip(SPACE.names[:-1], SPACE.sizes[:-1], strict=True)}
    | {"op": OPERATIONS, "blueprint": st.integers(1, 12), "slot": st.sampled_from([0, 0, 0, 1, 2])}
)
CONFIGS = st.sampled_from([SCALED_LIFECYCLE, LifecycleConfig(min_training_epochs=0, min_prune_age=0, embargo_epochs=1)])


@settings(max_examples=20, deadline=None)
@given(actions=st.lists(ACTIONS, min_size=20, max_size=40), config=CONFIGS)
def test_a_life_follows_the_rules_written_one_slot_at_a_time(
    actions: list[dict[str, int]], config: LifecycleConfig
) -> None:
    states, slots = SlotStates.empty(1, NUM_SLOTS), [Slot() for _ in range(NUM_SLOTS)]
    for action in actions:
        applied = apply(states, action, config)
        assert applied.effective_op.item() == slow_step(slots, action, config)
        states = measure(tick(applied.states, config))
        assert states.stage[0].tolist() == [slot.stage for slot in slots]
        assert states.alpha[0].tolist() == pytest.approx([slot.alpha for slot in slots], abs=1e-5)
        assert states.epochs_in_stage[0].tolist() == [slot.waited for slot in slots]
        assert states.age[0].tolist() == [slot.age for slot in slots]
        held = states.in_stage(Stage.HOLDING, Stage.FOSSILIZED)
        assert bool(((states.alpha == 1.0) & (states.alpha_mode == AlphaMode.HOLD))[held].all())


@settings(max_examples=5, deadline=None)
@given(rows=st.lists(st.lists(ACTIONS, min_size=12, max_size=12), min_size=2, max_size=4))
def test_environments_do_not_influence_each_other(rows: list[list[dict[str, int]]]) -> None:
    together = SlotStates.empty(len(rows), NUM_SLOTS)
    apart = [SlotStates.empty(1, NUM_SLOTS) for _ in rows]
    for column in zip(*rows, strict=True):
        actions = torch.tensor([[action[name] for name in SPACE.names] for action in column])
        ones = torch.ones(len(rows))
        blueprints = {"selectable_blueprints": SELECTABLE, "accuracy": 50 * ones, "gain": ones}
        together = tick(apply_operations(together, actions, SCALED_LIFECYCLE, **blueprints).states, SCALED_LIFECYCLE)
        apart = [
            tick(apply(states, action).states, SCALED_LIFECYCLE) for states, action in zip(apart, column, strict=True)
        ]
    for name, tensor in together.state_dict().items():
        assert torch.equal(tensor, torch.cat([getattr(states, name) for states in apart]))


def test_a_seed_can_become_a_fossil_and_then_nothing_moves_it() -> None:
    states = run([*TO_HOLDING, act(Op.FOSSILIZE)])
    assert states.stage[0, 0] == Stage.FOSSILIZED
    for op in Op:
        assert not bool(legal_slots(states, SCALED_LIFECYCLE)[0, op, 0]) or op == Op.WAIT
    with pytest.raises(ValueError, match="FOSSILIZED cannot become PRUNED"):
        remove(states, states.in_stage(Stage.FOSSILIZED))


def test_a_closed_gate_turns_advance_into_wait() -> None:
    applied = apply(run([act(Op.GERMINATE), ADVANCE]), ADVANCE)
    assert (applied.effective_op.item(), applied.success.item()) == (Op.WAIT, False)
    assert applied.states.stage[0, 0] == Stage.TRAINING


def test_closed_gates_can_be_masked() -> None:
    states = run([act(Op.GERMINATE), ADVANCE])
    assert bool(legal_slots(states, SCALED_LIFECYCLE)[0, Op.ADVANCE, 0])
    assert not bool(legal_slots(states, LifecycleConfig(mask_closed_gates=True))[0, Op.ADVANCE].any())


@pytest.mark.parametrize("norm", [1e-9, 1e4, math.nan, math.inf])
def test_a_seed_with_a_useless_gradient_does_not_pass_the_gate(norm: float) -> None:
    states = run([act(Op.GERMINATE), ADVANCE, WAIT, WAIT])
    assert bool(open_gates(states, SCALED_LIFECYCLE)[0, 0])
    assert not bool(open_gates(measure(states, norm=norm), SCALED_LIFECYCLE)[0, 0])


def test_the_gate_to_holding_asks_for_full_alpha() -> None:
    half = [act(Op.GERMINATE, alpha_target=0), *TO_HOLDING[1:-1]]
    assert run(half).alpha[0, 0] == 0.5
    assert not bool(open_gates(run(half), SCALED_LIFECYCLE)[0, 0])
    assert bool(open_gates(run([*half, act(Op.SET_ALPHA_TARGET)]), SCALED_LIFECYCLE)[0, 0])


@pytest.mark.parametrize(
    ("field", "value"), [("progress", 0.4), ("gradient_ratio", 0.05), ("health", 0.5), ("epochs_in_stage", 2)]
)
def test_the_strict_gate_to_blending_asks_for_each_of_its_conditions(field: str, value: float) -> None:
    strict = LifecycleConfig(gates="strict")
    states = run([act(Op.GERMINATE), ADVANCE, WAIT, WAIT])
    assert bool(open_gates(states, strict)[0, 0])
    assert not bool(open_gates(states.update(states.occupied, **{field: value}), strict)[0, 0])


@pytest.mark.parametrize(("health", "is_open"), [(0.5, True), (0.4375, False)])
def test_a_gradient_just_as_healthy_as_asked_for_passes_the_gate(health: float, is_open: bool) -> None:
    config = SCALED_LIFECYCLE.model_copy(update={"min_gradient_health": 0.5})
    for states in (run([act(Op.GERMINATE), ADVANCE, WAIT, WAIT]), run(TO_HOLDING)):
        assert bool(open_gates(states.update(states.occupied, health=health), config)[0, 0]) == is_open


def test_the_strict_gate_to_fossils_asks_for_a_contribution() -> None:
    states = run(TO_HOLDING)
    for contribution, is_open in ((1.0, True), (0.9, False)):
        changed = states.update(states.occupied, contribution=contribution)
        assert bool(open_gates(changed, LifecycleConfig(gates="strict"))[0, 0]) == is_open
        assert bool(open_gates(changed, SCALED_LIFECYCLE)[0, 0])


def test_a_seed_never_measured_cannot_become_a_fossil() -> None:
    states = run(TO_HOLDING)
    states = states.update(states.occupied, contribution_age=-1)
    assert apply(states, act(Op.FOSSILIZE)).effective_op.item() == Op.WAIT


def test_gates_that_open_by_themselves_are_no_decision() -> None:
    config = LifecycleConfig(auto_forward=frozenset({"G1", "G2", "G3"}))
    states = run([act(Op.GERMINATE)], config)
    seen = [states.stage[0, 0].item()]
    for _ in range(12):
        assert not bool(legal_slots(states, config)[0, Op.ADVANCE].any())
        states = measure(tick(states, config))
        seen.append(states.stage[0, 0].item())
    stages = [Stage.GERMINATED, Stage.TRAINING, Stage.BLENDING, Stage.HOLDING]
    assert list(dict.fromkeys(seen)) == stages


def test_a_removed_seed_leaves_its_slot_closed_for_the_cooldown() -> None:
    states = run([act(Op.GERMINATE), WAIT, WAIT, act(Op.PRUNE)])
    seen = []
    while states.stage[0, 0] != Stage.DORMANT:
        assert not bool(legal_slots(states, SCALED_LIFECYCLE)[0, Op.GERMINATE].any())
        seen.append(states.stage[0, 0].item())
        states = tick(states, SCALED_LIFECYCLE)
    assert seen == [Stage.PRUNED, *[Stage.EMBARGOED] * SCALED_LIFECYCLE.embargo_epochs, Stage.RESETTING]
    assert torch.equal(states.blueprint, SlotStates.empty(1, NUM_SLOTS).blueprint)


def test_a_prune_that_fades_keeps_the_seed_until_alpha_is_gone() -> None:
    states = run([*TO_HOLDING, act(Op.PRUNE, alpha_speed=2)])
    assert (states.stage[0, 0], bool(states.prune_pending[0, 0])) == (Stage.BLENDING, True)
    assert bool(states.occupied[0, 0])
    assert not legal_slots(states, SCALED_LIFECYCLE)[0, [Op.PRUNE, Op.SET_ALPHA_TARGET], 0].any()
    states = tick(tick(states, SCALED_LIFECYCLE), SCALED_LIFECYCLE)
    assert (states.stage[0, 0], states.alpha[0, 0], bool(states.occupied[0, 0])) == (Stage.PRUNED, 0.0, False)


def test_the_number_of_seeds_can_be_capped() -> None:
    capped = LifecycleConfig(max_seeds=1)
    states = run(TO_HOLDING, capped)
    assert not bool(legal_slots(states, capped)[0, Op.GERMINATE].any())
    assert legal_slots(states, SCALED_LIFECYCLE)[0, Op.GERMINATE].tolist() == [False, True, True]


def test_only_selectable_blueprints_are_germinated() -> None:
    applied = apply(SlotStates.empty(1, NUM_SLOTS), act(Op.GERMINATE, blueprint=0))
    assert applied.effective_op.item() == Op.WAIT
    assert not bool(applied.germinated.any())


def test_what_is_not_permitted_is_not_done() -> None:
    actions = torch.tensor([[act(Op.GERMINATE)[name] for name in SPACE.names]])
    common = {"selectable_blueprints": SELECTABLE, "accuracy": ONES, "gain": ONES}
    for permitted, op in ((True, Op.GERMINATE), (False, Op.WAIT)):
        verdict = torch.tensor([permitted])
        empty = SlotStates.empty(1, NUM_SLOTS)
        applied = apply_operations(empty, actions, SCALED_LIFECYCLE, **common, permitted=verdict)
        assert applied.effective_op.item() == op


def test_style_fixes_operator_and_curve() -> None:
    operators = {Style.LINEAR_ADD: (0, 0), Style.LINEAR_MULTIPLY: (1, 0), Style.SIGMOID_ADD: (0, 3)}
    operators[Style.GATED_GATE] = (Operator.GATE, AlphaCurve.SIGMOID)
    for style, expected in operators.items():
        states = apply(SlotStates.empty(1, NUM_SLOTS), act(Op.GERMINATE, style=style)).states
        assert (states.operator[0, 0], states.curve[0, 0]) == expected


def test_alpha_velocity_holds_jumps_and_ramps() -> None:
    before = run(TO_HOLDING)
    after = run([*TO_HOLDING, act(Op.SET_ALPHA_TARGET, alpha_target=0, alpha_speed=0)])
    assert after.alpha_velocity[0, 0].item() == pytest.approx(after.alpha[0, 0] - before.alpha[0, 0]) == -0.5


def test_velocity_is_a_moving_average_of_the_change_of_contribution() -> None:
    states = run(TO_HOLDING)
    velocity = 0.0
    previous = states.contribution[0, 0].item()
    for contribution in (5.0, 4.0, 9.0):
        states = measure(states, contribution=contribution)
        velocity = 0.7 * velocity + 0.3 * (contribution - previous)
        previous = contribution
        assert states.velocity[0, 0].item() == pytest.approx(velocity)


def test_the_first_measurement_has_no_velocity() -> None:
    states = run([act(Op.GERMINATE), ADVANCE, WAIT, WAIT, WAIT, ADVANCE])
    assert (states.contribution_age[0, 0], states.velocity[0, 0]) == (0, 0.0)


def test_progress_counts_from_germination_and_clean_progress_without_the_host() -> None:
    states = run([act(Op.GERMINATE)])
    assert (states.progress[0, 0], states.clean_progress[0, 0]) == (10.0, 2.0)
    assert (states.progress[0, 1], states.clean_progress[0, 1]) == (0.0, 0.0)


def test_the_gradient_ratio_is_scaled_capped_and_averaged() -> None:
    one = torch.ones(1, 1)
    ratio = gradient_ratio(0.2 * one, one, 25 * one, 100.0, 0.5 * one)
    assert ratio.item() == pytest.approx(0.9 * 0.5 + 0.1 * 0.2 * 2)
    assert gradient_ratio(math.nan * one, 0 * one, one, 100.0, 0 * one).item() == pytest.approx(1.0)
    assert gradient_ratio(1e9 * one, one, one, 100.0, 10 * one).item() == pytest.approx(10.0)


def test_arguments_are_left_alone() -> None:
    states = run(TO_HOLDING)
    kept = replace(states, **states.state_dict())
    tick(apply(states, act(Op.FOSSILIZE)).states, SCALED_LIFECYCLE)
    for name, tensor in kept.state_dict().items():
        assert torch.equal(getattr(states, name), tensor)
