from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import MultiDiscrete
from numpy.typing import NDArray

from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.policy.config import NetworkConfig
from sightline.tamiyo_policy.policy.network import RecurrentActorCritic
from sightline.tamiyo_policy.policy.records import InputShape
from sightline.tamiyo_policy.ppo.buffer import RolloutBuffer, Sequences
from sightline.tamiyo_policy.ppo.config import RecurrentPPOConfig
from sightline.tamiyo_policy.ppo.inputs import InputReader
from sightline.tamiyo_policy.ppo.rollouts import RolloutCollector
from sightline.tamiyo_policy.ppo.trained_policy import TrainedPolicy
from sightline.tamiyo_policy.tasks.memory_tasks import MemoryTask

STEPS = 4


class Telling(MemoryTask):
    """Says more about its steps than Gymnasium asks for: each is worth 1, the third of environment 0 is rolled back."""

    num_slots = 2

    def __init__(self, told: set[str]) -> None:
        super().__init__(2, 1, MultiDiscrete([2, 2]))
        self._told = told
        self._arrays["count"] = np.zeros(1, np.int64)

    def _begin(self, chosen: NDArray[np.int64]) -> None:
        pass

    def _apply(self, actions: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        self._arrays["count"] += 1
        panic = np.array([self._arrays["count"][0] == 3, False])
        never = np.zeros(2, np.bool_)
        return np.where(panic, -5.0, 1.0).astype(np.float32), panic, never

    def _observe(self) -> NDArray[np.float32]:
        return np.zeros((2, 1), np.float32)

    def _information(self) -> dict[str, Any]:
        count = self._arrays["count"][0]
        everything = {
            "effective_ops": np.zeros(2, np.int64),
            "slot_targets": np.array([[count, np.nan], [np.nan, -count]], np.float32),
            "rollbacks": np.array([count == 3, False]),
        }
        seen = {"categories": np.full((2, 2), count % 3 - 1)}
        return seen | {name: value for name, value in everything.items() if name in self._told}


def played(told: set[str]) -> Sequences:
    relevance = torch.tensor([[True, False], [True, True]])
    space = FactoredActionSpace(("op", "choice"), (2, 2), 0, relevance, torch.zeros(2, dtype=torch.int64))
    generator = torch.Generator().manual_seed(0)
    network = RecurrentActorCritic(InputShape(1, 2, 13), space, NetworkConfig(hidden_dim=8), generator=generator)
    buffer = RolloutBuffer(2, STEPS, 1, space)
    task = Telling(told)
    task.factored_action_space = space  # ty: ignore[missing-attribute] - optional
    reader = InputReader(task, RecurrentPPOConfig(), torch.device("cpu"))
    RolloutCollector(task, TrainedPolicy(network, None), reader, seed=0).collect(buffer)
    return buffer.sequences()


def test_what_was_seen_is_stored_with_the_action_it_led_to() -> None:
    rows = played(set())
    assert rows.categories is not None
    assert rows.categories[0, :, 0].tolist() == [-1, 0, 1, -1]
    assert rows.slot_targets is None


def test_what_was_measured_of_slots_belongs_to_the_step_that_was_taken() -> None:
    rows = played({"slot_targets"})
    assert rows.slot_targets is not None
    assert rows.slot_targets_known is not None
    assert rows.slot_targets[:, :, 0].tolist() == [[1.0, 2.0, 3.0, 4.0], [0.0] * 4]
    assert rows.slot_targets_known[:, 0].tolist() == [[True, False], [False, True]]


def test_credit_follows_the_operation_that_was_carried_out() -> None:
    chosen, carried_out = played(set()), played({"effective_ops"})
    assert torch.equal(chosen.actions, carried_out.actions)
    assert torch.equal(chosen.relevance[..., 1], chosen.actions[..., 0] == 1)
    assert bool(chosen.relevance[..., 1].any())
    assert not bool(carried_out.relevance[..., 1].any())


@pytest.mark.parametrize(("told", "earlier"), [(set(), 1.0), ({"rollbacks"}, 0.0)])
def test_a_rollback_takes_the_earlier_rewards_of_its_episode(told: set[str], earlier: float) -> None:
    rows = played(told)
    assert rows.rewards.tolist() == [[earlier, earlier, -5.0, 1.0], [1.0] * 4]
    assert rows.terminated.tolist() == [[False, False, True, False], [False] * 4]
    assert rows.episode_starts.tolist() == [[True, False, False, True], [True, False, False, False]]
