from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from sightline.tamiyo_policy.checkpoints import CheckpointError
from sightline.tamiyo_policy.ppo.config import PPOConfig, RecurrentPPOConfig
from sightline.tamiyo_policy.ppo.recurrent_ppo import RecurrentPPO
from sightline.tamiyo_policy.tasks.memory_tasks import CuedGrowth, RepeatPrevious, TMaze

SMALL = RecurrentPPOConfig(num_steps=8, hidden_dim=16, ppo=PPOConfig(minibatches=2, epochs=2))


class TwoKnobs(gymnasium.Env[Any, Any]):
    """Eight steps; the reward counts the knobs that are turned to 1 and 2."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-1, 1, (2, 2), np.float32)
        self.action_space = gymnasium.spaces.MultiDiscrete([2, 3])
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return np.zeros((2, 2), np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._step += 1
        right = int(action[0] == 1) + int(action[1] == 2)
        return np.zeros((2, 2), np.float32), float(right), False, self._step == 8, {}


def cart_poles(mode: AutoresetMode) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: gymnasium.make("CartPole-v1", max_episode_steps=20)] * 3, autoreset_mode=mode)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_any_gymnasium_vector_environment_can_be_learned_from(mode: AutoresetMode) -> None:
    trainer = RecurrentPPO(cart_poles(mode), SMALL.model_copy(update={"num_steps": 40}), seed=0)
    history = trainer.learn(3 * 40 * 2)
    assert [metrics["steps"] for metrics in history] == [120, 240]
    assert all(metrics["log_prob_difference"] < 1e-5 for metrics in history)
    assert all(metrics["gradient_steps"] == 4 for metrics in history)
    # A pole stands for 20 steps at most here, each worth 1; the ignored step of a late reset is none of them.
    assert all(8 <= metrics["episode_return"] == metrics["episode_length"] <= 20 for metrics in history)


def test_several_discrete_actions_are_learned_together() -> None:
    environment = SyncVectorEnv([TwoKnobs] * 8, autoreset_mode=AutoresetMode.SAME_STEP)
    trainer = RecurrentPPO(environment, SMALL, seed=0)
    trainer.learn(8 * 8 * 40)
    actions, _ = trainer.predict(np.zeros((3, 2, 2), np.float32))
    assert actions.tolist() == [[1, 2]] * 3


def test_observations_of_no_fixed_size_are_refused() -> None:
    environment = TMaze(2)
    environment.single_observation_space = gymnasium.spaces.Dict({"said": gymnasium.spaces.Text(4)})  # the fault
    with pytest.raises(TypeError, match=r"observation\['said'\] is Text"):
        RecurrentPPO(environment, SMALL, seed=0)


def test_the_same_seed_gives_the_same_run_whatever_else_draws_random_numbers() -> None:
    first = RecurrentPPO(CuedGrowth(4, delay=2), SMALL, seed=5).learn(64)
    torch.manual_seed(99)
    np.random.default_rng(99).random(3)
    second = RecurrentPPO(CuedGrowth(4, delay=2), SMALL, seed=5).learn(64)
    third = RecurrentPPO(CuedGrowth(4, delay=2), SMALL, seed=6).learn(64)
    assert first == second
    assert first != third


def test_prediction_carries_the_memory_from_call_to_call() -> None:
    trainer = RecurrentPPO(RepeatPrevious(4), SMALL, seed=0)
    symbols = np.eye(4, dtype=np.float32)
    _, after_first = trainer.predict(symbols)
    _, after_second = trainer.predict(symbols, after_first)
    assert not torch.equal(after_first[0], after_second[0])
    again, _ = trainer.predict(symbols, after_first)
    assert again.shape == (4,)
    assert again.tolist() == trainer.predict(symbols, after_first)[0].tolist()


def test_prediction_keeps_to_the_masks() -> None:
    trainer = RecurrentPPO(CuedGrowth(4, delay=2), SMALL, seed=0)
    observations, information = CuedGrowth(50, delay=2).reset(seed=1)
    actions, _ = trainer.predict(observations, information=information, deterministic=False)
    assert (actions[:, 2] == CuedGrowth.WAIT).all()


def test_each_round_is_reported_as_it_is_done() -> None:
    seen: list[float] = []
    trainer = RecurrentPPO(TMaze(4), SMALL, seed=0)
    history = trainer.learn(65, on_round=lambda metrics: seen.append(metrics["steps"]))
    assert seen == [32, 64, 96] == [metrics["steps"] for metrics in history]


def test_an_environment_that_cannot_be_saved_starts_anew_after_loading(tmp_path: Path) -> None:
    trainer = RecurrentPPO(cart_poles(AutoresetMode.NEXT_STEP), SMALL, seed=0)
    trainer.learn(24)
    trainer.save(tmp_path / "state")
    resumed = RecurrentPPO.load(tmp_path / "state", cart_poles(AutoresetMode.NEXT_STEP))
    assert resumed.steps == 24
    pairs = zip(trainer.network.parameters(), resumed.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert len(resumed.learn(24)) == 1


def test_a_checkpoint_of_another_environment_is_refused(tmp_path: Path) -> None:
    trainer = RecurrentPPO(RepeatPrevious(4), SMALL, seed=0)
    trainer.save(tmp_path / "state")
    with pytest.raises(CheckpointError, match="was saved with"):
        RecurrentPPO.load(tmp_path / "state", RepeatPrevious(4, symbols=5))


@pytest.mark.parametrize("number", [1, 3, 9])
def test_a_checkpoint_goes_on_in_any_number_of_environments(tmp_path: Path, number: int) -> None:
    trainer = RecurrentPPO(RepeatPrevious(4), SMALL, seed=0)
    trainer.learn(32)
    trainer.save(tmp_path / "state")
    resumed = RecurrentPPO.load(tmp_path / "state", RepeatPrevious(number))
    assert resumed.predict(np.eye(4))[0].tolist() == trainer.predict(np.eye(4))[0].tolist()
    (metrics,) = resumed.learn(number * SMALL.num_steps)
    assert metrics["steps"] == 32 + number * SMALL.num_steps
    assert metrics["gradient_steps"] == 2 * min(2, number)


def test_epsilon_falls_linearly_to_zero_and_goes_on_falling_after_loading(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"epsilon": 0.4, "epsilon_steps": 128})
    trainer = RecurrentPPO(TMaze(4), config, seed=0)
    found = [trainer.network.epsilon]
    trainer.learn(64, on_round=lambda _: found.append(trainer.network.epsilon))
    assert found == pytest.approx([0.4, 0.3, 0.2])
    trainer.save(tmp_path / "state")
    resumed = RecurrentPPO.load(tmp_path / "state", TMaze(4))
    assert resumed.network.epsilon == pytest.approx(0.2)
    resumed.learn(96)
    assert resumed.network.epsilon == 0.0


def test_the_learning_rate_falls_linearly_to_zero_and_goes_on_falling_after_loading(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"ppo": PPOConfig(learning_rate=0.4, minibatches=2), "learning_rate_steps": 128})
    trainer = RecurrentPPO(TMaze(4), config, seed=0)
    found = [trainer.ppo.optimiser.learning_rate]
    trainer.learn(64, on_round=lambda _: found.append(trainer.ppo.optimiser.learning_rate))
    assert found == pytest.approx([0.4, 0.3, 0.2])
    trainer.save(tmp_path / "state")
    resumed = RecurrentPPO.load(tmp_path / "state", TMaze(4))
    assert resumed.ppo.optimiser.learning_rate == pytest.approx(0.2)
    resumed.learn(64)
    assert resumed.ppo.optimiser.learning_rate == 0.0
    before = [parameter.detach().clone() for parameter in resumed.network.heads.parameters()]
    resumed.learn(32)
    assert all(torch.equal(a, b) for a, b in zip(before, resumed.network.heads.parameters(), strict=True))


def test_only_the_features_that_an_environment_calls_continuous_are_standardised() -> None:
    environment = TMaze(4)
    environment.continuous_features = torch.tensor([False, False, True, False])  # ty: ignore[missing-attribute] - optional
    trainer = RecurrentPPO(environment, SMALL.model_copy(update={"normalise_observations": True}), seed=0)
    trainer.learn(32)
    trainer._collector.collect(trainer._buffer)
    raw = trainer._collector.raw_states().reshape(8, 4, 4).transpose(0, 1)
    seen = trainer._buffer.sequences().states
    assert torch.equal(seen[..., [0, 1, 3]], raw[..., [0, 1, 3]])
    assert not torch.equal(seen[..., 2], raw[..., 2])


def test_sub_heads_read_as_many_features_of_a_slot_as_the_environment_says() -> None:
    environment = CuedGrowth(4, delay=2)
    environment.num_slots = 3  # ty: ignore[missing-attribute] - optional, as the next
    environment.slot_feature_dim = 2  # ty: ignore[missing-attribute]
    trainer = RecurrentPPO(environment, SMALL.model_copy(update={"condition_sub_heads": True}), seed=0)
    assert trainer.network.inputs.slot_features == 2


def test_settings_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="learning_rat"):
        PPOConfig.model_validate({"learning_rat": 1e-3})


@pytest.mark.slow
def test_a_short_maze_is_solved_with_memory_and_not_without() -> None:
    scores = {}
    for recurrent in (True, False):
        config = RecurrentPPOConfig(num_steps=32, recurrent=recurrent)
        history = RecurrentPPO(TMaze(16, length=3), config, seed=0).learn(40_000)
        scores[recurrent] = history[-1]["episode_return"]
    assert scores[True] > 0.9
    assert scores[False] < 0.6


@pytest.mark.gpu
def test_training_on_a_cuda_device_works() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    trainer = RecurrentPPO(CuedGrowth(4, delay=2), SMALL, seed=0, device="cuda")
    history = trainer.learn(64)
    assert all(metrics["gradient_steps"] == 4 for metrics in history)
    assert next(trainer.network.parameters()).device.type == "cuda"


def test_settings_can_be_given_by_name_and_those_that_do_not_exist_are_named() -> None:
    trainer = RecurrentPPO(TMaze(2), learning_rate=0.01, num_steps=5, memory="gru")
    assert trainer.config == RecurrentPPOConfig(num_steps=5, memory="gru", ppo=PPOConfig(learning_rate=0.01))
    with pytest.raises(TypeError, match="no setting 'learning_rates': did you mean 'learning_rate'"):
        RecurrentPPO(TMaze(2), learning_rates=0.01)
    with pytest.raises(ValueError, match="a config or settings, not both"):
        RecurrentPPO(TMaze(2), SMALL, gamma=0.9)
    kept = RecurrentPPOConfig.from_settings(ppo=PPOConfig(epochs=7), gamma=0.5)
    assert kept.ppo == PPOConfig(epochs=7, gamma=0.5)


def test_the_defaults_fit_a_single_environment() -> None:
    trainer = RecurrentPPO("CartPole-v1")
    assert trainer.learn(128)[-1]["gradient_steps"] == 4
    observation, _ = gymnasium.make("CartPole-v1").reset(seed=0)
    action, state = trainer.predict(observation)
    assert np.shape(action) == ()
    assert np.shape(trainer.predict(observation, state, episode_starts=np.array([False]))[0]) == ()


def test_a_masked_policy_that_acts_without_masks_warns() -> None:
    trainer = RecurrentPPO(CuedGrowth(4, delay=2), SMALL)
    observations, information = CuedGrowth(4, delay=2).reset(seed=1)
    with pytest.warns(UserWarning, match="trained with action masks and acts without"):
        trainer.predict(observations)
    trainer.predict(observations, action_masks=information["masks"])


def test_masks_given_to_a_prediction_are_kept_to() -> None:
    trainer = RecurrentPPO(RepeatPrevious(4), SMALL)
    for legal in range(4):
        actions, _ = trainer.predict(np.eye(4), action_masks=np.eye(4, dtype=bool)[[legal] * 4])
        assert actions.tolist() == [legal] * 4
    assert int(trainer.predict(np.eye(4)[0], action_masks=[False, False, True, False])[0]) == 2


def test_a_prediction_from_what_is_not_finite_is_refused() -> None:
    observations = np.eye(4, dtype=np.float32)
    observations[2, 1] = np.nan
    with pytest.raises(ValueError, match="observation of environment 2 is not finite"):
        RecurrentPPO(RepeatPrevious(4), SMALL).predict(observations)


class SometimesBroken(RepeatPrevious):
    """Shows NaN to environment 1 at its sixth step, once."""

    broken = False

    def _observe(self) -> Any:
        shown = super()._observe()
        if not self.broken and self._arrays["steps"][1] == 5:
            self.broken = True
            shown[1] = np.nan
        return shown


def test_an_observation_that_is_not_finite_is_named_and_costs_one_rollout(caplog: pytest.LogCaptureFixture) -> None:
    trainer = RecurrentPPO(SometimesBroken(3, length=8), SMALL)
    with caplog.at_level("WARNING"):
        history = trainer.learn(3 * 8 * 3)
    assert "states (of this rollout, environment 1 at step 5)" in caplog.text
    assert [row["gradient_steps"] > 0 for row in history] == [False, True, True]


@pytest.mark.parametrize("memory", ["lstm", "gru"])
def test_a_resumed_run_equals_one_that_never_stopped_with_either_memory(tmp_path: Path, memory: str) -> None:
    settings: dict[str, Any] = {
        "num_steps": 7,
        "hidden_dim": 16,
        "previous_action": True,
        "previous_reward": True,
        "memory": memory,
    }
    steady = RecurrentPPO(RepeatPrevious(4), **settings)
    steady.learn(56)
    steady.save(tmp_path / "state")
    expected = steady.learn(56)
    assert RecurrentPPO.load(tmp_path / "state", RepeatPrevious(4)).learn(56) == expected
