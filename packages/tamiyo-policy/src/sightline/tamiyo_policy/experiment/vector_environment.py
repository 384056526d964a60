"""The growth environment as a Gymnasium vector environment of endless episodes. Knows nothing about policies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.experiment.mixed_environment import Growing
from sightline.tamiyo_policy.experiment.records import TRAINING_SEEDS
from sightline.tamiyo_policy.growth.governor import Panic
from sightline.tamiyo_policy.growth.records import GrowthObservation, GrowthStep
from sightline.tamiyo_policy.hosts.config import FAMILIES
from sightline.tamiyo_policy.hosts.operations import NUM_BLUEPRINTS, Op


class GrowthEpisodes(VectorEnv[NDArray[np.float32], NDArray[np.int64], Any]):
    """A `GrowthEnvironment` in which one set of episodes follows another, as `RecurrentPPO` plays it.

    Action Space: MultiDiscrete, the eight heads of `factored_action_space`. Observation Space: the layout's features
    [D]; `info` has `categories` [E, K], the blueprints in the slots, and `masks`, and of the step just taken
    `effective_ops` [E], `slot_targets` [E, K], measured contributions in points, NaN where there is none, and
    `rollbacks` [E]. Starting State: fresh hosts,
    seeds at random, the families as evenly as the number of episodes permits and in random order. Rewards: the
    environment's, less the mean of those that other copies of the same episode get in the same step; what an episode
    gives whatever is done in it, which no action of a host can change, is left out so. Episode End: termination after
    T steps, for all together, with a reset in the same step; a rollback terminates too, and its host goes on from its
    last good state as a new episode.

    Args:
        environment: stepped and reset by this object alone.
        families: families of the hosts that are drawn, at least one.
        copies: hosts that play the same episode side by side; 1 for rewards as they are.

    Attributes:
        environment: the same.
        factored_action_space: heads and their relevance.
        num_slots: K.
        num_categories: number of blueprints.
        continuous_features: bool [D], the columns of an observation that may be standardised.
        slot_feature_dim: the last `num_slots` times so many columns describe the slots, one after the other.
        last: means over the last complete set of episodes, by name: `score` J and `accuracy` at the end, in points and
            percent of the validation part, `parameters`, `rollbacks` per episode, and `operation/<name>`, the share
            of steps in which an operation was executed. Empty before the first is complete.

    Raises:
        ValueError: the number of environments is no multiple of `copies`.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 - Gymnasium's declaration

    def __init__(self, environment: Growing, families: Sequence[str] = FAMILIES, *, copies: int = 1) -> None:
        if environment.num_envs % copies:
            raise ValueError(f"{environment.num_envs} environments cannot be divided into groups of {copies} copies")
        self.environment = environment
        self._copies = copies
        self._families = tuple(families)
        self.num_envs = environment.num_envs
        self.factored_action_space = environment.action_space
        self.num_slots = environment.num_slots
        self.num_categories = NUM_BLUEPRINTS
        self.continuous_features = environment.layout.continuous()
        self.slot_feature_dim = sum(feature.size for feature in environment.layout.slot)
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (environment.layout.dimension,))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.single_action_space = gymnasium.spaces.MultiDiscrete(list(environment.action_space.sizes))
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.last: dict[str, float] = {}
        self._steps = 0
        self._operations = np.zeros(len(Op), np.int64)
        self._rollbacks = 0

    @torch.inference_mode(mode=False)
    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin new episodes everywhere; one generator, seeded with `seed`, draws them.

        Raises:
            TypeError: a list of seeds was given.
        """
        if isinstance(seed, list):
            raise TypeError("one generator draws all episodes: give a single seed")
        super().reset(seed=seed, options=options)
        return _as_arrays(self._begin())

    # A policy is played in inference mode, in which no host could learn.
    @torch.inference_mode(mode=False)
    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Execute actions [E, 8]; after the last step of the episodes, what is seen belongs to the next ones."""
        taken = self.environment.step(torch.as_tensor(actions))
        self._steps += 1
        self._operations += np.bincount(taken.info.effective_op.numpy(), minlength=len(Op))
        panicked = taken.info.panic != Panic.NONE
        self._rollbacks += int(panicked.sum())
        over = self._steps == self.environment.config.training.steps
        if over:
            self.last = self._summary(taken)
        observations, information = _as_arrays(self._begin() if over else taken.observation)
        information["effective_ops"] = taken.info.effective_op.numpy()
        information["slot_targets"] = taken.info.contribution.numpy()
        information["rollbacks"] = panicked.numpy()
        if over:
            information["final_obs"] = taken.observation.features.numpy()
            information["_final_obs"] = np.ones(self.num_envs, np.bool_)
        reward = compared(taken.reward, panicked, self._copies).numpy()
        return observations, reward, taken.terminated.numpy(), taken.truncated.numpy(), information

    def _begin(self) -> GrowthObservation:
        episodes = self.num_envs // self._copies
        names = np.resize(np.array(self._families), episodes)
        seeds = self.np_random.integers(TRAINING_SEEDS, size=episodes)
        names = self.np_random.permutation(names)
        self._steps, self._rollbacks = 0, 0
        self._operations[:] = 0
        return self.environment.reset(seeds.repeat(self._copies).tolist(), names.repeat(self._copies).tolist())

    def _summary(self, taken: GrowthStep) -> dict[str, float]:
        shares = self._operations / self._operations.sum()
        return {
            "score": float(taken.info.score.mean()),
            "accuracy": float(taken.info.accuracy.mean()),
            "parameters": float(taken.info.parameters.mean()),
            "rollbacks": self._rollbacks / self.num_envs,
            **{f"operation/{op.name.lower()}": float(shares[op]) for op in Op},
        }

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the future depends on."""
        return {
            "environment": self.environment.state_dict(),
            "generator": json.dumps(self.np_random.bit_generator.state),
            "steps": self._steps,
            "rollbacks": self._rollbacks,
            "operations": self._operations.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken, with an environment of the same data, host and config.

        Raises:
            ValueError: the state is of another environment.
        """
        self.environment.load_state_dict(state["environment"])
        generator = np.random.Generator(np.random.PCG64())
        generator.bit_generator.state = json.loads(state["generator"])
        self.np_random = generator
        self._steps, self._rollbacks = int(state["steps"]), int(state["rollbacks"])
        self._operations = np.array(state["operations"])


def compared(reward: Tensor, panicked: Tensor, copies: int) -> Tensor:
    """Return rewards less the mean of those of an episode's other copies; a penalty stays, and is 0 for the others.

    Args:
        reward: float [E], copies of an episode side by side.
        panicked: bool [E], where the reward is a penalty.
        copies: number of copies of each episode.
    """
    if copies == 1:
        return reward
    counted = torch.where(panicked, 0.0, reward)
    groups = counted.view(-1, copies)
    others = (groups.sum(1, keepdim=True) - groups) / (copies - 1)
    return torch.where(panicked, reward, counted - others.flatten())


def _as_arrays(observation: GrowthObservation) -> tuple[NDArray[np.float32], dict[str, Any]]:
    masks = {name: mask.numpy() for name, mask in observation.masks.items()}
    return observation.features.numpy(), {"categories": observation.blueprint_indices.numpy(), "masks": masks}
