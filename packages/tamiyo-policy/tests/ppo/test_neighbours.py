"""Beside the field: Stable-Baselines3's own evaluation runs on our trainer, and all of POPGym trains without glue."""

from __future__ import annotations

import inspect
from pathlib import Path

import gymnasium
import numpy as np
import popgym.envs  # noqa: F401 - registers its environments
import pytest
from sb3_contrib import RecurrentPPO as ContribRecurrentPPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sightline.tamiyo_policy.ppo.recurrent_ppo import RecurrentPPO

MIGRATION = Path(__file__).parents[2] / "docs" / "migration.md"
POPGYM = sorted(name for name in gymnasium.registry if name.startswith("popgym-"))


def start(name: str) -> dict[str, float]:
    environment = gymnasium.make(name, disable_env_checker=True)
    return RecurrentPPO(environment, num_steps=16, hidden_dim=16).learn(48)[-1]


@pytest.mark.parametrize("name", ["popgym-AutoencodeEasy-v0", "popgym-BattleshipEasy-v0", "popgym-MineSweeperEasy-v0"])
def test_environments_of_popgym_start_training_without_glue(name: str) -> None:
    assert start(name)["gradient_steps"] > 0


@pytest.mark.slow
def test_all_environments_of_popgym_start_training_without_glue() -> None:
    assert len(POPGYM) == 42
    assert {name: start(name)["gradient_steps"] for name in POPGYM} == dict.fromkeys(POPGYM, 4.0)


@pytest.mark.parametrize("previous", [False, True])
def test_the_evaluation_of_stable_baselines_finds_what_ours_finds(previous: bool) -> None:
    trainer = RecurrentPPO("CartPole-v1", num_steps=32, hidden_dim=16, previous_action=previous)
    trainer.learn(320)
    theirs, _ = evaluate_policy(
        trainer,  # ty: ignore[invalid-argument-type] - what it needs is `predict`
        make_vec_env("CartPole-v1", n_envs=1, seed=3),
        n_eval_episodes=1,
    )
    assert theirs == trainer.evaluate("CartPole-v1", 1, seed=3).mean_return


def test_every_argument_of_sb3_contrib_has_its_place_on_the_page() -> None:
    page = MIGRATION.read_text(encoding="utf-8")
    calls = (
        ContribRecurrentPPO.__init__,
        ContribRecurrentPPO.learn,
        ContribRecurrentPPO.predict,
        ContribRecurrentPPO.load,
        ContribRecurrentPPO.policy_aliases["MlpLstmPolicy"].__init__,
    )
    names = {name for call in calls for name in inspect.signature(call).parameters} - {"self", "kwargs"}
    assert len(names) > 40
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_what_the_page_says_about_our_settings_exists() -> None:
    config = RecurrentPPO("CartPole-v1").config
    fields = {*type(config).model_fields, *type(config.ppo).model_fields}
    named = {"learning_rate", "num_steps", "minibatches", "epochs", "gamma", "gae_lambda", "clip_range", "hidden_dim"}
    assert named <= fields
    assert np.isfinite(config.ppo.learning_rate)
