from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from sightline.tamiyo_policy.experiment.vector_environment import GrowthEpisodes, compared
from sightline.tamiyo_policy.growth.config import GrowthConfig
from sightline.tamiyo_policy.growth.environment import GrowthEnvironment
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig
from sightline.tamiyo_policy.hosts.digits import ClassificationData
from sightline.tamiyo_policy.hosts.operations import MLP, Op

STEPS = 6
SMALL = GrowthConfig(training=HostTrainingConfig(steps=STEPS, minibatches=1, batch_size=8))


@pytest.fixture
def environment(small_digits: ClassificationData) -> GrowthEnvironment:
    return GrowthEnvironment(small_digits, 5, config=SMALL)


def wait(episodes: GrowthEpisodes) -> np.ndarray:
    placeholder = episodes.factored_action_space.placeholder.numpy()
    return np.tile(placeholder, (episodes.num_envs, 1))


def test_episodes_end_together_and_others_follow_in_the_same_step(environment: GrowthEnvironment):
    episodes = GrowthEpisodes(environment)
    first, _ = episodes.reset(seed=0)
    ends = []
    for _ in range(2 * STEPS):
        observation, _, terminated, truncated, information = episodes.step(wait(episodes))
        ends.append(terminated.tolist())
        assert not truncated.any()
        assert ("final_obs" in information) == terminated.all()
    assert ends == ([[False] * 5] * (STEPS - 1) + [[True] * 5]) * 2
    assert episodes.last["operation/wait"] == 1
    assert episodes.last["parameters"] == 0
    assert not np.array_equal(first, observation)


def test_the_features_of_slots_are_the_last_of_an_observation(environment: GrowthEnvironment):
    episodes = GrowthEpisodes(environment)
    observation, _ = episodes.reset(seed=0)
    width = episodes.num_slots * episodes.slot_feature_dim
    assert not observation[:, -width:].any()
    actions = wait(episodes)
    for name, choice in {"op": Op.GERMINATE, "blueprint": MLP, "slot": 2}.items():
        actions[:, episodes.factored_action_space.names.index(name)] = int(choice)
    observation, *_ = episodes.step(actions)
    assert not observation[:, -width : -episodes.slot_feature_dim].any()
    assert observation[:, -episodes.slot_feature_dim :].any(1).all()
    assert episodes.continuous_features.shape == observation.shape[1:]


def test_a_step_tells_what_was_executed_measured_and_rolled_back(environment: GrowthEnvironment):
    episodes = GrowthEpisodes(environment)
    _, information = episodes.reset(seed=0)
    assert "effective_ops" not in information
    actions = wait(episodes)
    actions[:, episodes.factored_action_space.names.index("op")] = int(Op.FOSSILIZE)
    environment._training.model.host_parameters[1] = float("nan")
    *_, information = episodes.step(actions)
    assert information["effective_ops"].tolist() == [Op.WAIT] * 5
    assert information["rollbacks"].tolist() == [False, True, False, False, False]
    assert information["slot_targets"].shape == (5, 3)
    assert np.isnan(information["slot_targets"]).all()


def test_families_are_drawn_evenly_and_in_random_order(environment: GrowthEnvironment):
    episodes = GrowthEpisodes(environment, families="AB")
    orders = {(episodes.reset(seed=seed), environment.families)[1] for seed in range(6)}
    assert all(sorted(Counter(order).values()) == [2, 3] for order in orders)
    assert len(orders) > 1


def test_copies_of_an_episode_are_one_host_and_families_stay_even(environment: GrowthEnvironment):
    small = GrowthEnvironment(environment._training.data, 6, config=SMALL)
    episodes = GrowthEpisodes(small, families="AB", copies=3)
    observations, _ = episodes.reset(seed=0)
    assert sorted(Counter(small.families).values()) == [3, 3]
    for group in (observations[:3], observations[3:]):
        assert np.abs(group - group[0]).max() < 1e-5
    assert not np.array_equal(observations[0], observations[3])


def test_copies_that_do_the_same_get_nothing_and_the_better_one_more_than_the_others():
    plain = torch.tensor([1.0, 2.0, 6.0, 0.5, 0.5, 0.5])
    nobody = torch.zeros(6, dtype=torch.bool)
    assert compared(plain, nobody, 3).tolist() == [-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]
    assert torch.equal(compared(plain, nobody, 1), plain)


def test_a_penalty_is_paid_in_full_and_is_no_advantage_to_the_other_copies():
    plain = torch.tensor([-10.0, 2.0, 4.0])
    panicked = torch.tensor([True, False, False])
    assert compared(plain, panicked, 3).tolist() == [-10.0, 0.0, 3.0]


def test_hosts_that_cannot_be_divided_into_groups_are_refused(environment: GrowthEnvironment):
    with pytest.raises(ValueError, match="groups of 2"):
        GrowthEpisodes(environment, copies=2)


def test_a_restored_environment_continues_bit_for_bit(environment: GrowthEnvironment):
    episodes = GrowthEpisodes(environment)
    episodes.reset(seed=3)
    for _ in range(STEPS - 2):
        episodes.step(wait(episodes))
    state = episodes.state_dict()
    runs = []
    for _ in range(2):
        runs.append([episodes.step(wait(episodes))[:2] for _ in range(STEPS)])
        episodes.load_state_dict(state)
    for (observation, reward), (again, reward_again) in zip(*runs, strict=True):
        assert np.array_equal(observation, again)
        assert np.array_equal(reward, reward_again)
