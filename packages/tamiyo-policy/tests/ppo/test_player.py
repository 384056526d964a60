"""Playing and evaluating in every mode of automatic resets; the cases in which others go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import popgym.envs  # noqa: F401 - registers its environments
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from sightline.tamiyo_policy.ppo.player import Evaluation
from sightline.tamiyo_policy.ppo.recurrent_ppo import RecurrentPPO
from sightline.tamiyo_policy.tasks.memory_tasks import RepeatPrevious

MODES = list(AutoresetMode)


class Countdown(gymnasium.Env[Any, Any]):
    """Shows how many steps are left; the first observation of an episode says how long it is, its reward is 1 a step.

    The n-th episode of an environment has n + `first` steps.
    """

    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Box(0, 100, (1,))

    def __init__(self, first: int = 1) -> None:
        self._length, self._left = first - 1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._length += 1
        self._left = self._length
        return np.array([self._left], np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._left -= 1
        return np.array([self._left], np.float32), 1.0, self._left == 0, False, {}


def vector(mode: AutoresetMode, *makers: Callable[[], gymnasium.Env[Any, Any]]) -> SyncVectorEnv:
    return SyncVectorEnv(list(makers), autoreset_mode=mode)


def untrained(environment: Any, **settings: Any) -> RecurrentPPO:
    return RecurrentPPO(environment, num_steps=8, hidden_dim=16, **settings)


@pytest.mark.parametrize("mode", MODES)
def test_each_environment_counts_with_as_many_episodes_so_that_short_ones_are_not_favoured(mode: AutoresetMode) -> None:
    environment = vector(mode, Countdown, lambda: Countdown(20))
    result = untrained(vector(mode, Countdown)).evaluate(environment, 5)
    assert sorted(result.lengths.tolist()) == [1, 2, 3, 20, 21]
    assert result.returns.tolist() == result.lengths.tolist()
    assert result.mean_return == pytest.approx(47 / 5)


@pytest.mark.parametrize("mode", MODES)
def test_an_episode_under_way_does_not_count(mode: AutoresetMode) -> None:
    player = untrained(vector(mode, Countdown)).player(vector(mode, lambda: Countdown(5)))
    list(player.steps(2))
    assert player.episodes(2).lengths.tolist() == [6, 7]


@pytest.mark.parametrize("mode", MODES)
def test_the_memory_of_an_episode_is_that_of_its_own_steps(mode: AutoresetMode) -> None:
    """Each hidden state equals the one that the network has after the same episode alone."""
    trainer = untrained(vector(mode, Countdown))
    player = trainer.player(vector(mode, lambda: Countdown(3), lambda: Countdown(4)))
    shown: list[list[NDArray[Any]]] = [[], []]
    for _ in range(25):
        seen, starts = player._stepper.seen.states.numpy(), player._stepper.starts.copy()
        player.step()
        for index in range(2):
            shown[index] = [seen[index]] if starts[index] else [*shown[index], seen[index]]
            states = torch.from_numpy(np.stack(shown[index])[None])
            _, (h, _) = trainer.network.memory(trainer.network.entrance(states), trainer.network.initial_hidden(1))  # ty: ignore[not-callable]
            torch.testing.assert_close(player._hidden[0][0, index], h[0, 0].detach(), atol=1e-5, rtol=1e-5)


def by_predict(trainer: RecurrentPPO, environment: SyncVectorEnv, episodes: int, seed: int) -> NDArray[Any]:
    """The loop that one writes around `predict`, as its documentation says it must be."""
    observations, information = environment.reset(seed=seed)
    state, starts = None, np.ones(environment.num_envs, np.bool_)
    ended = np.zeros_like(starts)
    waits = environment.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    totals, found = np.zeros(environment.num_envs), [[] for _ in range(environment.num_envs)]
    while min(map(len, found)) < episodes // environment.num_envs:
        actions, state = trainer.predict(
            observations, state, episode_starts=starts, information=information, deterministic=True
        )
        before = ended
        observations, rewards, terminated, truncated, information = environment.step(actions)
        ended = terminated | truncated
        starts = before if waits else ended
        totals += rewards
        for index in np.flatnonzero(ended):
            found[index].append(totals[index])
            totals[index] = 0.0
    return np.array([each[: episodes // environment.num_envs] for each in found])


def repeat_first(mode: AutoresetMode, count: int = 8) -> SyncVectorEnv:
    return vector(mode, *[lambda: gymnasium.make("popgym-RepeatFirstEasy-v0", disable_env_checker=True)] * count)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_what_is_learned_on_repeat_first_is_found_by_evaluation_and_by_ones_own_loop(mode: AutoresetMode) -> None:
    trainer = RecurrentPPO(repeat_first(mode), learning_rate=5e-3)
    trainer.learn(24_000)
    evaluated = trainer.evaluate(repeat_first(mode), 80, seed=5)
    own = by_predict(trainer, repeat_first(mode), 80, seed=5)
    assert sorted(own.ravel().tolist()) == pytest.approx(sorted(evaluated.returns.tolist()))
    assert evaluated.mean_return > 0.2


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_evaluation_and_ones_own_loop_agree(mode: AutoresetMode) -> None:
    trainer = untrained(repeat_first(mode, 3))
    evaluated = trainer.evaluate(repeat_first(mode, 3), 6, seed=5)
    own = by_predict(trainer, repeat_first(mode, 3), 6, seed=5)
    assert sorted(own.ravel().tolist()) == pytest.approx(sorted(evaluated.returns.tolist()))


def test_all_modes_evaluate_to_the_same() -> None:
    trainer = untrained(repeat_first(AutoresetMode.SAME_STEP, 2))
    found = [sorted(trainer.evaluate(repeat_first(mode, 2), 2, seed=3).returns.tolist()) for mode in MODES]
    assert found[0] == found[1] == found[2]


def test_a_policy_is_evaluated_in_any_number_of_environments_or_in_a_single_one() -> None:
    trainer = untrained(RepeatPrevious(4))
    assert len(trainer.evaluate(RepeatPrevious(7), 9).returns) == 9
    single = untrained("CartPole-v1")
    assert len(single.evaluate(gymnasium.make("CartPole-v1"), 2).returns) == 2


def test_the_same_seed_plays_the_same_episodes() -> None:
    trainer = untrained("CartPole-v1")
    first, again, other = (
        trainer.evaluate("CartPole-v1", 4, deterministic=False, seed=seed).returns.tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_learning_begins_new_episodes_where_its_own_environment_was_played_in() -> None:
    environment = vector(AutoresetMode.SAME_STEP, lambda: Countdown(3))
    trainer = untrained(environment)
    trainer.learn(8)
    trainer.evaluate(environment, 2)
    trainer.learn(8)
    rows = trainer._buffer.sequences()
    assert bool(rows.episode_starts[0, 0])
    assert not rows.initial_hidden[0].any()


def test_environments_with_other_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the policy has .*this environment"):
        untrained(RepeatPrevious(2)).evaluate(RepeatPrevious(2, symbols=5), 1)


def test_an_observation_that_is_not_finite_is_named_by_environment_and_step() -> None:
    class Breaks(Countdown):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            observation, reward, terminated, truncated, information = super().step(action)
            shown = observation * np.nan if self._left == 2 else observation
            return shown, reward, terminated, truncated, information

    environment = vector(AutoresetMode.SAME_STEP, lambda: Countdown(9), lambda: Breaks(5))
    with pytest.raises(ValueError, match="environment 1 is not finite at step 3 of its episode"):
        untrained(vector(AutoresetMode.SAME_STEP, Countdown)).evaluate(environment, 2)


def test_returns_have_a_mean() -> None:
    assert Evaluation(np.array([1.0, 2.0]), np.array([3, 4])).mean_return == 1.5
