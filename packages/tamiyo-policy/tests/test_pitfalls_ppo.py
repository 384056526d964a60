"""Faults that recurrent PPO implementations have had; `mutations/ppo.json` says how each is put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.policy.config import NetworkConfig
from sightline.tamiyo_policy.policy.network import RecurrentActorCritic
from sightline.tamiyo_policy.policy.records import InputShape
from sightline.tamiyo_policy.ppo.advantages import generalised_advantages
from sightline.tamiyo_policy.ppo.buffer import RolloutBuffer, RolloutStep
from sightline.tamiyo_policy.ppo.config import PPOConfig, RecurrentPPOConfig
from sightline.tamiyo_policy.ppo.inputs import InputReader
from sightline.tamiyo_policy.ppo.ppo import PPO
from sightline.tamiyo_policy.ppo.recurrent_ppo import RecurrentPPO
from sightline.tamiyo_policy.ppo.rollouts import RolloutCollector
from sightline.tamiyo_policy.ppo.trained_policy import TrainedPolicy
from sightline.tamiyo_policy.tasks.memory_tasks import CuedGrowth, MemoryTask

Parts = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class NoisyEpisodes(MemoryTask):
    """Random observations in episodes of 3, 4, 5, ... steps, so that environments end at different times.

    Environment 0's first episode is `gain` times as large; `seen` keeps every observation made, [E, 2] each.
    """

    def __init__(self, num_envs: int, *, gain: float = 1.0, truncates: bool = True) -> None:
        super().__init__(num_envs, 2, gymnasium.spaces.Discrete(3))
        self._gain, self._truncates = gain, truncates
        self._arrays["episode"] = np.zeros(num_envs, np.int64)
        self.seen: list[NDArray[np.float32]] = []

    def _begin(self, chosen: NDArray[np.int64]) -> None:
        self._arrays["episode"][chosen] += 1

    def _apply(self, actions: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        ended = self._arrays["steps"] + 1 == 3 + np.arange(self.num_envs)
        never = np.zeros(self.num_envs, np.bool_)
        rewards = (actions - 1).astype(np.float32)
        return (rewards, never, ended) if self._truncates else (rewards, ended, never)

    def _observe(self) -> NDArray[np.float32]:
        observations = self.np_random.standard_normal((self.num_envs, 2)).astype(np.float32)
        if self._arrays["episode"][0] == 1:
            observations[0] *= self._gain
        self.seen.append(observations)
        return observations


class LateResets(NoisyEpisodes):
    """The same with the reset in the step after the end, whose action is ignored."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - Gymnasium's declaration

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, ...]:
        ended = getattr(self, "_ended", np.zeros(self.num_envs, np.bool_))
        rewards, terminated, truncated = self._apply(actions)
        self._arrays["steps"] += 1
        self._arrays["steps"][ended] = 0
        rewards[ended] = 0
        terminated, truncated = terminated & ~ended, truncated & ~ended
        self._ended = terminated | truncated
        self._begin(np.flatnonzero(ended))
        return self._observe(), rewards, terminated, truncated, {}


class Contextual(MemoryTask):
    """Episodes of one step; the reward is 50 + 100 x the observation, whatever is done."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs, 1, gymnasium.spaces.Discrete(2))
        self._arrays["context"] = np.zeros((num_envs, 1), np.float32)

    def _begin(self, chosen: NDArray[np.int64]) -> None:
        self._arrays["context"][chosen] = self.np_random.uniform(-1, 1, (len(chosen), 1))

    def _apply(self, actions: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        rewards = 50 + 100 * self._arrays["context"][:, 0]
        return rewards, np.ones(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_)

    def _observe(self) -> NDArray[np.float32]:
        return self._arrays["context"].copy()


class WaitTrap(MemoryTask):
    """One state; operation 0 waits for nothing, operation 1 with choice 1 earns 1, with choice 0 it costs a little."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs, 1, gymnasium.spaces.MultiDiscrete([2, 2]))

    @property
    def factored_action_space(self) -> FactoredActionSpace:
        relevance = torch.tensor([[True, False], [True, True]])
        return FactoredActionSpace(("op", "choice"), (2, 2), 0, relevance, torch.zeros(2, dtype=torch.int64))

    def _begin(self, chosen: NDArray[np.int64]) -> None:
        pass

    def _apply(self, actions: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        rewards = np.where(actions[:, 0] == 1, np.where(actions[:, 1] == 1, 1.0, -0.2), 0.0).astype(np.float32)
        return rewards, np.ones(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_)

    def _observe(self) -> NDArray[np.float32]:
        return np.ones((self.num_envs, 1), np.float32)


def collected(
    task: MemoryTask, steps: int, *, rollouts: int = 1, entrance: bool = True
) -> tuple[RecurrentActorCritic, RolloutBuffer]:
    """An untrained network and the last of some rollouts with it."""
    reader = InputReader(task, RecurrentPPOConfig(), torch.device("cpu"))
    space = reader.codec.heads
    generator = torch.Generator().manual_seed(7)
    config = NetworkConfig(hidden_dim=16, entrance=entrance)
    network = RecurrentActorCritic(InputShape(2), space, config, generator=generator)
    buffer = RolloutBuffer(task.num_envs, steps, 2, space)
    collector = RolloutCollector(task, TrainedPolicy(network, None), reader, seed=0)
    for _ in range(rollouts):
        collector.collect(buffer)
    return network, buffer


def blank_step(environments: int, *, starts: bool, valid: bool = True) -> RolloutStep:
    """A step with reward 1 that ends nothing."""
    never = torch.zeros(environments, dtype=torch.bool)
    return RolloutStep(
        states=torch.zeros(environments, 2),
        actions=torch.zeros(environments, 1, dtype=torch.int64),
        log_probs=torch.zeros(environments, 1),
        rewards=torch.ones(environments),
        terminated=never,
        truncated=never,
        episode_starts=never | starts,
        valid=~never & valid,
    )


def weights_of(trainer: RecurrentPPO) -> list[Tensor]:
    return [weight.detach().clone() for weight in trainer.network.parameters()]


def test_pitfall_01_environments_do_not_leak_into_each_other() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, values, bootstraps = (torch.randn(4, 6, generator=generator) for _ in range(3))
    terminated, truncated = (torch.rand(4, 6, generator=generator) < 0.2 for _ in range(2))
    fields = (rewards, values, terminated, truncated, bootstraps)
    together = generalised_advantages(*fields, gamma=0.9, gae_lambda=0.8)
    for row in range(4):
        alone = generalised_advantages(*(field[row : row + 1] for field in fields), gamma=0.9, gae_lambda=0.8)
        assert torch.allclose(together[row], alone[0])


@pytest.mark.parametrize(
    ("at", "terminated", "truncated", "expected"),
    [
        # rewards 1, 2, 3; values 10, 20, 30; bootstrap 100 at each step; gamma 0.5, lambda 1
        (1, False, False, [-9 + 0.5 * 20 + 0.5 * (-18 + 15 + 0.5 * 23), -18 + 15 + 0.5 * 23, 23.0]),
        (1, True, False, [-9 + 10 - 9, -18, 23.0]),
        (1, False, True, [-9 + 10 + 16, 32.0, 23.0]),
        (1, True, True, [-9 + 10 - 9, -18.0, 23.0]),
        (2, True, False, [1 + 0.5 * (-3 - 13.5), -3 - 13.5, -27.0]),
        (2, False, True, [1 + 0.5 * (-3 + 11.5), -3 + 11.5, 23.0]),
        (2, True, True, [1 + 0.5 * (-3 - 13.5), -3 - 13.5, -27.0]),
    ],
)
def test_pitfall_02_truncation_is_not_termination(
    at: int, terminated: bool, truncated: bool, expected: list[float]
) -> None:
    flags = torch.zeros(2, 1, 3, dtype=torch.bool)
    flags[0, 0, at], flags[1, 0, at] = terminated, truncated
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0, 30.0]])
    bootstraps = torch.full((1, 3), 100.0)
    found = generalised_advantages(rewards, values, flags[0], flags[1], bootstraps, gamma=0.5, gae_lambda=1.0)
    assert found.tolist() == [pytest.approx(expected)]


def episode_value(network: RecurrentActorCritic, history: list[NDArray[np.float32]]) -> float:
    """The value of the last of an episode's observations, from a recurrent state of zeros on."""
    return float(network.get_value(torch.from_numpy(np.stack(history))[None])[0, -1])


@pytest.mark.parametrize("kind", [NoisyEpisodes, LateResets])
def test_pitfall_03_truncated_steps_bootstrap_with_the_memory_of_their_episode(kind: type[NoisyEpisodes]) -> None:
    task = kind(3)
    network, buffer = collected(task, 14)
    rows = buffer.sequences()
    if kind is NoisyEpisodes:
        # After a step in which an episode ended, the last observation and the first of the next were both made.
        ends = rows.truncated.any(0).tolist()
        after, position = [], 0
        for ended in ends:
            after.append(task.seen[position + 1])
            position += 2 if ended else 1
    else:
        after = task.seen[1:]
    checked = 0
    for environment in range(3):
        history: list[NDArray[np.float32]] = []
        for step in range(14):
            if rows.episode_starts[environment, step]:
                history = []
            history.append(rows.states[environment, step].numpy())
            if rows.truncated[environment, step] and rows.valid[environment, step]:
                expected = episode_value(network, [*history, after[step][environment]])
                assert float(rows.bootstrap_values[environment, step]) == pytest.approx(expected, abs=1e-5)
                checked += 1
    assert checked >= 6
    assert len(set(rows.truncated.sum(1).tolist())) > 1


def test_pitfall_04_an_episode_does_not_remember_the_one_before() -> None:
    # An entrance would take the size out of what is observed.
    _, calm = collected(NoisyEpisodes(2, gain=1.0), 9, entrance=False)
    _, loud = collected(NoisyEpisodes(2, gain=50.0), 9, entrance=False)
    first, second = calm.sequences(), loud.sequences()
    assert not torch.allclose(first.log_probs[0, :3], second.log_probs[0, :3])
    assert torch.allclose(first.log_probs[0, 3:], second.log_probs[0, 3:], atol=1e-6)


def test_pitfall_04_the_update_forgets_where_the_rollout_forgot() -> None:
    network, buffer = collected(NoisyEpisodes(3), 14)
    assert bool(buffer.sequences().episode_starts[:, 1:].any())
    metrics = PPO(network, PPOConfig(minibatches=1), seed=0).update(buffer)
    assert metrics["log_prob_difference"] < 1e-5


def test_pitfall_06_the_default_baseline_leaves_the_policy_gradient_unbiased() -> None:
    trainer = RecurrentPPO(WaitTrap(1), RecurrentPPOConfig(hidden_dim=16), seed=0)
    state = torch.ones(4, 1, 1)
    actions = torch.tensor([[[0, 0]], [[0, 1]], [[1, 0]], [[1, 1]]])
    rewards = torch.tensor([0.0, 0.0, -0.2, 1.0])

    def estimates(network: RecurrentActorCritic) -> tuple[Tensor, Tensor]:
        """The true gradient of the expected reward, and the expectation of (r - b) grad log pi."""
        output = network.evaluate_actions(state, None, actions)
        log_probs = output.log_probs.sum(-1).squeeze(1)
        # Both rows that wait are one action: the choice does not matter there.
        shares = torch.tensor([0.5, 0.5, 1.0, 1.0])
        head = list(network.heads["op"].parameters())
        probabilities = log_probs.exp() * shares
        weights = (probabilities * (rewards - output.value.squeeze(1))).detach()
        true = torch.autograd.grad((probabilities * rewards).sum(), head, retain_graph=True)
        expected = torch.autograd.grad((weights * log_probs).sum(), head)
        return torch.cat([part.flatten() for part in true]), torch.cat([part.flatten() for part in expected])

    true, expected = estimates(trainer.network)
    assert torch.allclose(true, expected, atol=1e-6)
    config = NetworkConfig(hidden_dim=16, value_mode="op_q")
    biased = RecurrentActorCritic(InputShape(1), trainer.action_space, config, generator=torch.Generator())
    true, expected = estimates(biased)
    assert not torch.allclose(true, expected, atol=1e-4)


def test_pitfall_07_the_critic_learns_returns_of_any_size() -> None:
    config = RecurrentPPOConfig(num_steps=16, hidden_dim=32)
    history = RecurrentPPO(Contextual(16), config, seed=0).learn(16 * 16 * 20)
    assert history[-1]["explained_variance"] > 0.8


def test_pitfall_08_a_policy_that_only_waits_is_left_again() -> None:
    # Without a bonus for entropy, so that nothing but the floor of probabilities leads out.
    ppo = PPOConfig(entropy_coefficient=0.0, learning_rate=1e-2)
    config = RecurrentPPOConfig(num_steps=8, hidden_dim=16, epsilon=0.1, ppo=ppo)
    trainer = RecurrentPPO(WaitTrap(32), config, seed=0)
    with torch.no_grad():
        trainer.network.heads["op"][-1].bias.copy_(torch.tensor([12.0, 0.0]))  # ty: ignore[not-subscriptable]
    trainer.learn(32 * 8 * 30)
    actions, _ = trainer.predict(np.ones((1, 1), np.float32))
    assert actions.tolist() == [[1, 1]]


def test_pitfall_10_the_unit_of_rewards_does_not_change_the_update() -> None:
    updated = []
    for unit in (1e-2, 1.0, 100.0):
        network, buffer = collected(NoisyEpisodes(4), 14)
        ppo = PPO(network, PPOConfig(), seed=0)
        rollout = buffer.sequences()
        rollout.rewards.mul_(unit)
        ppo.update(buffer)
        updated.append(torch.cat([weight.detach().flatten() for weight in network.parameters()]))
    assert torch.allclose(updated[0], updated[1], atol=2e-5)
    assert torch.allclose(updated[2], updated[1], atol=2e-5)


def test_pitfall_12_the_first_ratio_of_an_update_is_one() -> None:
    network, buffer = collected(NoisyEpisodes(4), 14, rollouts=2)
    assert bool(buffer.sequences().initial_hidden[0].any())
    metrics = PPO(network, PPOConfig(epochs=1, minibatches=1), seed=0).update(buffer)
    assert metrics["first_divergence"] == pytest.approx(0.0, abs=1e-9)
    assert metrics["largest_ratio"] == pytest.approx(1.0, abs=1e-4)


def test_pitfall_12_memory_that_changes_after_the_start_does_not_reach_the_update() -> None:
    buffer = RolloutBuffer(2, 1, 2, FactoredActionSpace.independent(("action",), (3,)))
    live = (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))
    buffer.start(live)
    buffer.add(blank_step(2, starts=False))
    for part in live:
        part.fill_(9.0)
    assert all(not part.any() for part in buffer.sequences().initial_hidden)


def test_pitfall_17_the_penalty_of_a_rollback_reaches_the_step_that_caused_it() -> None:
    space = FactoredActionSpace.independent(("action",), (3,))
    buffer = RolloutBuffer(1, 4, 2, space)
    buffer.start((torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)))
    for number in range(4):
        if number == 2:
            assert buffer.mark_rollback(0, -10.0)
        buffer.add(blank_step(1, starts=number in (0, 3), valid=number != 2))
    rows = buffer.sequences()
    assert rows.rewards[0, [0, 1, 3]].tolist() == [0.0, -10.0, 1.0]
    assert rows.terminated.tolist() == [[False, True, False, False]]
    assert rows.learnable.tolist() == [[True, True, False, True]]


def test_pitfall_19_a_resumed_run_equals_one_that_never_stopped(tmp_path: Path) -> None:
    ppo = PPOConfig(minibatches=2, epochs=2, scale_rewards=True)
    config = RecurrentPPOConfig(ppo=ppo, num_steps=7, hidden_dim=16, normalise_observations=True, epsilon=0.02)
    steady = RecurrentPPO(CuedGrowth(4, delay=2), config, seed=3)
    steady.learn(4 * 7 * 3)
    steady.save(tmp_path / "checkpoint")
    expected = steady.learn(4 * 7 * 2)
    resumed = RecurrentPPO.load(tmp_path / "checkpoint", CuedGrowth(4, delay=2))
    assert resumed.learn(4 * 7 * 2) == expected
    assert all(torch.equal(a, b) for a, b in zip(weights_of(steady), weights_of(resumed), strict=True))


def test_pitfall_19_a_rollout_does_not_move_the_normaliser_it_reads() -> None:
    config = RecurrentPPOConfig(num_steps=7, hidden_dim=16, normalise_observations=True, ppo=PPOConfig(minibatches=1))
    trainer = RecurrentPPO(NoisyEpisodes(3), config, seed=0)
    trainer.learn(21)
    moments = trainer._normaliser
    assert moments is not None
    before = {name: value.clone() for name, value in moments.state_dict().items()}
    trainer._collector.collect(trainer._buffer)
    raw = trainer._collector.raw_states().reshape(7, 3, 2).transpose(0, 1)
    mean, deviation = before["moments.mean"], before["moments.variance"].sqrt()
    assert int(before["moments.updates"]) == 1
    assert torch.allclose(trainer._buffer.sequences().states, (raw - mean) / deviation, atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in moments.state_dict().items())


PPO_CHANGES: dict[str, Any] = {
    "learning_rate": 1e-2,
    "gamma": 0.5,
    "gae_lambda": 0.1,
    "epochs": 2,
    "minibatches": 2,
    "clip_range": 1e-3,
    "ratio": "joint",
    "entropy_coefficient": 1.0,
    "value_coefficient": 5.0,
    "forced_value_weight": 1.0,
    "max_gradient_norm": 1e-3,
    "target_divergence": 1e-6,
    "scale_rewards": True,
    "autocast": True,
}
CHANGES: dict[str, Any] = {
    "num_steps": 14,
    "hidden_dim": 24,
    "entrance": False,
    "recurrent": False,
    "value_mode": "op_q",
    "condition_sub_heads": True,
    "epsilon": 0.3,
    "learning_rate_steps": 56,
    "normalise_observations": True,
    "memory": "gru",
    "previous_action": True,
    "previous_reward": True,
}
ELSEWHERE = {"action_bins", "auxiliary_coefficient", "epsilon_steps", "ppo"}


def trained(config: RecurrentPPOConfig) -> list[Tensor]:
    trainer = RecurrentPPO(CuedGrowth(4, delay=2), config, seed=1)
    trainer.learn(2 * 4 * 7)
    return weights_of(trainer)


@pytest.fixture(scope="module")
def usual() -> list[Tensor]:
    return trained(RecurrentPPOConfig(num_steps=7, hidden_dim=16))


@pytest.mark.parametrize("field", sorted(set(PPOConfig.model_fields) - ELSEWHERE))
def test_pitfall_21_every_setting_of_the_update_reaches_it(usual: list[Tensor], field: str) -> None:
    config = RecurrentPPOConfig(num_steps=7, hidden_dim=16, ppo=PPOConfig(**{field: PPO_CHANGES[field]}))
    assert any(not torch.equal(a, b) for a, b in zip(usual, trained(config), strict=True))


@pytest.mark.parametrize("field", sorted(set(RecurrentPPOConfig.model_fields) - ELSEWHERE))
def test_pitfall_21_every_setting_of_the_policy_reaches_it(usual: list[Tensor], field: str) -> None:
    config = RecurrentPPOConfig.model_validate({"num_steps": 7, "hidden_dim": 16, field: CHANGES[field]})
    assert [weight.tolist() for weight in trained(config)] != [weight.tolist() for weight in usual]
