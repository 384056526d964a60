"""Previous actions and rewards as inputs, and observations and actions of all kinds."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from sightline.tamiyo_policy.ppo.recurrent_ppo import RecurrentPPO
from sightline.tamiyo_policy.tasks.memory_tasks import RepeatPrevious


class Anything(gymnasium.Env[Any, Any]):
    """Shows samples of a space, takes actions of another, and refuses what is not one; three steps, reward 2 each."""

    def __init__(self, observed: gymnasium.Space[Any], taken: gymnasium.Space[Any]) -> None:
        self.observation_space, self.action_space = observed, taken
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self._steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self._steps += 1
        return self.observation_space.sample(), 2.0, False, self._steps == 3, {}


PICTURE = spaces.Box(0, 255, (12, 10, 3), np.uint8)
OBSERVED = {
    "discrete": spaces.Discrete(3, start=5),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(3),
    "tuple": spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
    "dict": spaces.Dict({"picture": PICTURE, "number": spaces.Box(-1, 1, ())}),
    "picture": PICTURE,
}
TAKEN = {
    "start": spaces.Discrete(3, start=5),
    "multi-binary": spaces.MultiBinary(3),
    "box": spaces.Box(-2, 1, (2,)),
    "table": spaces.MultiDiscrete(np.array([[2, 2], [3, 2]])),
    "tuple": spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (1,))]),
    "dict": spaces.Dict({"a": spaces.Discrete(2), "b": spaces.MultiBinary(2)}),
}


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("observed", OBSERVED.values(), ids=OBSERVED.keys())
def test_all_observation_spaces_are_learned_from(observed: gymnasium.Space[Any], mode: AutoresetMode) -> None:
    environment = SyncVectorEnv([lambda: Anything(observed, spaces.Discrete(2))] * 3, autoreset_mode=mode)
    trainer = RecurrentPPO(environment, num_steps=7, hidden_dim=16, previous_reward=True)
    assert trainer.learn(21)[-1]["gradient_steps"] == 12
    assert trainer.evaluate(environment, 4).returns.tolist() == [6.0] * 4


@pytest.mark.parametrize("taken", TAKEN.values(), ids=TAKEN.keys())
def test_all_action_spaces_are_acted_in(taken: gymnasium.Space[Any]) -> None:
    trainer = RecurrentPPO(Anything(spaces.Discrete(2), taken), num_steps=7, hidden_dim=16, previous_action=True)
    assert trainer.learn(7)[-1]["gradient_steps"] == 4
    action, _ = trainer.predict(1)
    assert taken.contains(action)
    actions, _ = trainer.predict(np.array([0, 1]))
    assert spaces.utils.flatdim(taken) > 0
    assert gymnasium.vector.utils.batch_space(taken, 2).contains(actions)


def test_pictures_are_read_by_convolutions() -> None:
    trainer = RecurrentPPO(Anything(OBSERVED["dict"], spaces.Discrete(2)), hidden_dim=16)
    assert trainer.network.images is not None
    assert trainer.network.images.size == 1 + 16


class Echo(RepeatPrevious):
    """Pays 1 for another action than the last one, which is not observed."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs, symbols=2, length=8)
        self._arrays["last"] = np.zeros(num_envs, np.int64)

    def _apply(self, actions: np.ndarray) -> tuple[Any, Any, Any]:
        other = actions != self._arrays["last"]
        self._arrays["last"] = actions.copy()
        return other.astype(np.float32), self._arrays["steps"] + 1 == 8, np.zeros(self.num_envs, np.bool_)

    def _observe(self) -> Any:
        return np.zeros((self.num_envs, 2), np.float32)


def test_who_sees_what_was_done_last_needs_no_memory_for_it() -> None:
    returns = {}
    for seen in (True, False):
        trainer = RecurrentPPO(Echo(8), num_steps=16, hidden_dim=16, recurrent=False, previous_action=seen)
        trainer.learn(8 * 16 * 15)
        returns[seen] = trainer.evaluate(Echo(8), 16).mean_return
    assert returns[True] > 5
    assert returns[False] < 2


def test_before_the_first_step_of_an_episode_nothing_was_done() -> None:
    environment = SyncVectorEnv(
        [lambda: Anything(spaces.Box(-1, 1, (1,)), spaces.Discrete(3))] * 2, autoreset_mode=AutoresetMode.NEXT_STEP
    )
    trainer = RecurrentPPO(environment, num_steps=9, hidden_dim=16, previous_action=True, previous_reward=True)
    trainer._collector.collect(trainer._buffer)
    rows = trainer._buffer.sequences()
    reward, action = rows.states[..., 0], rows.states[..., 1:4]
    # Three steps, one in which the environment resets itself, then three again.
    assert reward[0].tolist() == [0.0, 2.0, 2.0, 2.0, 0.0, 2.0, 2.0, 2.0, 0.0]
    assert action.sum(-1)[0].tolist() == [0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0]
    for step in (1, 2, 3, 5):
        assert int(action[0, step].argmax()) == int(rows.actions[0, step - 1, 0])


def test_prediction_remembers_the_last_action_and_asks_for_the_last_reward() -> None:
    trainer = RecurrentPPO(RepeatPrevious(3), hidden_dim=16, previous_action=True, previous_reward=True)
    symbols = np.eye(4, dtype=np.float32)[:3]
    actions, state = trainer.predict(symbols)
    assert state.actions[:, 0].tolist() == actions.tolist()
    with pytest.raises(ValueError, match="sees its last rewards: give rewards="):
        trainer.predict(symbols, state)
    with_rewards = [trainer.predict(symbols, state, rewards=np.full(3, value))[1].h for value in (0.0, 5.0)]
    assert not torch.equal(*with_rewards)


def test_an_episode_that_starts_forgets_memory_action_and_reward() -> None:
    trainer = RecurrentPPO(RepeatPrevious(3), hidden_dim=16, previous_action=True, previous_reward=True)
    symbols = np.eye(4, dtype=np.float32)[:3]
    _, first = trainer.predict(symbols)
    starts = np.array([True, False, True])
    ours = trainer.predict(symbols, first, rewards=np.ones(3), episode_starts=starts)
    theirs = trainer.predict(symbols, first, starts, rewards=np.ones(3))
    for _, second in (ours, theirs):
        for row in range(3):
            assert torch.equal(second.h[0, row], first.h[0, row]) == starts[row]
