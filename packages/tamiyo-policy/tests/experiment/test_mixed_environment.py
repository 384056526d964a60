from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.tamiyo_policy.experiment.config import GrowthTrainingConfig
from sightline.tamiyo_policy.experiment.mixed_environment import MixedEnvironment
from sightline.tamiyo_policy.experiment.training import METRICS, read_metrics, train_policy
from sightline.tamiyo_policy.experiment.vector_environment import GrowthEpisodes
from sightline.tamiyo_policy.growth.config import GrowthConfig
from sightline.tamiyo_policy.growth.environment import GrowthEnvironment
from sightline.tamiyo_policy.growth.heuristic import random_legal_actions
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig
from sightline.tamiyo_policy.hosts.digits import ClassificationData
from sightline.tamiyo_policy.hosts.instances import InstanceDistribution
from sightline.tamiyo_policy.hosts.tables import table_data
from sightline.tamiyo_policy.ppo.config import PPOConfig, RecurrentPPOConfig

STEPS = 8
CONFIG = GrowthConfig(
    training=HostTrainingConfig(
        steps=STEPS, minibatches=1, batch_size=8, instances=InstanceDistribution(severed=(0, 2), log_budget=(-0.5, 0.5))
    )
)


@pytest.fixture
def mixed(small_digits: ClassificationData) -> MixedEnvironment:
    """Even seeds learn digits with a width of 8, odd ones wine with a width of 4."""
    wine = table_data("wine")

    def build(seed: int, hosts: int) -> GrowthEnvironment:
        data, channels = (wine, 4) if seed % 2 else (small_digits, 8)
        return GrowthEnvironment(data, hosts, config=CONFIG, channels=channels)

    return MixedEnvironment(build, 4)


def test_hosts_take_the_course_that_they_take_alone(mixed: MixedEnvironment, small_digits: ClassificationData) -> None:
    observation = mixed.reset([2, 2, 5, 8], "AAEB")
    alone = GrowthEnvironment(table_data("wine"), 1, config=CONFIG, channels=4)
    first = alone.reset([5], "E")
    assert torch.equal(observation.features[2], first.features[0])
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        actions = random_legal_actions(observation.masks, mixed.action_space, generator)
        together, single = mixed.step(actions), alone.step(actions[2:3])
        torch.testing.assert_close(together.reward[2], single.reward[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(together.observation.features[2], single.observation.features[0], atol=1e-4, rtol=0)
        assert all(
            torch.equal(mask[2], single.observation.masks[name][0]) for name, mask in together.observation.masks.items()
        )
        observation = together.observation
    assert together.terminated.tolist() == [True] * 4
    assert together.info.score.shape == (4,)


def test_a_saved_environment_goes_on_bit_for_bit_also_in_a_fresh_one(mixed: MixedEnvironment) -> None:
    observation = mixed.reset([1, 1, 4, 4], "AACC")
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        observation = mixed.step(random_legal_actions(observation.masks, mixed.action_space, generator)).observation
    other = MixedEnvironment(mixed._build, 4)
    other.load_state_dict(mixed.state_dict())
    for _ in range(3):
        actions = random_legal_actions(observation.masks, mixed.action_space, generator)
        mine, theirs = mixed.step(actions), other.step(actions)
        assert torch.equal(mine.reward, theirs.reward)
        assert torch.equal(mine.observation.features, theirs.observation.features)
        observation = mine.observation


def test_another_number_of_hosts_is_refused(mixed: MixedEnvironment) -> None:
    with pytest.raises(ValueError, match="4 hosts need as many seeds"):
        mixed.reset([1], "A")
    mixed.reset([1, 1, 2, 2], "AAAA")
    with pytest.raises(ValueError, match="has 4 hosts, this one 2"):
        MixedEnvironment(mixed._build, 2).load_state_dict(mixed.state_dict())


def test_a_policy_is_trained_on_it_and_every_set_of_episodes_has_other_instances(
    mixed: MixedEnvironment, tmp_path: Path
) -> None:
    policy = RecurrentPPOConfig(num_steps=STEPS, hidden_dim=8, ppo=PPOConfig(minibatches=2, epochs=1))
    config = GrowthTrainingConfig(rounds=2, copies=2, families=("A", "E"), policy=policy)
    drawn = []
    reset = mixed.reset
    mixed.reset = lambda seeds, families: (drawn.append(tuple(seeds)), reset(seeds, families))[1]
    trained = train_policy(mixed, config, tmp_path, seed=3)
    assert len(read_metrics(tmp_path / METRICS)) == 2
    assert len(set(drawn)) == len(drawn) == 3  # one for each round, and what the last one began
    assert all(seeds[0] == seeds[1] != seeds[2] == seeds[3] for seeds in drawn)
    assert trained.network is not None


def test_copies_of_an_episode_are_rewarded_against_each_other(mixed: MixedEnvironment) -> None:
    episodes = GrowthEpisodes(mixed, ("A",), copies=2)
    _, information = episodes.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    masks = {name: torch.as_tensor(mask) for name, mask in information["masks"].items()}
    actions = random_legal_actions(masks, mixed.action_space, generator).numpy()
    _, reward, *_ = episodes.step(actions)
    np.testing.assert_allclose(reward.reshape(2, 2).sum(1), 0, atol=1e-5)
