"""Recurrent PPO for Gymnasium environments, single or vectorised, with any spaces of fixed size.

Puts network, rollouts and updates together, and saves and restores all of them. An environment may say more about its
actions than Gymnasium does: its attribute `factored_action_space` names heads and their relevance, and `info["masks"]`
the legal actions (or `info["action_mask"]`, or a method `action_masks`); with `num_slots` and `num_categories`,
`info["categories"]` says what is in its slots. About its observations, `continuous_features`, bool [D], says which
features may be standardised (all numbers, if it is missing), and `slot_feature_dim` how many at the end belong to each
slot. Knows nothing about tasks or losses.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from sightline.tamiyo_policy.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from sightline.tamiyo_policy.policy.network import RecurrentActorCritic
from sightline.tamiyo_policy.policy.recurrence import Hidden
from sightline.tamiyo_policy.ppo.buffer import RolloutBuffer
from sightline.tamiyo_policy.ppo.callbacks import Callback, call_all
from sightline.tamiyo_policy.ppo.config import RecurrentPPOConfig
from sightline.tamiyo_policy.ppo.inputs import InputReader, LastStep
from sightline.tamiyo_policy.ppo.normalisation import ObservationNormaliser
from sightline.tamiyo_policy.ppo.player import Evaluation, Player
from sightline.tamiyo_policy.ppo.ppo import PPO
from sightline.tamiyo_policy.ppo.rollouts import RolloutCollector
from sightline.tamiyo_policy.ppo.stepping import AnyEnvironment, vectorised
from sightline.tamiyo_policy.ppo.trained_policy import TrainedPolicy


class PolicyState(NamedTuple):
    """What a policy remembers of B environments between two calls of `RecurrentPPO.predict`."""

    h: Tensor
    """[1, B, hidden]."""
    c: Tensor
    """[1, B, hidden]."""
    actions: Tensor
    """[B, H], the choices of the last call."""

    @property
    def hidden(self) -> Hidden:
        """State of the memory."""
        return self.h, self.c


class RecurrentPPO:
    """A recurrent policy, the environments it plays in, and everything needed to go on training.

    Args:
        environment: E environments, with any automatic resets; or a single one, or its name. The trainer resets it.
        config: settings; None for the defaults.
        seed: seed of the network's first weights, of actions, of minibatches and of the environments.
        device: device of network and rollouts.
        settings: fields of `RecurrentPPOConfig` and `PPOConfig` by name, in place of a `config`.

    Attributes:
        environment: as a vector environment.
        network: policy and critic.
        ppo: the updater.
        steps: environment steps taken, all environments together.
        masked: whether the environment has said which actions are legal.

    Raises:
        TypeError: a space has no fixed size, or a setting does not exist.
        ValueError: there are a `config` and settings beside it, or a setting is out of range.
    """

    def __init__(
        self,
        environment: AnyEnvironment,
        config: RecurrentPPOConfig | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        **settings: Any,
    ) -> None:
        if config is not None and settings:
            raise ValueError(f"give a config or settings, not both: {sorted(settings)!r}")
        self.environment = vectorised(environment)
        self.config = config = RecurrentPPOConfig.from_settings(**settings) if config is None else config
        self.steps = 0
        self._device = torch.device(device)
        self._reader = InputReader(self.environment, config, self._device)
        self.action_space = self._reader.codec.heads
        generator = torch.Generator().manual_seed(seed)
        self.network = RecurrentActorCritic(self._reader.shape, self.action_space, config, generator=generator)
        self.network.to(self._device)
        self.ppo = PPO(self.network, config.ppo, seed=seed)
        self._normaliser: ObservationNormaliser | None = None
        if config.normalise_observations:
            self._normaliser = ObservationNormaliser(self._reader.continuous).to(self._device)
        self._collector = RolloutCollector(self.environment, self.policy, self._reader, seed=seed)
        self.masked = self._collector.masked
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._buffer = RolloutBuffer(
            self.environment.num_envs,
            config.num_steps,
            self._reader.shape.features,
            self.action_space,
            device=self._device,
        )

    @property
    def policy(self) -> TrainedPolicy:
        """Network and scale of observations, the trainer's own: they go on learning with it."""
        return TrainedPolicy(self.network, self._normaliser)

    def learn(
        self, total_timesteps: int, *, on_round: Callback | Sequence[Callback] | None = None
    ) -> list[dict[str, float]]:
        """Play and learn in whole rounds until at least `total_timesteps` more environment steps are taken.

        Args:
            total_timesteps: number of steps, all environments together.
            on_round: what is called with the metrics of each round when it is done; it may add some of its own, and
                learning ends where it returns False.

        Returns:
            The metrics of each round: those of `RolloutCollector.collect` and `PPO.update`, and the total `steps`.
        """
        history: list[dict[str, float]] = []
        goal = self.steps + total_timesteps
        while self.steps < goal:
            metrics = self._collector.collect(self._buffer)
            self.masked = self._collector.masked
            metrics |= self.ppo.update(self._buffer)
            self._count(self.steps + self._buffer.num_environments * self._buffer.num_steps)
            metrics["steps"] = float(self.steps)
            if self._normaliser is not None:
                self._normaliser.update(self._collector.raw_states())
            history.append(metrics)
            if not call_all(on_round, metrics):
                break
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

    def player(self, environment: AnyEnvironment, *, deterministic: bool = True, seed: int | None = None) -> Player:
        """Return the policy as a player that steps environments and remembers rightly, see `Player`.

        Args:
            environment: environments with the spaces of those it learned in, of any number and any automatic resets.
                The trainer's own are taken from it: it begins new episodes when it goes on learning.
            deterministic: the most probable choice of every head; else one drawn at random.
            seed: seed of the environments and of the draws; None for any.

        Raises:
            ValueError: the environments have other spaces.
        """
        environment = vectorised(environment)
        if environment is self.environment:
            self._collector.interrupted = True
        return Player(self.policy, environment, self._reader_of(environment), deterministic=deterministic, seed=seed)

    def evaluate(
        self, environment: AnyEnvironment, episodes: int, *, deterministic: bool = True, seed: int | None = None
    ) -> Evaluation:
        """Return what the policy reaches in whole episodes; arguments and errors as of `player`."""
        return self.player(environment, deterministic=deterministic, seed=seed).episodes(episodes)

    def _reader_of(self, environment: VectorEnv[Any, Any, Any]) -> InputReader:
        """Return a reader for environments that must be of the same kind."""
        reader = InputReader(environment, self.config, self._device)
        if self._shape() != self._shape_of(reader):
            raise ValueError(f"the policy has {self._shape()!r:.300}, this environment {self._shape_of(reader)!r:.300}")
        return reader

    def predict(
        self,
        observation: Any,
        state: PolicyState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
        *,
        episode_starts: NDArray[np.bool_] | None = None,
        action_masks: Any = None,
        information: Mapping[str, Any] | None = None,
        rewards: NDArray[Any] | None = None,
    ) -> tuple[Any, PolicyState]:
        """Return actions for a batch of observations, or for a single one, and the state to give to the next call.

        Whoever steps the environments must say where episodes start; `player` does all of that by itself.

        Args:
            observation: what environments show, every part [B, ...], B being any number; or what a single one shows.
            state: what the previous call returned; None where all episodes begin.
            episode_start: Stable-Baselines3's name for `episode_starts`.
            deterministic: the most probable choice of every head; else one drawn at random.
            episode_starts: bool [B], True where `observation` is the first of its episode. With NEXT_STEP resets that
                is the observation *after* the one with which `terminated` or `truncated` came.
            action_masks: bool [B, sum of the heads' sizes], or masks by head; None if `information` has them.
            information: the environments', with `masks` (or `action_mask`) and `categories` if they have any.
            rewards: [B], what the last action brought; needed with the setting `previous_reward`.

        Returns:
            Actions as the environments take them, and the state.

        Raises:
            ValueError: an observation is not finite (the message names its row), masks do not fit, or the last rewards
                are needed and missing.
        """
        encoder, information = self._reader.observations, information or {}
        single = encoder.is_single(observation)
        rows = encoder.single_row(observation) if single else encoder.rows(observation)
        broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(broken):
            raise ValueError(f"the observation of environment {int(broken[0])} is not finite")
        if action_masks is not None:
            split = action_masks if isinstance(action_masks, Mapping) else np.atleast_2d(np.asarray(action_masks))
            masks = self._reader.split(split)
        else:
            masks = self._reader.told(information)
            if masks is None and self.masked:
                warnings.warn(
                    "the policy was trained with action masks and acts without: give action_masks= or information=",
                    stacklevel=2,
                )
        starts = episode_start if episode_starts is None else episode_starts
        last, hidden = self._remembered(len(rows), state, starts, rewards)
        seen = self._reader.put_together(rows, last, information.get("categories"), masks)
        with torch.inference_mode():
            output = self.policy.act(
                seen, hidden, deterministic=deterministic, generator=self._generator, with_value=False
            )
        choices = output.actions.cpu().numpy()
        codec = self._reader.codec
        actions = codec.single(choices) if single else codec.taken(choices)
        return actions, PolicyState(*output.hidden, output.actions)

    def _remembered(
        self, batch: int, state: PolicyState | None, starts: Any, rewards: NDArray[Any] | None
    ) -> tuple[LastStep, Hidden]:
        """Return the last step and the memory, both empty where an episode starts."""
        last = LastStep.none(batch, self._reader.heads, self._device)
        if state is None:
            return last, self.network.initial_hidden(batch)
        if self.config.previous_reward and rewards is None:
            raise ValueError("this policy sees its last rewards: give rewards=, or let trainer.player() step")
        got = last.rewards if rewards is None else torch.as_tensor(rewards, dtype=torch.float32, device=self._device)
        flags = np.zeros(batch, np.bool_) if starts is None else np.atleast_1d(np.asarray(starts, np.bool_))
        begins = torch.as_tensor(flags, device=self._device)
        h, c = (part.where(~begins[None, :, None], 0.0) for part in state.hidden)
        return LastStep(state.actions, got).forgotten(begins), (h, c)

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
                "masked": self.masked,
                "network": self.network.state_dict(),
                "ppo": self.ppo.state_dict(),
                "observation_normaliser": None if self._normaliser is None else self._normaliser.state_dict(),
                "collector": self._collector.state_dict(),
            },
        )

    @classmethod
    def load(cls, path: Path | str, environment: AnyEnvironment, *, device: torch.device | str = "cpu") -> RecurrentPPO:
        """Return a trainer as it was saved.

        Args:
            path: what `save` wrote.
            environment: environments of the same kind as the saved ones. With another number of them training goes on
                in new episodes.
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
            trainer.masked = bool(state["masked"])
            trainer.network.load_state_dict(state["network"])
            trainer.ppo.load_state_dict(state["ppo"])
            if trainer._normaliser is not None:
                trainer._normaliser.load_state_dict(state["observation_normaliser"])
            trainer._collector.load_state_dict(state["collector"])
        except (ValidationError, KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path} does not fit this version: {str(error)[:300]}") from error
        return trainer

    def _shape(self) -> dict[str, Any]:
        return self._shape_of(self._reader)

    def _shape_of(self, reader: InputReader) -> dict[str, Any]:
        """Return what must agree between a policy and an environment; the order of the heads is part of it."""
        heads = reader.codec.heads
        return {
            "state_dim": reader.shape.features,
            "heads": [[name, size] for name, size in zip(heads.names, heads.sizes, strict=True)],
        }
