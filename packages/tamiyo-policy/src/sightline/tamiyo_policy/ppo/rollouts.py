"""Plays a policy in a Gymnasium vector environment and writes what happens into a rollout buffer.

The collector keeps the recurrent state of every environment across rollouts, resets it where episodes start, and values
the state after a truncated step before anything is reset. All other values an update reads out of the whole rollout at
once. Knows nothing about learning.

An environment's information about the state that follows may hold `masks` and `categories`; that about the step
just taken `effective_ops` [E] int64, operations as they were carried out, `slot_targets` [E, K] float, NaN where none
was measured, and `rollbacks` [E] bool, steps whose terminal reward also takes back the earlier ones of their episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from sightline.tamiyo_policy.policy.records import ActionOutput, PolicyInput
from sightline.tamiyo_policy.policy.recurrence import Hidden
from sightline.tamiyo_policy.ppo.buffer import RolloutBuffer, RolloutStep
from sightline.tamiyo_policy.ppo.inputs import InputReader
from sightline.tamiyo_policy.ppo.stepping import EpisodeStepper, Taken
from sightline.tamiyo_policy.ppo.trained_policy import TrainedPolicy
from sightline.tamiyo_policy.spaces.masks import Flags


class RolloutCollector:
    """Steps an environment with a policy, rollout after rollout.

    Args:
        environment: steps E environments, with automatic resets of any kind.
        policy: what acts.
        reader: what turns observations into the policy's inputs.
        seed: seed of the environments and of the actions.

    Attributes:
        interrupted: set when somebody else used the environment, so that the next rollout begins new episodes.
    """

    def __init__(
        self, environment: VectorEnv[Any, Any, Any], policy: TrainedPolicy, reader: InputReader, *, seed: int
    ) -> None:
        self._policy = policy
        self._network = policy.network
        self._device = policy.device
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._raw_states: list[Tensor] = []
        self._stepper = EpisodeStepper(environment, reader, self._device)
        self._stepper.begin(seed)
        self._begin_all()

    def _begin_all(self) -> None:
        """Forget what was played, before the first step of an episode in every environment."""
        environments = self._stepper.environment.num_envs
        self._hidden: Hidden = self._network.initial_hidden(environments)
        self._returns = np.zeros(environments)
        self._lengths = np.zeros(environments, np.int64)
        self.interrupted = False

    @property
    def masked(self) -> bool:
        """Whether the environment says which actions are legal."""
        return self._stepper.seen.masks is not None

    def collect(self, buffer: RolloutBuffer) -> dict[str, float]:
        """Fill a buffer with one rollout.

        Args:
            buffer: a buffer of as many environments; what it held is overwritten.

        Returns:
            `episodes` that ended and, if any did, their mean `episode_return` and `episode_length`.
        """
        if self.interrupted:
            self._stepper.begin()
            self._begin_all()
        ended_returns: list[float] = []
        ended_lengths: list[int] = []
        stepper = self._stepper
        self._hidden = self._before(stepper.starts)
        self._raw_states.clear()
        buffer.start(self._hidden)
        truncated = np.zeros_like(stepper.starts)
        with torch.inference_mode():
            for at in range(buffer.num_steps):
                taken = self._step(buffer, at, truncated)
                truncated, ended = taken.truncated, taken.ended
                if ended.any():
                    ended_returns.extend(self._returns[ended].tolist())
                    ended_lengths.extend(self._lengths[ended].tolist())
                    self._returns[ended] = 0.0
                    self._lengths[ended] = 0
        # The state that follows the row is valued with the memory of the row. It is the last one of a truncated episode
        # where resets come in the next step; where they came already, the value is in place.
        follows = np.ones_like(truncated) if stepper.resets_in_next_step else ~truncated
        values = self._act(stepper.seen, self._before(stepper.starts), deterministic=True).value
        buffer.set_bootstrap_values(buffer.num_steps - 1, values, self._flags(follows))
        metrics = {"episodes": float(len(ended_returns))}
        if ended_returns:
            metrics["episode_return"] = float(np.mean(ended_returns))
            metrics["episode_length"] = float(np.mean(ended_lengths))
        return metrics

    def _step(self, buffer: RolloutBuffer, at: int, truncated_before: Flags) -> Taken:
        """Write one column and return what was done in it."""
        stepper = self._stepper
        seen, starts = stepper.seen, stepper.starts
        self._raw_states.append(seen.states)
        bootstraps = stepper.resets_in_next_step and bool(truncated_before.any())
        output = self._act(seen, self._before(starts), deterministic=False, with_value=bootstraps)
        if bootstraps:
            buffer.set_bootstrap_values(at - 1, output.value, self._flags(truncated_before))
        self._hidden = output.hidden
        taken = stepper.take(output.actions)
        rolled_back = np.asarray(taken.information.get("rollbacks", False))
        final_values = None
        if not stepper.resets_in_next_step and taken.truncated.any():
            final_values = self._final_values(taken)
        buffer.add(
            RolloutStep(
                states=self._policy.normalised(seen.states),
                actions=output.actions,
                log_probs=output.log_probs,
                rewards=taken.last.rewards,
                terminated=self._flags(taken.terminated & ~rolled_back),
                truncated=self._flags(taken.truncated),
                episode_starts=self._flags(starts),
                valid=self._flags(taken.counted),
                bootstrap_values=final_values,
                masks=seen.masks,
                categories=seen.categories,
                **self._measured(taken.information),
            )
        )
        for index in np.flatnonzero(rolled_back):
            buffer.mark_rollback(int(index), float(taken.rewards[index]))
        self._returns += np.where(taken.counted, taken.rewards, 0.0)
        self._lengths += taken.counted
        return taken

    def _measured(self, information: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return optional fields of a `RolloutStep` that an environment tells about the step just taken."""
        fields: dict[str, Tensor] = {}
        if "effective_ops" in information:
            fields["effective_ops"] = torch.as_tensor(information["effective_ops"], device=self._device)
        if "slot_targets" in information:
            slot_targets = torch.as_tensor(information["slot_targets"], dtype=torch.float32, device=self._device)
            fields["slot_targets"] = slot_targets.nan_to_num()
            fields["slot_targets_known"] = ~slot_targets.isnan()
        return fields

    def raw_states(self) -> Tensor:
        """Return the last rollout's observations before normalisation, [N, D], for the normaliser to learn from."""
        return torch.cat(self._raw_states)

    def _before(self, starts: Flags) -> Hidden:
        """Return the recurrent state with which the next step begins: zero where an episode starts."""
        if not starts.any():
            return self._hidden
        keeps = self._flags(~starts)[None, :, None]
        # Not a product: what is not finite would stay so for ever.
        return self._hidden[0].where(keeps, 0.0), self._hidden[1].where(keeps, 0.0)

    def _flags(self, flags: Flags) -> Tensor:
        """Return flags [E] on the device."""
        return torch.from_numpy(flags).to(self._device)

    def _final_values(self, taken: Taken) -> Tensor:
        """Return outputs of the critic for the last states of the truncated episodes, 0 for the others: [E]."""
        chosen = np.flatnonzero(taken.truncated)
        rows = torch.from_numpy(chosen).to(self._device)
        seen = self._stepper.last_states(taken, chosen)
        hidden = (self._hidden[0][:, rows], self._hidden[1][:, rows])
        values = torch.zeros(len(taken.truncated), device=self._device)
        values[rows] = self._act(seen, hidden, deterministic=True).value
        return values

    def _act(self, seen: PolicyInput, hidden: Hidden, *, deterministic: bool, with_value: bool = True) -> ActionOutput:
        return self._policy.act(
            seen, hidden, deterministic=deterministic, generator=self._generator, with_value=with_value
        )

    def state_dict(self) -> dict[str, Any]:
        """Return where the rollouts stand, and the environment's own state where it has a `state_dict` method."""
        return self._stepper.state_dict() | {
            "hidden": list(self._hidden),
            "returns": self._returns,
            "lengths": self._lengths,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` stood; environments of another number or without a state of their own begin anew."""
        self._generator.set_state(state["generator"])
        if not self._stepper.load_state_dict(state):
            self._begin_all()
            return
        self._hidden = (state["hidden"][0].to(self._device), state["hidden"][1].to(self._device))
        self._returns, self._lengths = np.array(state["returns"]), np.array(state["lengths"])
