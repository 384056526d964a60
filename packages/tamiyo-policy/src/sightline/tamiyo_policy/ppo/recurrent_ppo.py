"""Recurrent PPO for Gymnasium vector environments with Discrete or MultiDiscrete actions.

Puts network, rollouts and updates together, and saves and restores all of them. An environment may say more about its
actions than Gymnasium does: its attribute `factored_action_space` names heads and their relevance, and `info["masks"]`
the legal actions; with `num_slots` and `num_categories`, `info["categories"]` says what is in its slots. About its
observations, `continuous_features`, bool [D], says which features may be standardised (all, if it is missing), and
`slot_feature_dim` how many at the end belong to each slot. Knows nothing about tasks or losses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from pydantic import ValidationError

from sightline.tamiyo_policy.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.policy.network import RecurrentActorCritic
from sightline.tamiyo_policy.policy.records import InputShape
from sightline.tamiyo_policy.policy.recurrence import Hidden
from sightline.tamiyo_policy.ppo.buffer import RolloutBuffer
from sightline.tamiyo_policy.ppo.config import RecurrentPPOConfig
from sightline.tamiyo_policy.ppo.normalisation import ObservationNormaliser
from sightline.tamiyo_policy.ppo.ppo import PPO
from sightline.tamiyo_policy.ppo.rollouts import RolloutCollector, policy_input
from sightline.tamiyo_policy.ppo.trained_policy import TrainedPolicy


class RecurrentPPO:
    """A recurrent policy, the environments it plays in, and everything needed to go on training.

    Args:
        environment: steps E environments, with next-step or same-step automatic resets; the trainer resets it.
        config: settings.
        seed: seed of the network's first weights, of actions, of minibatches and of the environments.
        device: device of network and rollouts.

    Attributes:
        network: policy and critic.
        ppo: the updater.
        steps: environment steps taken, all environments together.

    Raises:
        TypeError: actions or observations are of a kind that is not supported.
        ValueError: the environment does not reset ended episodes by itself.
    """

    def __init__(
        self,
        environment: VectorEnv[Any, Any, Any],
        config: RecurrentPPOConfig,
        *,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        observed = environment.single_observation_space
        if not isinstance(observed, gymnasium.spaces.Box):
            raise TypeError(f"observations must be a Box; flatten them in a wrapper: {observed!r:.200}")
        self.environment = environment
        self.config = config
        self.steps = 0
        self._device = torch.device(device)
        self._state_dim = int(np.prod(observed.shape))
        space: FactoredActionSpace | None = getattr(environment, "factored_action_space", None)
        self.action_space = space or FactoredActionSpace.from_gymnasium(environment.single_action_space)
        self.network = self._make_network(seed)
        self.ppo = PPO(self.network, config.ppo, seed=seed)
        self._normaliser: ObservationNormaliser | None = None
        if config.normalise_observations:
            every = torch.ones(self._state_dim, dtype=torch.bool)
            continuous = torch.as_tensor(getattr(environment, "continuous_features", every))
            self._normaliser = ObservationNormaliser(continuous).to(self._device)
        self._collector = RolloutCollector(environment, self.network, self._normaliser, seed=seed)
        self._buffer = RolloutBuffer(
            environment.num_envs, config.num_steps, self._state_dim, self.action_space, device=self._device
        )

    @property
    def policy(self) -> TrainedPolicy:
        """Network and scale of observations, the trainer's own: they go on learning with it."""
        return TrainedPolicy(self.network, self._normaliser)

    def _make_network(self, seed: int) -> RecurrentActorCritic:
        inputs = InputShape(
            self._state_dim,
            slots=int(getattr(self.environment, "num_slots", 0)),
            categories=int(getattr(self.environment, "num_categories", 0)),
            slot_features=int(getattr(self.environment, "slot_feature_dim", 0)),
        )
        generator = torch.Generator().manual_seed(seed)
        return RecurrentActorCritic(inputs, self.action_space, self.config, generator=generator).to(self._device)

    def learn(
        self, steps: int, *, on_round: Callable[[dict[str, float]], None] | None = None
    ) -> list[dict[str, float]]:
        """Play and learn in whole rounds until at least `steps` more environment steps are taken.

        Args:
            steps: number of steps, all environments together.
            on_round: what is called with the metrics of each round when it is done.

        Returns:
            The metrics of each round: those of `RolloutCollector.collect` and `PPO.update`, and the total `steps`.
        """
        history: list[dict[str, float]] = []
        goal = self.steps + steps
        while self.steps < goal:
            metrics = self._collector.collect(self._buffer)
            metrics |= self.ppo.update(self._buffer)
            self._count(self.steps + self._buffer.num_environments * self._buffer.num_steps)
            metrics["steps"] = float(self.steps)
            if self._normaliser is not None:
                self._normaliser.update(self._collector.raw_states())
            history.append(metrics)
            if on_round is not None:
                on_round(metrics)
        return history

    def _count(self, steps: int) -> None:
        """Set how many steps were taken, and epsilon and learning rate to what they are for the next round."""
        self.steps = steps
        config = self.config
        if config.epsilon_steps is not None:
            self.network.epsilon = config.epsilon * max(0.0, 1.0 - steps / config.epsilon_steps)
        if config.learning_rate_steps is not None:
            left = max(0.0, 1.0 - steps / config.learning_rate_steps)
            self.ppo.optimiser.learning_rate = config.ppo.learning_rate * left

    def predict(
        self,
        observations: NDArray[Any],
        hidden: Hidden | None = None,
        *,
        information: Mapping[str, Any] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.int64], Hidden]:
        """Return actions for observations [B, ...], and the recurrent state to give to the next call.

        Args:
            observations: observations of any number of environments.
            hidden: what the previous call returned; None, or zero in a row, where an episode begins.
            information: the environment's, with `masks` and `categories` if it has any.
            deterministic: the most probable choice of every head; else one drawn at random.

        Returns:
            Actions as the environment takes them, [B] or [B, heads] int64, and the state, each part [1, B, hidden].
        """
        seen = policy_input(observations, information or {}, self._device)
        output = self._collector.predict(seen, hidden, deterministic=deterministic)
        return self._collector.as_taken(output.actions), output.hidden

    def save(self, path: Path | str) -> None:
        """Write everything that training needs to go on exactly as if it had not stopped.

        That holds for environments with `state_dict` and `load_state_dict`; others begin new episodes after `load`.

        Raises:
            OSError: the file cannot be written; what was there before is still there.
        """
        write_checkpoint(
            Path(path),
            {
                "config": self.config.model_dump_json(),
                "shape": self._shape(),
                "steps": self.steps,
                "network": self.network.state_dict(),
                "ppo": self.ppo.state_dict(),
                "observation_normaliser": None if self._normaliser is None else self._normaliser.state_dict(),
                "collector": self._collector.state_dict(),
            },
        )

    @classmethod
    def load(
        cls, path: Path | str, environment: VectorEnv[Any, Any, Any], *, device: torch.device | str = "cpu"
    ) -> RecurrentPPO:
        """Return a trainer as it was saved.

        Args:
            path: what `save` wrote.
            environment: environments of the same kind and number as the saved ones.
            device: device of network and rollouts.

        Raises:
            CheckpointError: the file is damaged, or of another network, another environment or other settings.
            OSError: it cannot be read.
        """
        state = read_checkpoint(Path(path))
        try:
            config = RecurrentPPOConfig.model_validate_json(state["config"])
            trainer = cls(environment, config, seed=0, device=device)
            if state["shape"] != trainer._shape():
                raise CheckpointError(
                    f"{path} was saved with {state['shape']!r:.300}, the environment has {trainer._shape()!r:.300}"
                )
            trainer._count(int(state["steps"]))
            trainer.network.load_state_dict(state["network"])
            trainer.ppo.load_state_dict(state["ppo"])
            if trainer._normaliser is not None:
                trainer._normaliser.load_state_dict(state["observation_normaliser"])
            trainer._collector.load_state_dict(state["collector"])
        except (ValidationError, KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path} does not fit this version: {str(error)[:300]}") from error
        return trainer

    def _shape(self) -> dict[str, Any]:
        """Return what must agree between a checkpoint and an environment; the order of the heads is part of it."""
        return {
            "environments": self.environment.num_envs,
            "state_dim": self._state_dim,
            "heads": [
                [name, size] for name, size in zip(self.action_space.names, self.action_space.sizes, strict=True)
            ],
        }
