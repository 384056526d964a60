import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.tamiyo_policy.growth.config import RewardConfig
from sightline.tamiyo_policy.growth.observation import HostSignals
from sightline.tamiyo_policy.growth.rewards import (
    effective_parameters,
    final_accuracy,
    growth_potential,
    growth_reward,
    growth_score,
    potential_shaping,
    stage_potential,
)
from sightline.tamiyo_policy.hosts.slots import SlotStates, Stage

NUMBERS = st.floats(-100, 100)
NEVER = torch.tensor([False])


def test_the_score_is_accuracy_minus_the_rent_of_parameters_in_use() -> None:
    at = torch.tensor([[True, True, False]])
    states = SlotStates.empty(1, 3).update(at, blueprint=1, alpha=torch.tensor([[0.5, 1.0, 1.0]]))
    grown = effective_parameters(states, torch.tensor([[200, 366, 1000]]))
    assert grown.tolist() == [466.0]
    score = growth_score(torch.tensor([90.0]), grown, 466, rent=5.0)
    assert score.item() == pytest.approx(90 - 5 * math.log(2))


@settings(max_examples=20, deadline=None)
@given(accuracies=st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_rewards_sum_to_the_change_of_the_score(accuracies: list[float]) -> None:
    config = RewardConfig()
    nothing = torch.zeros(1)
    total = 0.0
    for before, after in pairwise(accuracies):
        total += growth_reward(
            config,
            score_before=torch.tensor([before], dtype=torch.float64),
            score_after=torch.tensor([after], dtype=torch.float64),
            potential_before=nothing,
            potential_after=nothing,
            terminal=NEVER,
        ).item()
    assert total * config.scale == pytest.approx(accuracies[-1] - accuracies[0], abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(potentials=st.lists(NUMBERS, min_size=2, max_size=12), gamma=st.floats(0.5, 1))
def test_the_discounted_shaping_of_an_episode_depends_on_its_first_state_alone(
    potentials: list[float], gamma: float
) -> None:
    total = 0.0
    steps = len(potentials) - 1
    for step in range(steps):
        pair = torch.tensor(potentials[step : step + 2], dtype=torch.float64)
        terminal = torch.tensor([step == steps - 1])
        total += gamma**step * potential_shaping(pair[:1], pair[1:], gamma=gamma, terminal=terminal).item()
    assert total == pytest.approx(-potentials[0], abs=1e-6)


def test_a_truncated_episode_keeps_its_potential() -> None:
    shaping = potential_shaping(torch.ones(1), 2 * torch.ones(1), gamma=0.5, terminal=NEVER)
    assert shaping.item() == 0.0


def test_the_potential_counts_every_slot() -> None:
    stages = [Stage.DORMANT, Stage.GERMINATED, Stage.HOLDING, Stage.FOSSILIZED, Stage.EMBARGOED]
    states = SlotStates.empty(1, 5).update(torch.ones(1, 5, dtype=torch.bool), stage=torch.tensor([stages]))
    states = states.update(states.in_stage(Stage.HOLDING, Stage.EMBARGOED), epochs_in_stage=3)
    states = states.update(states.in_stage(Stage.FOSSILIZED), epochs_in_stage=300)
    assert stage_potential(states).item() == pytest.approx(1 + (5.5 + 0.9) + (6 + 2))


def test_the_potential_has_the_weights_of_the_configuration() -> None:
    states = SlotStates.empty(1, 1).update(torch.ones(1, 1, dtype=torch.bool), stage=Stage.TRAINING)
    loss = torch.tensor([0.5])
    assert growth_potential(states, loss, RewardConfig()).item() == 0.0
    assert growth_potential(states, loss, RewardConfig(stage_shaping=2.0)).item() == pytest.approx(4.0)
    assert growth_potential(states, loss, RewardConfig(loss_shaping=3.0)).item() == pytest.approx(-1.5)


def test_the_final_accuracy_is_the_mean_of_the_last_validations() -> None:
    signals = HostSignals.start(1)
    for accuracy, expected in ((10.0, 10.0), (40.0, 25.0), (70.0, 40.0), (100.0, 70.0)):
        signals = signals.record(loss=torch.ones(1), accuracy=torch.tensor([accuracy]))
        assert final_accuracy(signals, RewardConfig()).item() == pytest.approx(expected)
