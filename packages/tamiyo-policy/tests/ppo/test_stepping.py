"""Masks in every convention and every mode of automatic resets, also where the last state has no legal action."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from sightline.tamiyo_policy.ppo.recurrent_ppo import RecurrentPPO
from sightline.tamiyo_policy.ppo.stepping import vectorised

MODES = list(AutoresetMode)


class UseEachOnce(gymnasium.Env[Any, Any]):
    """Five stones, each may be taken once; taking an illegal one is counted. It ends when none is left to take.

    Like a board game, its last state has no legal action. `told` is how it says so: "info", "method" or "masks".
    """

    observation_space = gymnasium.spaces.MultiBinary(5)
    action_space = gymnasium.spaces.Discrete(5, start=10)

    def __init__(self, told: str = "info") -> None:
        self._left = np.ones(5, np.bool_)
        self.illegal = 0
        if told == "method":
            self.action_masks = lambda: self._left.copy()
        self._told = told

    def _information(self) -> dict[str, Any]:
        if self._told == "info":
            return {"action_mask": self._left.astype(np.int8)}
        return {"masks": {"action": self._left.copy()}} if self._told == "masks" else {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._left[:] = True
        return self._left.astype(np.int8), self._information()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        stone = int(action) - 10
        self.illegal += not self._left[stone]
        self._left[stone] = False
        return self._left.astype(np.int8), float(stone == 2), not self._left.any(), False, self._information()


def stones(mode: AutoresetMode, told: str, count: int = 4) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: UseEachOnce(told)] * count, autoreset_mode=mode)


def illegal(environment: SyncVectorEnv) -> int:
    return sum(each.unwrapped.illegal for each in environment.envs)  # ty: ignore[missing-attribute]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("told", ["info", "method", "masks"])
def test_a_last_state_without_legal_actions_is_learned_from(mode: AutoresetMode, told: str) -> None:
    environment = stones(mode, told)
    trainer = RecurrentPPO(environment, num_steps=13, hidden_dim=16)
    history = trainer.learn(4 * 13 * 3)
    assert trainer.masked
    assert all(metrics["gradient_steps"] == 16 and metrics["log_prob_difference"] < 1e-5 for metrics in history)
    assert all(metrics["episode_length"] == 5 for metrics in history)
    assert illegal(environment) == 0
    played = stones(mode, told, 3)
    assert trainer.evaluate(played, 7, deterministic=False).returns.tolist() == [1.0] * 7
    assert illegal(played) == 0


def test_without_masks_illegal_actions_are_taken() -> None:
    environment = stones(AutoresetMode.NEXT_STEP, "nothing")
    trainer = RecurrentPPO(environment, num_steps=13, hidden_dim=16)
    trainer.learn(4 * 13)
    assert not trainer.masked
    assert illegal(environment) > 0


@pytest.mark.slow
@pytest.mark.parametrize("told", ["info", "method", "masks"])
def test_no_action_of_forty_thousand_is_illegal(told: str) -> None:
    environment = stones(AutoresetMode.NEXT_STEP, told, 8)
    RecurrentPPO(environment, hidden_dim=32).learn(40_000)
    assert illegal(environment) == 0


def test_several_processes_learn_what_one_does() -> None:
    histories = []
    for vector in (SyncVectorEnv, AsyncVectorEnv):
        environment = vector([lambda: UseEachOnce("method")] * 2)
        histories.append(RecurrentPPO(environment, num_steps=9, hidden_dim=16).learn(36))
        environment.close()
    assert histories[0] == histories[1]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_truncated_episode_is_worth_what_would_have_followed(mode: AutoresetMode) -> None:
    """Reward 1 for ever, cut after 10 steps, discounted by .9: the value is 10 in every mode."""

    class Endless(gymnasium.Env[Any, Any]):
        observation_space = gymnasium.spaces.Discrete(2)
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
            self._steps = 0
            return 0, {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            self._steps += 1
            return 0, 1.0, False, self._steps == 10, {}

    environment = SyncVectorEnv([Endless] * 4, autoreset_mode=mode)
    trainer = RecurrentPPO(environment, num_steps=32, hidden_dim=16, gamma=0.9, gae_lambda=0.9, learning_rate=1e-2)
    metrics = trainer.learn(4 * 32 * 60)[-1]
    assert metrics["return_p50"] == pytest.approx(10, abs=0.3)
    assert metrics["return_p10"] == pytest.approx(10, abs=0.5)


def test_single_environments_and_names_become_vectors_of_one() -> None:
    for environment in (gymnasium.make("CartPole-v1"), "CartPole-v1"):
        vector = vectorised(environment)
        assert vector.num_envs == 1
        assert vector.reset(seed=0)[0].shape == (1, 4)
    assert vectorised(vector) is vector


def test_what_is_no_environment_is_refused() -> None:
    with pytest.raises(TypeError, match="a registered name, not dict"):
        vectorised({})  # ty: ignore[invalid-argument-type] - the fault
