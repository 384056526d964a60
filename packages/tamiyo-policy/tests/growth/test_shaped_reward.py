from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from sightline.tamiyo_policy.growth.config import ShapedRewardConfig
from sightline.tamiyo_policy.growth.shaped_reward import ShapedReward, ShapedStep, shaped_reward
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.hosts.slots import SlotStates, Stage

CONFIG = ShapedRewardConfig()
HERE = torch.ones(1, 1, dtype=torch.bool)


def seed(stage: Stage, **fields: float) -> SlotStates:
    usual = {"blueprint": 3, "age": 10, "epochs_in_stage": 5, "contribution": 4.0, "contribution_age": 0}
    usual |= {"clean_progress": 4.0, "progress": 4.0, "alpha": 1.0 if stage >= Stage.BLENDING else 0.0}
    return SlotStates.empty(1, 1).update(HERE, stage=stage, **(usual | fields))


def step(before: SlotStates, op: Op = Op.WAIT, *, after: SlotStates | None = None, gain: float = 4.0) -> ShapedStep:
    return ShapedStep(
        before=before,
        after=before if after is None else after,
        slot=torch.tensor([0]),
        wanted_op=torch.tensor([int(op)]),
        effective_op=torch.tensor([int(op)]),
        epoch=torch.tensor([30]),
        accuracy=torch.tensor([80.0]),
        gain_before=torch.tensor([gain]),
        gain_after=torch.tensor([gain]),
        parameters=torch.tensor([[100.0]]),
        host_parameters=torch.tensor([400.0]),
        terminal=torch.tensor([False]),
    )


def terms(taken: ShapedStep, config: ShapedRewardConfig = CONFIG) -> ShapedReward:
    return shaped_reward(taken, config)


@pytest.mark.parametrize(
    ("contribution", "progress", "expected"),
    [(-3.0, 9.0, -3.0), (2.0, -1.0, 0.0), (6.0, 3.0, 4.0), (2.0, 5.0, 2.0), (0.0, 0.0, 0.0)],
)
def test_credit_is_the_contribution_as_far_as_progress_bears_it_out(
    contribution: float, progress: float, expected: float
) -> None:
    states = seed(Stage.BLENDING, contribution=contribution, clean_progress=progress)
    assert terms(step(states)).attribution.item() == pytest.approx(expected)


def test_credit_shrinks_when_all_seeds_together_hurt() -> None:
    states = seed(Stage.BLENDING, contribution=2.0, clean_progress=5.0)
    assert terms(step(states, gain=-1.0)).attribution.item() == pytest.approx(2 / (1 + math.exp(3)))


@pytest.mark.parametrize(("contribution", "expected"), [(2.0, -2.0), (-3.0, 3.0)])
def test_a_pruned_seed_earns_the_opposite_of_its_credit(contribution: float, expected: float) -> None:
    held = seed(Stage.HOLDING, contribution=contribution, clean_progress=5.0)
    gone = SlotStates.empty(1, 1).update(HERE, stage=Stage.PRUNED)
    assert terms(step(held, Op.PRUNE, after=gone)).attribution.item() == pytest.approx(expected)


def test_early_seeds_earn_less() -> None:
    for age, share in ((30, 0.4), (28, 0.7), (26, 1.0), (5, 1.0)):
        states = seed(Stage.BLENDING, contribution=2.0, clean_progress=5.0, age=age)
        assert terms(step(states)).attribution.item() == pytest.approx(2 * share)


def test_an_unmeasured_seed_earns_little_and_only_in_the_forward_pass() -> None:
    for stage, expected in ((Stage.TRAINING, 0.0), (Stage.BLENDING, 1.2)):
        states = seed(stage, contribution=0.0, contribution_age=-1)
        assert terms(step(states)).attribution.item() == pytest.approx(expected)


def test_a_fossil_earns_nothing_more() -> None:
    assert terms(step(seed(Stage.FOSSILIZED))).attribution.item() == 0.0


@pytest.mark.parametrize(
    ("contribution", "gain", "expected"),
    [(0.9, 0.05, 0.0), (5.0, 0.5, -0.1), (90.0, 0.5, -0.3), (5.0, 2.0, 0.0), (5.0, 0.0, -0.15), (90.0, 0.0, -0.3)],
)
def test_a_contribution_far_above_the_gain_is_suspicious(contribution: float, gain: float, expected: float) -> None:
    states = seed(Stage.TRAINING, contribution=contribution)
    assert terms(step(states, gain=gain)).warnings.item() == pytest.approx(expected)


def test_a_blend_that_hurts_is_warned_of_more_every_epoch_up_to_a_bound() -> None:
    for epochs, expected in ((1, -0.15), (4, -0.3), (6, -0.4), (60, -0.4)):
        states = seed(Stage.BLENDING, epochs_in_stage=epochs, contribution=0.5)
        assert terms(step(states, gain=-0.5)).warnings.item() == pytest.approx(expected)


def test_indecision_costs_more_every_epoch_up_to_a_bound() -> None:
    for epochs, expected in ((1, 0.0), (2, -0.1), (4, -0.2), (60, -0.3)):
        assert terms(step(seed(Stage.HOLDING, epochs_in_stage=epochs))).warnings.item() == pytest.approx(expected)


def test_rent_grows_with_parameters_and_is_bounded() -> None:
    states = seed(Stage.BLENDING, alpha=0.5)
    assert terms(step(states)).rent.item() == pytest.approx(-0.5 * math.log1p((50 + 0.0039 * 400) / 400))
    huge = replace(step(states), parameters=torch.tensor([[1e9]]))
    assert terms(huge).rent.item() == pytest.approx(-1.5)


def test_a_small_host_pays_rent_as_if_it_had_200_parameters() -> None:
    states = seed(Stage.BLENDING, alpha=0.5)
    for host in (10.0, 199.0):
        small = replace(step(states), host_parameters=torch.tensor([host]))
        assert terms(small).rent.item() == pytest.approx(-0.5 * math.log1p((50 + 0.0039 * host) / 200))


@pytest.mark.parametrize(("gain", "expected"), [(4.0, 4.0), (0.0, 4.0), (-0.001, 0.0), (-3.0, 0.0)])
def test_making_a_seed_permanent_earns_no_credit_while_all_seeds_together_hurt(gain: float, expected: float) -> None:
    held = seed(Stage.HOLDING)
    taken = step(held, Op.FOSSILIZE, after=held.enter(HERE, Stage.FOSSILIZED), gain=gain)
    assert terms(taken).attribution.item() == pytest.approx(expected)


def test_sudden_changes_of_alpha_are_a_shock() -> None:
    states = seed(Stage.BLENDING, alpha=0.0)
    for alpha in (0.2, 1.0):
        shock = terms(step(states, after=states.update(HERE, alpha=alpha))).shock
        assert shock.item() == pytest.approx(-0.1958 * alpha**2 * 100 / 400)


def test_removing_a_seed_in_one_go_is_a_shock_too() -> None:
    gone = SlotStates.empty(1, 1).update(HERE, stage=Stage.PRUNED)
    shock = terms(step(seed(Stage.HOLDING), Op.PRUNE, after=gone)).shock
    assert shock.item() == pytest.approx(-0.1958 * 100 / 400)


def test_occupied_slots_and_fossils_have_a_price() -> None:
    three = torch.ones(1, 3, dtype=torch.bool)
    states = SlotStates.empty(1, 3).update(three, stage=Stage.FOSSILIZED, blueprint=1)
    taken = replace(step(states), parameters=torch.ones(1, 3))
    assert terms(taken).occupancy.item() == pytest.approx(-(0.02 + 0.006))


@pytest.mark.parametrize(
    ("contribution", "gain", "epochs", "expected"),
    [
        (4.0, 4.0, 5, 0.9 + 3 * math.tanh(1 / 3) - 0.01),
        (4.0, 4.0, 1, (0.9 + 3 * math.tanh(1 / 3)) / 5 - 0.01),
        (0.5, 4.0, 5, -0.21),
        (0.0, -1.0, 5, -0.5 - 0.2 - 0.01),
        (4.0, -1.0, 5, -0.5 - 0.2 - 0.3 - 0.01),
        (4.0, -50.0, 5, -0.5 - 1.0 - 0.3 - 0.01),
    ],
)
def test_fossilisation_pays_for_a_seed_that_proved_itself(
    contribution: float, gain: float, epochs: int, expected: float
) -> None:
    held = seed(Stage.HOLDING, contribution=contribution, epochs_in_stage=epochs)
    fossil = held.enter(HERE, Stage.FOSSILIZED)
    taken = step(held, Op.FOSSILIZE, after=fossil, gain=gain)
    assert terms(taken).action.item() == pytest.approx(expected)


def test_a_refused_fossilisation_costs() -> None:
    taken = replace(step(seed(Stage.BLENDING), Op.FOSSILIZE), effective_op=torch.tensor([int(Op.WAIT)]))
    assert terms(taken).action.item() == pytest.approx(-1.01)


@pytest.mark.parametrize(
    ("contribution", "age", "expected"),
    [(-1.0, 9, 0.15), (-0.2, 9, 0.1), (2.0, 9, -0.4), (60.0, 9, -0.9), (-1.0, 1, 0.15 - 0.6)],
)
def test_pruning_pays_for_a_seed_that_hurts_and_is_not_too_young(
    contribution: float, age: int, expected: float
) -> None:
    held = seed(Stage.HOLDING, contribution=contribution, age=age)
    gone = SlotStates.empty(1, 1).update(HERE, stage=Stage.PRUNED)
    assert terms(step(held, Op.PRUNE, after=gone)).action.item() == pytest.approx(expected - 0.005)


def test_germination_costs_and_into_a_filled_slot_costs_more() -> None:
    assert terms(step(SlotStates.empty(1, 1), Op.GERMINATE)).action.item() == pytest.approx(-0.15)
    blocked = replace(step(seed(Stage.TRAINING), Op.GERMINATE), effective_op=torch.tensor([int(Op.WAIT)]))
    assert terms(blocked).action.item() == pytest.approx(-0.3)


def test_synergy_is_paid_and_its_absence_is_not_fined() -> None:
    for interaction, expected in ((4.0, 0.1 * math.tanh(2.0)), (-4.0, 0.0)):
        states = seed(Stage.BLENDING, interaction=interaction)
        assert terms(step(states)).synergy.item() == pytest.approx(expected)


def test_the_end_pays_for_accuracy() -> None:
    taken = step(seed(Stage.BLENDING))
    assert terms(taken).final_accuracy.item() == 0.0
    assert terms(replace(taken, terminal=torch.tensor([True]))).final_accuracy.item() == pytest.approx(4.0)


def test_the_total_is_the_sum_of_the_terms() -> None:
    reward = terms(step(seed(Stage.HOLDING)))
    assert reward.total.item() == pytest.approx(sum(term.item() for term in reward))


def test_an_empty_slot_earns_nothing() -> None:
    reward = terms(step(SlotStates.empty(1, 1)))
    assert reward.total.item() == 0.0
