from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.tamiyo_policy.checkpoints import CheckpointError, read_checkpoint
from sightline.tamiyo_policy.experiment.config import GrowthTrainingConfig
from sightline.tamiyo_policy.experiment.records import EVALUATION_SEED, TRAINING_SEEDS, episodes_from
from sightline.tamiyo_policy.experiment.training import (
    CHECKPOINT,
    METRICS,
    SETTINGS,
    load_trained_policy,
    read_metrics,
    train_policy,
)
from sightline.tamiyo_policy.experiment.vector_environment import GrowthEpisodes, compared
from sightline.tamiyo_policy.growth.config import GrowthConfig, RewardConfig
from sightline.tamiyo_policy.growth.environment import GrowthEnvironment
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig
from sightline.tamiyo_policy.hosts.digits import ClassificationData
from sightline.tamiyo_policy.hosts.operations import MLP, Op
from sightline.tamiyo_policy.ppo.config import PPOConfig, RecurrentPPOConfig

STEPS = 6
SMALL = GrowthConfig(training=HostTrainingConfig(steps=STEPS, minibatches=1, batch_size=8))
POLICY = RecurrentPPOConfig(num_steps=STEPS, hidden_dim=16, ppo=PPOConfig(minibatches=2, epochs=1))
CONFIG = GrowthTrainingConfig(rounds=4, checkpoint_every=2, policy=POLICY)


class Killed(Exception):  # noqa: N818 - not an error but an event
    """Stands for the end of the process."""


@pytest.fixture
def environment(small_digits: ClassificationData) -> GrowthEnvironment:
    return GrowthEnvironment(small_digits, 5, config=SMALL)


def train(environment: GrowthEnvironment, folder: Path, *, until: int | None = None, seed: int = 0) -> None:
    def stop(row: dict[str, float]) -> None:
        if row["round"] == until:
            raise Killed

    train_policy(environment, CONFIG, folder, seed=seed, on_round=stop)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, torch.Tensor | np.ndarray):
        return np.array_equal(np.asarray(left), np.asarray(right), equal_nan=left.dtype in (torch.float32, np.float64))
    return left == right


@pytest.mark.parametrize("last_round", [1, 2, 3])
def test_a_training_that_is_killed_and_resumed_ends_in_the_same_state_bit_for_bit(
    environment: GrowthEnvironment, tmp_path: Path, last_round: int
):
    train(environment, tmp_path / "whole")
    with pytest.raises(Killed):
        train(environment, tmp_path / "killed", until=last_round)
    with (tmp_path / "killed" / METRICS).open("ab") as file:
        file.write(b'{"round": 9')
    train(environment, tmp_path / "killed")
    assert (tmp_path / "whole" / METRICS).read_bytes() == (tmp_path / "killed" / METRICS).read_bytes()
    whole, killed = (read_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "killed"))
    assert same(whole, killed)


def test_another_seed_trains_another_policy(environment: GrowthEnvironment, tmp_path: Path):
    train(environment, tmp_path / "a")
    train(environment, tmp_path / "b", seed=1)
    assert (tmp_path / "a" / METRICS).read_bytes() != (tmp_path / "b" / METRICS).read_bytes()


def test_every_round_has_a_row_with_score_entropies_and_shares_of_operations(
    small_digits: ClassificationData, tmp_path: Path
):
    config = SMALL.model_copy(update={"reward": RewardConfig(final_validations=1)})
    environment = GrowthEnvironment(small_digits, 5, config=config)
    train(environment, tmp_path)
    rows = read_metrics(tmp_path / METRICS)
    assert [row["round"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert sum(share for name, share in row.items() if name.startswith("operation/")) == pytest.approx(1)
        assert {f"entropy/{name}" for name in environment.action_space.names} <= row.keys()
        assert (row["score"] < row["accuracy"] - 1e-4) == (row["parameters"] > 0)
        assert row["gradient_steps"] > 0


def test_the_trained_policy_is_read_back(environment: GrowthEnvironment, tmp_path: Path):
    trained = train_policy(environment, CONFIG, tmp_path, seed=0)
    loaded = load_trained_policy(tmp_path, environment, CONFIG)
    for name, weight in trained.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name])


def test_a_cautious_policy_begins_without_undoing_what_it_plants(small_digits: ClassificationData, tmp_path: Path):
    steps = 12
    growth = GrowthConfig(training=HostTrainingConfig(steps=steps, minibatches=1, batch_size=8))
    environment = GrowthEnvironment(small_digits, 20, config=growth)
    shares = []
    for caution in (0.0, 6.0):
        policy = POLICY.model_copy(update={"num_steps": steps})
        config = GrowthTrainingConfig(rounds=1, policy=policy, caution=caution)
        train_policy(environment, config, tmp_path / str(caution), seed=0)
        (row,) = read_metrics(tmp_path / str(caution) / METRICS)
        assert row["operation/germinate"] > 0.02
        shares.append(row["operation/prune"] + row["operation/set_alpha_target"])
    assert shares[0] > 0.05
    assert shares[1] < 0.01


@pytest.mark.parametrize(
    ("changed", "seed"),
    [
        ({"policy": POLICY.model_copy(update={"epsilon": 0.1})}, 0),
        ({"copies": 1}, 0),
        ({"caution": 1.0}, 0),
        ({"families": ("A", "B")}, 0),
        ({}, 1),
    ],
    ids=["policy", "copies", "caution", "families", "seed"],
)
def test_a_folder_of_another_training_is_refused(
    environment: GrowthEnvironment, tmp_path: Path, changed: dict[str, Any], seed: int
):
    train(environment, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = CONFIG.model_copy(update=changed)
    with pytest.raises(ValueError, match=f"another {next(iter(changed), 'seed')}"):
        train_policy(environment, other, tmp_path, seed=seed)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_training_goes_on_for_more_rounds_but_not_in_another_environment(
    environment: GrowthEnvironment, small_digits: ClassificationData, tmp_path: Path
):
    train(environment, tmp_path)
    train_policy(environment, CONFIG.model_copy(update={"rounds": 5, "checkpoint_every": 1}), tmp_path, seed=0)
    assert len(read_metrics(tmp_path / METRICS)) == 5
    config = environment.config.model_copy(update={"reward": RewardConfig(rent=1.0)})
    other = GrowthEnvironment(small_digits, environment.num_envs, config=config)
    with pytest.raises(ValueError, match="another reward"):
        train(other, tmp_path)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("{")])
def test_settings_that_are_lost_are_named(environment: GrowthEnvironment, tmp_path: Path, damage: Any):
    train(environment, tmp_path)
    damage(tmp_path / SETTINGS)
    with pytest.raises(CheckpointError, match=r"settings\.json is missing or damaged"):
        train(environment, tmp_path)


def test_a_checkpoint_without_its_rows_is_refused(environment: GrowthEnvironment, tmp_path: Path):
    train(environment, tmp_path)
    (tmp_path / METRICS).unlink()
    with pytest.raises(CheckpointError, match="after round 4"):
        train(environment, tmp_path)


def test_a_rollout_that_is_no_episode_is_refused(environment: GrowthEnvironment, tmp_path: Path):
    config = CONFIG.model_copy(update={"policy": POLICY.model_copy(update={"num_steps": STEPS + 1})})
    with pytest.raises(ValueError, match=f"num_steps must be {STEPS}"):
        train_policy(environment, config, tmp_path, seed=0)


def test_shaping_with_another_discount_than_the_learner_is_refused(small_digits: ClassificationData, tmp_path: Path):
    config = SMALL.model_copy(update={"reward": RewardConfig(loss_shaping=1.0, gamma=0.9)})
    with pytest.raises(ValueError, match=r"discounts by 0\.9"):
        train_policy(GrowthEnvironment(small_digits, 2, config=config), CONFIG, tmp_path, seed=0)


def test_a_damaged_row_is_named(tmp_path: Path):
    (tmp_path / METRICS).write_bytes(b'{"round": 1}\n{"round"\n')
    with pytest.raises(ValueError, match="line 2"):
        read_metrics(tmp_path / METRICS)


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


def test_evaluation_episodes_take_turns_and_training_never_meets_them():
    drawn = episodes_from(EVALUATION_SEED, 5, "AB")
    assert [episode.family for episode in drawn] == list("ABABA")
    assert len({episode.seed for episode in drawn}) == 5
    assert min(episode.seed for episode in drawn) >= TRAINING_SEEDS
