from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.tamiyo_policy.tasks.memory_tasks import CuedGrowth, MaskedCartPole, MemoryTask, RepeatPrevious, TMaze

TASKS = [RepeatPrevious, TMaze, MaskedCartPole, CuedGrowth]


def random_actions(task: MemoryTask, generator: np.random.Generator) -> NDArray[np.int64]:
    space = task.single_action_space
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return generator.integers(space.nvec, size=(task.num_envs, len(space.nvec)))
    assert isinstance(space, gymnasium.spaces.Discrete)
    return generator.integers(space.n, size=task.num_envs)


def played(task: MemoryTask, steps: int, seed: int) -> list[tuple[Any, ...]]:
    generator = np.random.default_rng(seed)
    return [task.step(random_actions(task, generator))[:4] for _ in range(steps)]


def same(first: list[tuple[Any, ...]], second: list[tuple[Any, ...]]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(np.array_equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", TASKS)
def test_observations_and_actions_are_of_the_declared_spaces(kind: Callable[[int], MemoryTask]) -> None:
    task = kind(3)
    observations, _ = task.reset(seed=0)
    assert observations in task.observation_space
    for observations, rewards, terminated, truncated in played(task, 60, 0):
        assert observations in task.observation_space
        assert rewards.shape == terminated.shape == truncated.shape == (3,)
        assert not (terminated & truncated).any()


@pytest.mark.parametrize("kind", TASKS)
def test_the_same_seed_gives_the_same_episodes_and_another_does_not(kind: Callable[[int], MemoryTask]) -> None:
    runs = []
    for seed in (5, 5, 6):
        task = kind(4)
        observations, _ = task.reset(seed=seed)
        runs.append([(observations,), *played(task, 60, 1)])
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


@pytest.mark.parametrize("kind", TASKS)
def test_a_restored_environment_goes_on_bit_exactly(kind: Callable[[int], MemoryTask]) -> None:
    task = kind(3)
    task.reset(seed=2)
    played(task, 17, 3)
    state = task.state_dict()
    expected = played(task, 60, 4)
    other = kind(3)
    other.reset(seed=99)
    other.load_state_dict(state)
    assert same(played(other, 60, 4), expected)


def test_a_state_of_another_size_is_refused() -> None:
    task = TMaze(3)
    task.reset(seed=0)
    with pytest.raises(ValueError, match="the saved environment"):
        TMaze(4).load_state_dict(task.state_dict())


def test_saying_what_was_seen_four_steps_ago_earns_one_in_all() -> None:
    task = RepeatPrevious(5)
    observations, _ = task.reset(seed=1)
    seen, total = [], np.zeros(5)
    for step in range(48):
        seen.append(observations.argmax(1))
        answer = seen[step - 4] if step >= 4 else np.zeros(5, np.int64)
        observations, rewards, terminated, _, _ = task.step(answer)
        total += rewards
        assert terminated.all() == (step == 47)
    assert total == pytest.approx(np.ones(5), abs=1e-5)


def test_guessing_what_was_seen_earns_the_chance_level() -> None:
    task = RepeatPrevious(200)
    task.reset(seed=0)
    total = sum(rewards for _, rewards, _, _ in played(task, 48, 0))
    assert float(np.mean(total)) == pytest.approx(-0.5, abs=0.03)


def test_the_turn_that_was_shown_is_the_right_one() -> None:
    task = TMaze(6, length=3)
    observations, _ = task.reset(seed=0)
    side = observations[:, 1].astype(np.int64)
    assert 0 < side.sum() < 6
    for _ in range(3):
        observations, *_ = task.step(np.zeros(6, np.int64))
        assert not observations[:, :2].any()
    turn = side.copy()
    turn[0] = 1 - side[0]
    _, rewards, terminated, _, _ = task.step(1 + turn)
    assert terminated.all()
    assert rewards.tolist() == [-1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_standing_still_in_the_maze_is_cut_off_without_a_reward() -> None:
    task = TMaze(1, length=2)
    task.reset(seed=0)
    for step in range(8):
        _, rewards, terminated, truncated, information = task.step(np.ones(1, np.int64))
        assert rewards[0] == 0
        assert not terminated[0]
        assert truncated[0] == (step == 7)
    assert information["final_obs"].shape == (1, 4)
    assert information["_final_obs"].tolist() == [True]


def test_the_cart_pole_moves_as_gymnasium_moves_it() -> None:
    reference = gymnasium.make("CartPole-v1").unwrapped
    task = MaskedCartPole(1)
    task.reset(seed=3)
    start, _ = reference.reset(seed=0)
    state = task.state_dict()
    state["state"] = np.asarray(start, np.float64)[None]
    task.load_state_dict(state)
    reference.state = np.asarray(start, np.float64)  # ty: ignore[missing-attribute]  # CartPole has one
    generator = np.random.default_rng(0)
    for _ in range(200):
        action = int(generator.integers(2))
        expected, _, ended, _, _ = reference.step(action)
        observations, rewards, terminated, _, information = task.step(np.array([action]))
        found = information["final_obs"] if terminated[0] else observations
        assert found[0] == pytest.approx(expected[[0, 2]], abs=1e-6)
        assert rewards[0] == 1
        assert terminated[0] == ended
        if ended:
            return
    pytest.fail("the pole never fell")


@pytest.mark.parametrize("matters", [True, False])
def test_only_the_factors_that_the_cued_operation_uses_must_be_right(matters: bool) -> None:
    task = CuedGrowth(300, delay=2)
    observations, _ = task.reset(seed=0)
    slot, blueprint, op = (part.argmax(1) for part in np.split(observations[:, :-1], [3, 7], axis=1))
    for _ in range(2):
        observations, *_ = task.step(np.zeros((300, 3), np.int64))
        assert not observations[:, :-1].any()
    assert observations[:, -1].all()
    used = op == task.GERMINATE
    shift = used if matters else ~used
    _, rewards, terminated, _, _ = task.step(np.stack([slot, (blueprint + shift) % 4, op], axis=1))
    assert terminated.all()
    assert rewards.tolist() == (~used if matters else np.ones(300)).astype(float).tolist()


def test_a_cue_is_to_be_used_ten_steps_later_by_default() -> None:
    task = CuedGrowth(1)
    task.reset(seed=0)
    ended = [bool(task.step(np.zeros((1, 3), np.int64))[2][0]) for _ in range(11)]
    assert ended == [False] * 10 + [True]


def test_before_its_use_the_cue_leaves_nothing_but_waiting() -> None:
    task = CuedGrowth(1, delay=2)
    _, information = task.reset(seed=0)
    legal = [information["masks"]["op"][0].tolist()]
    for _ in range(3):
        *_, information = task.step(np.zeros((1, 3), np.int64))
        legal.append(information["masks"]["op"][0].tolist())
    waiting, free = [True, False, False], [True, True, True]
    assert legal == [waiting, waiting, free, waiting]


def test_a_list_of_seeds_is_refused() -> None:
    with pytest.raises(TypeError, match="single seed"):
        TMaze(2).reset(seed=[1, 2])
