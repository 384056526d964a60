"""One test for each known fault of the rules; `mutations/rules.json` puts the faults back."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from sightline.tamiyo_policy.growth.action_space import growth_action_space
from sightline.tamiyo_policy.growth.config import GovernorConfig, ShapedRewardConfig
from sightline.tamiyo_policy.growth.governor import GovernorState, Panic, govern
from sightline.tamiyo_policy.growth.observation import HostSignals, ObservationLayout, observe
from sightline.tamiyo_policy.growth.rewards import potential_shaping, stage_potential
from sightline.tamiyo_policy.growth.shaped_reward import ShapedStep, shaped_reward
from sightline.tamiyo_policy.hosts.config import REFERENCE_LIFECYCLE, SCALED_LIFECYCLE, LifecycleConfig
from sightline.tamiyo_policy.hosts.lifecycle import apply_operations, legal_slots, record_measurements, tick
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.hosts.slots import AlphaMode, SlotStates, Stage

CONFIG = ShapedRewardConfig()
HERE = torch.ones(1, 1, dtype=torch.bool)
POINTS = st.floats(-100, 100, width=32)
LIGHT = settings(max_examples=40, deadline=None)


def seed(stage: Stage, **values: float) -> SlotStates:
    return SlotStates.empty(1, 1).update(HERE, stage=stage, blueprint=3, **values)


def shaped_step(before: SlotStates, after: SlotStates, op: Tensor, *, gain: float = 1.0) -> ShapedStep:
    rows = len(op)
    return ShapedStep(
        before=before,
        after=after,
        slot=torch.zeros(rows, dtype=torch.int64),
        wanted_op=op,
        effective_op=op,
        epoch=torch.full((rows,), 30),
        accuracy=torch.full((rows,), 50.0),
        gain_before=torch.full((rows,), gain),
        gain_after=torch.full((rows,), gain),
        parameters=torch.full(before.stage.shape, 100.0),
        host_parameters=torch.tensor([400.0]),
        terminal=torch.zeros(rows, dtype=torch.bool),
    )


@LIGHT
@example(epochs=1000, contribution=20.0, gain=10.0, stage=Stage.HOLDING)
@example(epochs=1000, contribution=20.0, gain=-10.0, stage=Stage.BLENDING)
@given(epochs=st.integers(0, 10_000), contribution=POINTS, gain=POINTS, stage=st.sampled_from(list(Stage)[2:7]))
def test_pitfall_13_no_warning_grows_without_bound(epochs: int, contribution: float, gain: float, stage: Stage) -> None:
    values = {"contribution": contribution, "clean_progress": 50.0, "contribution_age": 0, "alpha": 1.0}
    states = seed(stage, epochs_in_stage=epochs, age=epochs, **values)
    reward = shaped_reward(shaped_step(states, states, torch.tensor([int(Op.WAIT)]), gain=gain), CONFIG)
    assert -0.71 <= reward.warnings.item() <= 0
    assert math.isfinite(reward.total.item())
    assert abs(reward.total.item()) <= 110


# Short lives, so that whole cycles fit into few steps.
SHORT = LifecycleConfig(
    min_training_epochs=0, min_prune_age=0, embargo_epochs=1, tempo_steps=(1, 1, 1), speed_steps=(0, 2, 2, 2)
)


def every_action() -> Tensor:
    """int64 [actions, 8], every operation on every one of two slots in its variants."""
    space = growth_action_space(2)
    variants: dict[Op, list[dict[str, int]]] = {op: [{}] for op in Op}
    variants[Op.GERMINATE] = [{"blueprint": 1}]
    variants[Op.SET_ALPHA_TARGET] = [{"alpha_target": target, "alpha_speed": 0} for target in (0, 2)]
    variants[Op.PRUNE] = [{"alpha_speed": speed} for speed in (0, 1)]
    placeholder = dict(zip(space.names, space.placeholder.tolist(), strict=True))
    rows = [placeholder | {"op": op, "slot": k} | heads for op in Op for k in range(2) for heads in variants[op]]
    return torch.tensor([[row[name] for name in space.names] for row in rows])


def forget_what_does_not_matter(states: SlotStates) -> SlotStates:
    """The potential's bonus is at its bound after 7 epochs, and a ramp that is over leaves alpha alone."""
    ramp = ("alpha_start", "alpha_steps_done", "alpha_steps_total", "curve", "operator")
    states = states.update(states.alpha_mode == AlphaMode.HOLD, **dict.fromkeys(ramp, 0))
    nothing = torch.zeros_like(states.age)
    states = replace(states, age=nothing, alpha_velocity=nothing.float())
    return replace(states, epochs_in_stage=states.epochs_in_stage.clamp(max=7))


def rows_of(states: SlotStates) -> Tensor:
    return torch.cat([getattr(states, field.name).double() for field in fields(states)], 1)


def states_of(rows: Tensor) -> SlotStates:
    like = SlotStates.empty(1, 2)
    parts = rows.split(2, 1)
    return SlotStates(**{f.name: p.to(getattr(like, f.name).dtype) for f, p in zip(fields(like), parts, strict=True)})


def explore() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every state reachable from empty slots, [N, ...], and steps: from, to, and the most that one can pay."""
    actions = every_action()
    known = rows_of(SlotStates.empty(1, 2))
    frontier, done, edges = known, 0, []
    while len(frontier):
        before = states_of(frontier.repeat_interleave(len(actions), 0))
        chosen = actions.repeat(len(frontier), 1)
        zeros = torch.zeros(len(chosen))
        selectable = torch.ones(13, dtype=torch.bool)
        outcome = apply_operations(before, chosen, SHORT, selectable_blueprints=selectable, accuracy=zeros, gain=zeros)
        after = tick(outcome.states, SHORT)
        after = after.update(after.in_forward, health=1.0, contribution_age=0)
        after = forget_what_does_not_matter(after)
        step = replace(shaped_step(before, after, outcome.effective_op), slot=chosen[:, 0])
        terms = shaped_reward(step, ShapedRewardConfig(min_prune_age=0))
        united, index = torch.unique(torch.cat([known, rows_of(after)]), dim=0, return_inverse=True)
        fresh = torch.ones(len(united), dtype=torch.bool)
        fresh[index[: len(known)]] = False
        number = torch.empty(len(united), dtype=torch.int64)
        number[index[: len(known)]] = torch.arange(len(known))
        number[fresh] = torch.arange(len(known), len(united))
        start = torch.arange(done, done + len(frontier)).repeat_interleave(len(actions))
        edges.append((start, number[index[len(known) :]], terms.shaping + terms.action))
        done += len(frontier)
        frontier = united[fresh]
        known = torch.cat([known, frontier])
    start, end, reward = (torch.cat(parts) for parts in zip(*edges, strict=True))
    pairs, index = torch.unique(torch.stack([start, end]), dim=1, return_inverse=True)
    most = torch.full((pairs.shape[1],), -torch.inf).scatter_reduce(0, index, reward, "amax")
    return known, pairs[0], pairs[1], most


def test_pitfall_14_no_cycle_of_operations_earns_anything() -> None:
    known, start, end, reward = explore()
    stages = {tuple(row) for row in states_of(known).stage.tolist()}
    assert {(Stage.HOLDING, Stage.HOLDING), (Stage.FOSSILIZED, Stage.BLENDING), (Stage.RESETTING, 1)} <= stages
    for first in torch.arange(len(known)).split(256):
        # best[i, n]: the most that a path from state i to state n of the present length can have earned, discounted
        best = torch.full((len(first), len(known)), -torch.inf)
        best[torch.arange(len(first)), first] = 0.0
        for length in range(9):  # up to HOLDING, down again and through the cooldown takes eight
            paths = best[:, start] + CONFIG.gamma**length * reward
            best = torch.full_like(best, -torch.inf).scatter_reduce(1, end.expand_as(paths), paths, "amax")
            returned = best[torch.arange(len(first)), first]
            assert float(returned.max()) <= 1e-5


@LIGHT
@given(stages=st.lists(st.sampled_from(list(Stage)[1:]), min_size=1, max_size=8), epoch=st.integers(0, 9))
def test_pitfall_14_germinating_late_keeps_no_bonus(stages: list[Stage], epoch: int) -> None:
    path = [SlotStates.empty(1, 1), *(seed(stage, epochs_in_stage=epoch) for stage in stages)]
    total = 0.0
    for index in range(len(stages)):
        last = torch.tensor([index == len(stages) - 1])
        pair = (stage_potential(states) for states in path[index : index + 2])
        total += CONFIG.gamma**index * potential_shaping(*pair, gamma=CONFIG.gamma, terminal=last).item()
    assert total == pytest.approx(0.0, abs=1e-5)


@LIGHT
@given(contribution=st.floats(0.25, 100, width=32), gain=st.floats(-100, -0.25, width=32), epochs=st.integers(0, 60))
def test_pitfall_15_a_seed_that_holds_its_host_to_ransom_is_not_worth_keeping(
    contribution: float, gain: float, epochs: int
) -> None:
    values = {"contribution": contribution, "clean_progress": 50.0, "contribution_age": 0, "alpha": 1.0, "age": 30}
    held = seed(Stage.HOLDING, epochs_in_stage=epochs, **values)
    fossil = held.enter(HERE, Stage.FOSSILIZED).update(HERE, epochs_in_stage=1)
    step = shaped_step(held, fossil, torch.tensor([int(Op.FOSSILIZE)]), gain=gain)
    assert shaped_reward(step, CONFIG).total.item() < 0


@LIGHT
@given(drift=POINTS, contribution=POINTS, gain=POINTS, op=st.sampled_from([Op.WAIT, Op.PRUNE, Op.FOSSILIZE]))
def test_pitfall_15_what_the_host_learns_by_itself_is_not_the_seeds_merit(
    drift: float, contribution: float, gain: float, op: Op
) -> None:
    def reward(accuracy: float) -> float:
        states = record_measurements(
            seed(Stage.HOLDING, accuracy_at_germination=40.0, alpha=1.0, age=9),
            accuracy=torch.tensor([accuracy]),
            gain=torch.tensor([gain]),
            contribution=torch.tensor([[contribution]]),
            interaction=torch.zeros(1, 1),
            measured=HERE,
        )
        return shaped_reward(shaped_step(states, states, torch.tensor([int(op)]), gain=gain), CONFIG).total.item()

    assert reward(50.0 + drift) == pytest.approx(reward(50.0))


@LIGHT
@given(contribution=POINTS, gain=POINTS, progress=POINTS, stage=st.sampled_from(list(Stage)[2:6]))
def test_pitfall_16_prune_turns_credit_round_and_leaves_penalties_alone(
    contribution: float, gain: float, progress: float, stage: Stage
) -> None:
    values = {"contribution": contribution, "clean_progress": progress, "contribution_age": 0, "age": 20}
    states = seed(stage, epochs_in_stage=9, **values)
    ops = {op: torch.tensor([int(op)]) for op in Op}
    gone = SlotStates.empty(1, 1).update(HERE, stage=Stage.PRUNED)
    kept = shaped_reward(shaped_step(states, states, ops[Op.WAIT], gain=gain), CONFIG)
    pruned = shaped_reward(shaped_step(states, gone, ops[Op.PRUNE], gain=gain), CONFIG)
    assert pruned.attribution.item() == pytest.approx(-kept.attribution.item())
    assert kept.attribution.item() * contribution >= 0
    for reward in (kept, pruned):
        for penalty in (reward.warnings, reward.rent, reward.shock, reward.occupancy):
            assert penalty.item() <= 0
    if contribution > 0:
        assert pruned.attribution.item() + pruned.action.item() < 0


class MomentumHosts:
    """Hosts whose parameters are numbers, trained by momentum."""

    def __init__(self, rows: int) -> None:
        self.parameters = torch.zeros(rows)
        self.momentum = torch.zeros(rows)
        self.remembered = self.parameters.clone()

    def train(self, gradient: Tensor) -> None:
        self.momentum = 0.9 * self.momentum + gradient
        self.parameters = self.parameters - self.momentum

    def take_snapshot(self, where: Tensor) -> None:
        self.remembered = torch.where(where, self.parameters, self.remembered)

    def restore_snapshot(self, where: Tensor) -> None:
        self.parameters = torch.where(where, self.remembered, self.parameters)

    def clear_optimizers(self, where: Tensor) -> None:
        self.momentum = torch.where(where, 0.0, self.momentum)


def test_pitfall_17_a_lost_host_goes_back_without_momentum_and_the_step_that_lost_it_is_known() -> None:
    config = GovernorConfig(snapshot_every=1)
    hosts, state = MomentumHosts(2), GovernorState.start(2, config)
    stages = torch.tensor([[Stage.FOSSILIZED, Stage.TRAINING]] * 2)
    slots = SlotStates.empty(2, 2).update(torch.ones(2, 2, dtype=torch.bool), stage=stages, blueprint=1)
    good = hosts.parameters
    panics = []
    for losses in ([1.0, 1.0], [1.0, math.nan], [1.0, 1.0]):
        hosts.train(torch.ones(2))
        state, slots, panic = govern(hosts, state, slots, torch.tensor(losses), config, num_classes=10)
        panics.append(panic.tolist())
        good = torch.where(panic == Panic.NONE, hosts.parameters, good)
        assert torch.equal(hosts.parameters, good)
        if losses[1] != losses[1]:
            assert hosts.momentum.tolist()[1] == 0.0
            assert hosts.momentum.tolist()[0] > 0.0
    assert panics == [[0, 0], [0, Panic.NOT_FINITE], [0, 0]]
    assert slots.stage.tolist() == [[Stage.FOSSILIZED, Stage.TRAINING], [Stage.FOSSILIZED, Stage.PRUNED]]
    assert config.penalty == -10


def test_pitfall_18_what_was_never_measured_does_not_look_healthy() -> None:
    layout = ObservationLayout(1)
    start = {(column.feature.name, column.slot): column.start for column in layout.columns()}
    empty = SlotStates.empty(1, 1)
    action = growth_action_space(1).placeholder.clone()[None]
    action[0, 1], action[0, -1] = 3, Op.GERMINATE
    values = {"selectable_blueprints": torch.ones(13, dtype=torch.bool), "accuracy": torch.zeros(1)}
    applied = apply_operations(empty, action, SCALED_LIFECYCLE, **values, gain=torch.zeros(1))
    signals = HostSignals.start(1).record(loss=torch.ones(1), accuracy=torch.tensor([50.0]))
    seen, _ = observe(tick(applied.states, SCALED_LIFECYCLE), signals, layout, horizon=60, gamma=0.99)
    for name in ("health", "previous_health", "contribution_freshness"):
        assert seen[0, start[name, 0]] == -1.0
    for name in ("loss_history", "accuracy_history"):
        assert seen[0, start[name, None] : start[name, None] + 4].tolist() == [-1.0] * 4


@pytest.mark.parametrize("config", [SCALED_LIFECYCLE, REFERENCE_LIFECYCLE])
@pytest.mark.parametrize("stage", [Stage.GERMINATED, Stage.TRAINING, Stage.BLENDING, Stage.HOLDING])
def test_pitfall_22_young_seeds_cannot_be_pruned(config: LifecycleConfig, stage: Stage) -> None:
    legal = [bool(legal_slots(seed(stage, age=age), config)[0, Op.PRUNE, 0]) for age in range(8)]
    assert legal == [age >= config.min_prune_age for age in range(8)]
    assert config.min_prune_age >= 3


@LIGHT
@given(
    numbers=st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=8, max_size=8),
    ages=st.lists(st.integers(-1, 10**6), min_size=3, max_size=3),
    name=st.sampled_from(["v114", "v116"]),
)
def test_pitfall_24_every_observation_is_finite_and_within_its_bounds(
    numbers: list[float], ages: list[int], name: str
) -> None:
    layout = ObservationLayout.named(name, 1)  # ty: ignore[invalid-argument-type]  # the parameter is a plain string
    names = ("contribution", "velocity", "interaction", "gradient_norm", "alpha_velocity", "progress")
    states = seed(Stage.HOLDING, **dict(zip(names, numbers[:6], strict=True)))
    states = states.update(HERE, contribution_age=ages[0], epochs_in_stage=abs(ages[1]), age=abs(ages[2]))
    signals = HostSignals.start(1).record(loss=torch.tensor(numbers[6:7]), accuracy=torch.tensor(numbers[7:]))
    values, _ = observe(states, signals, layout, horizon=60, gamma=0.99)
    low, high = layout.bounds()
    assert bool(((values >= low) & (values <= high)).all())


def test_pitfall_24_large_contributions_do_not_look_alike() -> None:
    layout = ObservationLayout(1)
    column = next(column.start for column in layout.columns() if column.feature.name == "contribution")
    seen = [
        observe(seed(Stage.HOLDING, contribution=value), HostSignals.start(1), layout, horizon=60, gamma=0.99)[0]
        for value in (5.0, 11.0, 40.0, 99.0)
    ]
    values = [observation[0, column].item() for observation in seen]
    assert values == sorted(set(values))
