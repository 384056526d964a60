from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.tamiyo_policy.checkpoints import CheckpointError, read_checkpoint
from sightline.tamiyo_policy.experiment.config import GrowthTrainingConfig
from sightline.tamiyo_policy.experiment.training import (
    CHECKPOINT,
    METRICS,
    SETTINGS,
    load_trained_policy,
    read_metrics,
    train_policy,
)
from sightline.tamiyo_policy.growth.config import GrowthConfig, RewardConfig
from sightline.tamiyo_policy.growth.environment import GrowthEnvironment
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig
from sightline.tamiyo_policy.hosts.digits import ClassificationData
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
    trained = train_policy(environment, CONFIG, tmp_path, seed=0).network
    loaded = load_trained_policy(tmp_path, environment, CONFIG).network
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


def test_what_comes_back_acts_as_the_trainer_does_with_the_scale_of_its_observations(
    environment: GrowthEnvironment, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"policy": POLICY.model_copy(update={"normalise_observations": True})})
    trained = train_policy(environment, config, tmp_path, seed=0)
    loaded = load_trained_policy(tmp_path, environment, config)
    saved = read_checkpoint(tmp_path / CHECKPOINT)["observation_normaliser"]
    for policy in (trained, loaded):
        assert policy.normaliser is not None
        assert int(policy.normaliser.moments.updates) == 4
        assert torch.equal(policy.normaliser.moments.mean, saved["moments.mean"])
