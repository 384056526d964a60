from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.spaces.masks import MaskReader
from sightline.tamiyo_policy.tasks.memory_tasks import CuedGrowth, RepeatPrevious

HEADS = FactoredActionSpace.independent(("a", "b"), (2, 3))
PLAIN = RepeatPrevious(2)


class Asked(gymnasium.Env[Any, Any]):
    """Says by a method that only the last choice of each head is legal."""

    observation_space = spaces.Discrete(1)
    action_space = spaces.MultiDiscrete([2, 3])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return 0, {}

    def action_masks(self) -> list[np.ndarray]:
        return [np.array([0, 1]), np.array([0, 0, 1])]


def as_lists(masks: Any) -> dict[str, list]:
    return {name: mask.tolist() for name, mask in masks.items()}


@pytest.mark.parametrize("vector", [SyncVectorEnv, AsyncVectorEnv])
def test_the_method_of_stable_baselines_is_asked(vector: type) -> None:
    environment = vector([Asked, Asked])
    environment.reset()
    masks = MaskReader(HEADS, environment).read({})
    environment.close()
    assert as_lists(masks) == {"a": [[False, True]] * 2, "b": [[False, False, True]] * 2}


def test_gymnasiums_mask_is_read_and_legal_where_an_environment_told_nothing() -> None:
    rows = np.array([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0]], np.int8)
    masks = MaskReader(HEADS, PLAIN).read({"action_mask": rows, "_action_mask": np.array([True, False])})
    assert as_lists(masks) == {"a": [[True, False], [True, True]], "b": [[True, False, False], [True] * 3]}


def test_masks_as_tuples_are_read() -> None:
    told = np.full(2, None, dtype=object)
    told[0] = (np.array([1, 0], np.int8), np.array([0, 1, 1], np.int8))
    masks = MaskReader(HEADS, PLAIN).read({"action_mask": told, "_action_mask": np.array([True, False])})
    assert as_lists(masks) == {"a": [[True, False], [True, True]], "b": [[False, True, True], [True] * 3]}


def test_masks_by_head_go_before_the_others() -> None:
    given = {"a": np.array([[True, False]]), "b": np.array([[True, False, True]])}
    masks = MaskReader(HEADS, PLAIN).read({"masks": given, "action_mask": np.zeros((1, 5))})
    assert as_lists(masks) == as_lists(given)


def test_nothing_told_is_nothing_forbidden() -> None:
    assert MaskReader(HEADS, PLAIN).read({}) is None


def test_where_an_episode_has_ended_nothing_needs_to_be_legal() -> None:
    rows = np.array([[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]], np.bool_)
    masks = MaskReader(HEADS, PLAIN).read({"action_mask": rows}, ended=np.array([True, False]))
    assert as_lists(masks) == {"a": [[True, True], [False, False]], "b": [[False, False, True]] * 2}


def test_a_mask_of_another_size_is_refused_with_the_heads() -> None:
    with pytest.raises(ValueError, match=r"must have 5 columns.*a: 2, b: 3.*not 4"):
        MaskReader(HEADS, PLAIN).split(np.ones((1, 4)))


def test_masks_of_slots_need_names() -> None:
    task = CuedGrowth(2)
    with pytest.raises(ValueError, match="masks of slots need names"):
        MaskReader(task.factored_action_space, task).split(np.ones((2, 10)))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_information_of_single_environments_keeps_its_meaning_in_a_vector(mode: AutoresetMode) -> None:
    class Told(Asked):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
            return 0, {"masks": {"a": np.array([True, False]), "b": np.array([False, True, True])}}

    environment = SyncVectorEnv([Told, Told], autoreset_mode=mode)
    masks = MaskReader(HEADS, environment).read(environment.reset()[1])
    assert as_lists(masks) == {"a": [[True, False]] * 2, "b": [[False, True, True]] * 2}
