from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sightline.tamiyo_policy.growth.config import GovernorConfig
from sightline.tamiyo_policy.growth.governor import (
    GovernorState,
    Panic,
    govern,
    judge,
    preflight,
    prune_experimental,
    remember_fossils,
)
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.hosts.slots import SlotStates, Stage

CONFIG = GovernorConfig()


class ToyHosts:
    """Counts what is asked of the hosts."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[bool]]] = []

    def take_snapshot(self, where: Tensor) -> None:
        self.calls.append(("take", where.tolist()))

    def restore_snapshot(self, where: Tensor) -> None:
        self.calls.append(("restore", where.tolist()))

    def clear_optimizers(self, where: Tensor) -> None:
        self.calls.append(("clear", where.tolist()))


def feed(losses: list[float], config: GovernorConfig = CONFIG) -> list[Panic]:
    state = GovernorState.start(1, config)
    seen = []
    for loss in losses:
        state, panic = judge(state, torch.tensor([loss]), config, num_classes=10)
        seen.append(Panic(int(panic)))
    return seen


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_a_panic_at_once(loss: float) -> None:
    assert feed([loss]) == [Panic.NOT_FINITE]


def test_a_host_that_falls_back_to_chance_is_a_panic_at_once() -> None:
    assert feed([1.0, 1.0, math.log(10)])[-1] == Panic.FORGOTTEN


def test_a_host_that_never_knew_anything_may_stay_at_chance() -> None:
    assert set(feed([math.log(10)] * 10)) == {Panic.NONE}


def test_a_loss_far_above_chance_is_not_mistaken_for_forgetting() -> None:
    assert feed([1.0, 1.0, 1.1 * math.log(10)])[-1] == Panic.NONE


def test_anomalies_are_a_panic_after_three_in_a_row() -> None:
    assert feed([1.0] * 10 + [20.0] * 3)[10:] == [Panic.NONE, Panic.NONE, Panic.ANOMALY]


def test_a_normal_loss_starts_the_count_again() -> None:
    assert Panic.ANOMALY not in feed([1.0] * 10 + [20.0, 20.0, 1.0, 20.0, 20.0])


@pytest.mark.parametrize("losses", [[1.0] * 9, [8.0] * 10, [1.0, 21.0] * 5])
def test_every_condition_of_an_anomaly_is_needed(losses: list[float]) -> None:
    assert Panic.ANOMALY not in feed([*losses, *[20.0] * 3])


def test_a_high_loss_below_the_absolute_bound_is_no_anomaly() -> None:
    assert Panic.ANOMALY not in feed([1.0] * 10 + [11.9] * 5)


def test_anomalous_losses_do_not_enter_the_history() -> None:
    state = GovernorState.start(1, CONFIG)
    for loss in [1.0] * 10 + [20.0]:
        state, _ = judge(state, torch.tensor([loss]), CONFIG, num_classes=10)
    assert state.losses.nanmean().item() == 1.0


def test_healthy_hosts_are_remembered_at_intervals() -> None:
    hosts, state, slots = ToyHosts(), GovernorState.start(1, CONFIG), SlotStates.empty(1, 1)
    taken = []
    for epoch in range(1, 13):
        state, slots, _ = govern(hosts, state, slots, torch.ones(1), CONFIG, num_classes=10)
        taken += [epoch] * len(hosts.calls)
        hosts.calls.clear()
    assert taken == [5, 10]


def test_an_anomalous_host_is_not_remembered() -> None:
    hosts, state, slots = ToyHosts(), GovernorState.start(1, CONFIG), SlotStates.empty(1, 1)
    for loss in [1.0] * 14 + [20.0, 20.0]:
        hosts.calls.clear()
        state, slots, _ = govern(hosts, state, slots, torch.tensor([loss]), CONFIG, num_classes=10)
        assert not hosts.calls or loss == 1.0
    assert state.snapshot_age.item() == 6


def test_a_fossil_is_remembered_before_the_next_epoch() -> None:
    hosts, state = ToyHosts(), GovernorState.start(2, CONFIG)
    fossilized = torch.tensor([[False, False], [False, True]])
    remember_fossils(hosts, state, fossilized)
    assert hosts.calls == [("take", [False, True])]


def test_a_host_that_was_only_good_with_a_pruned_seed_is_rolled_back_once() -> None:
    hosts, state, slots = ToyHosts(), GovernorState.start(2, CONFIG), SlotStates.empty(2, 1)
    panics = []
    for lost in (1.0, 1.0, *[math.log(10)] * 3):
        state, slots, panic = govern(hosts, state, slots, torch.tensor([lost, 1.0]), CONFIG, num_classes=10)
        panics.append(panic.tolist())
    nothing = [Panic.NONE, Panic.NONE]
    assert panics == [nothing, nothing, [Panic.FORGOTTEN, Panic.NONE], nothing, nothing]
    assert (~state.losses.isnan()).sum(1).tolist() == [2, 5]


def test_only_experimental_seeds_are_pruned() -> None:
    stages = [Stage.DORMANT, Stage.GERMINATED, Stage.HOLDING, Stage.FOSSILIZED, Stage.EMBARGOED]
    blueprints = [-1, 1, 1, 1, -1]
    both = torch.ones(2, 5, dtype=torch.bool)
    states = SlotStates.empty(2, 5).update(both, stage=torch.tensor(stages), blueprint=torch.tensor(blueprints))
    after = prune_experimental(states, torch.tensor([True, False]))
    assert after.stage[0].tolist() == [Stage.DORMANT, Stage.PRUNED, Stage.PRUNED, Stage.FOSSILIZED, Stage.EMBARGOED]
    assert after.blueprint[0].tolist() == [-1, -1, -1, 1, -1]
    assert after.stage[1].tolist() == stages


def test_nothing_is_decided_on_measurements_that_are_not_finite() -> None:
    state = GovernorState.start(3, CONFIG)
    loss, accuracy = torch.tensor([1.0, math.nan, 1.0]), torch.tensor([50.0, 50.0, math.inf])
    op = torch.tensor([int(Op.GERMINATE)] * 3)
    assert preflight(state, op, loss, accuracy).tolist() == [True, False, False]


def test_no_seed_becomes_permanent_in_an_anomalous_host() -> None:
    state = GovernorState.start(1, CONFIG)
    suspicious = GovernorState(state.losses, state.anomalies + 1, state.snapshot_age)
    for op in Op:
        verdict = preflight(suspicious, torch.tensor([int(op)]), torch.ones(1), torch.ones(1))
        assert verdict.item() == (op != Op.FOSSILIZE)


def test_environments_are_replaced_one_by_one() -> None:
    used = GovernorState(torch.ones(2, CONFIG.window), torch.ones(2).long(), torch.ones(2).long())
    mixed = used.select(torch.tensor([True, False]), GovernorState.start(2, CONFIG))
    assert mixed.anomalies.tolist() == [1, 0]
    assert mixed.losses.isnan().all(1).tolist() == [False, True]
