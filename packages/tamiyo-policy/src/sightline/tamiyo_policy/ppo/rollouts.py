"""Plays a policy in a Gymnasium vector environment and writes what happens into a rollout buffer.

The collector keeps the recurrent state of every environment across rollouts, resets it where episodes start, and values
the state after a truncated step before anything is reset. Knows nothing about learning.

An environment's information about the state that follows may hold `masks` and `categories`; that about the step
just taken `effective_ops` [E] int64, operations as they were carried out, `slot_targets` [E, K] float, NaN where none
was measured, and `rollbacks` [E] bool, steps whose terminal reward also takes back the earlier ones of their episode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.policy.network import RecurrentActorCritic
from sightline.tamiyo_policy.policy.records import ActionOutput, PolicyInput
from sightline.tamiyo_policy.policy.recurrence import Hidden
from sightline.tamiyo_policy.ppo.buffer import RolloutBuffer, RolloutStep
from sightline.tamiyo_policy.ppo.normalisation import ObservationNormaliser

Flags = NDArray[np.bool_]


def policy_input(observations: Any, information: Mapping[str, Any], device: torch.device) -> PolicyInput:
    """Return observations [B, ...], and `masks` and `categories` of an environment's information, as tensors."""
    rows = np.asarray(observations, np.float32)
    indices, masks = information.get("categories"), information.get("masks")
    return PolicyInput(
        states=torch.from_numpy(rows.reshape(len(rows), -1)).to(device),
        categories=None if indices is None else torch.as_tensor(indices, device=device),
        masks=None if masks is None else {name: torch.as_tensor(mask, device=device) for name, mask in masks.items()},
    )


class RolloutCollector:
    """Steps an environment with a policy, rollout after rollout.

    Args:
        environment: steps E environments; with next-step or same-step automatic resets.
        network: the policy.
        normaliser: what standardises observations before the network and the buffer see them; None to leave them.
        seed: seed of the environments and of the actions.

    Attributes:
        seen: what the policy sees next.

    Raises:
        ValueError: the environment does not reset ended episodes by itself.
    """

    def __init__(
        self,
        environment: VectorEnv[Any, Any, Any],
        network: RecurrentActorCritic,
        normaliser: ObservationNormaliser | None,
        *,
        seed: int,
    ) -> None:
        mode = environment.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        if mode == AutoresetMode.DISABLED:
            raise ValueError("the environment does not reset ended episodes: make it with another autoreset_mode")
        self._resets_in_next_step = mode == AutoresetMode.NEXT_STEP
        self._takes_scalars = isinstance(environment.single_action_space, gymnasium.spaces.Discrete)
        self.environment = environment
        self._network = network
        self._normaliser = normaliser
        self._device = next(network.parameters()).device
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._raw_states: list[Tensor] = []
        self.seen = policy_input(*environment.reset(seed=seed), self._device)
        self._begin_all()

    def _begin_all(self) -> None:
        """Forget what was played, before the first step of an episode in every environment."""
        environments = self.environment.num_envs
        self._hidden: Hidden = self._network.initial_hidden(environments)
        self._starts = np.ones(environments, np.bool_)
        self._ignored = np.zeros(environments, np.bool_)
        self._returns = np.zeros(environments)
        self._lengths = np.zeros(environments, np.int64)

    def collect(self, buffer: RolloutBuffer) -> dict[str, float]:
        """Fill a buffer with one rollout.

        Args:
            buffer: a buffer of as many environments; what it held is overwritten.

        Returns:
            `episodes` that ended and, if any did, their mean `episode_return` and `episode_length`.
        """
        ended_returns: list[float] = []
        ended_lengths: list[int] = []
        self._hidden = self._before(self._starts)
        self._raw_states.clear()
        buffer.start(self._hidden)
        truncated = np.zeros(self.environment.num_envs, np.bool_)
        for at in range(buffer.num_steps):
            with torch.inference_mode():
                truncated, ended = self._step(buffer, at, truncated)
            if ended.any():
                ended_returns.extend(self._returns[ended].tolist())
                ended_lengths.extend(self._lengths[ended].tolist())
                self._returns[ended] = 0.0
                self._lengths[ended] = 0
        # The state that follows the row is valued with the memory of the row. It is the last one of a truncated episode
        # where resets come in the next step; where they came already, the value is in place.
        follows = np.ones_like(truncated) if self._resets_in_next_step else ~truncated
        values = self._act(self.seen, self._before(self._starts), deterministic=True).value
        buffer.set_bootstrap_values(buffer.num_steps - 1, values, torch.from_numpy(follows).to(self._device))
        metrics = {"episodes": float(len(ended_returns))}
        if ended_returns:
            metrics["episode_return"] = float(np.mean(ended_returns))
            metrics["episode_length"] = float(np.mean(ended_lengths))
        return metrics

    def _step(self, buffer: RolloutBuffer, at: int, truncated_before: Flags) -> tuple[Flags, Flags]:
        """Write one column and return which episodes were truncated by it and which ended, each [E]."""
        seen, starts, ignored = self.seen, self._starts, self._ignored
        self._raw_states.append(seen.states)
        output = self._act(seen, self._before(starts), deterministic=False)
        if self._resets_in_next_step and truncated_before.any():
            buffer.set_bootstrap_values(at - 1, output.value, torch.from_numpy(truncated_before).to(self._device))
        self._hidden = output.hidden
        choice = self.as_taken(output.actions)
        observations, rewards, terminated, truncated, information = self.environment.step(choice)
        ended = terminated | truncated
        rolled_back = np.asarray(information.get("rollbacks", np.zeros_like(ended)))
        final_values = None
        if not self._resets_in_next_step and truncated.any():
            final_values = self._final_values(truncated, information)
        buffer.add(
            RolloutStep(
                states=self._normalised(seen.states),
                actions=output.actions,
                log_probs=output.log_probs,
                values=output.value,
                rewards=torch.as_tensor(rewards, dtype=torch.float32, device=self._device),
                terminated=torch.as_tensor(terminated & ~rolled_back, device=self._device),
                truncated=torch.as_tensor(truncated, device=self._device),
                episode_starts=torch.as_tensor(starts, device=self._device),
                valid=torch.as_tensor(~ignored, device=self._device),
                bootstrap_values=final_values,
                masks=seen.masks,
                categories=seen.categories,
                **self._measured(information),
            )
        )
        for index in np.flatnonzero(rolled_back):
            buffer.mark_rollback(int(index), float(rewards[index]))
        self._returns += np.where(ignored, 0.0, rewards)
        self._lengths += ~ignored
        self.seen = policy_input(observations, information, self._device)
        self._starts = ignored if self._resets_in_next_step else ended
        self._ignored = ended if self._resets_in_next_step else np.zeros_like(ended)
        return truncated, ended

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

    def as_taken(self, actions: Tensor) -> NDArray[np.int64]:
        """Return actions [B, H] in the form that the environment takes: [B] for a Discrete space, else [B, H]."""
        choice = actions.cpu().numpy()
        return choice[:, 0] if self._takes_scalars else choice

    def raw_states(self) -> Tensor:
        """Return the last rollout's observations before normalisation, [N, D], for the normaliser to learn from."""
        return torch.cat(self._raw_states)

    def predict(self, seen: PolicyInput, hidden: Hidden | None, *, deterministic: bool) -> ActionOutput:
        """Return what the policy does for some input; None as `hidden` is the state in which episodes start."""
        state = self._network.initial_hidden(len(seen.states)) if hidden is None else hidden
        return self._act(seen, state, deterministic=deterministic)

    def _before(self, starts: Flags) -> Hidden:
        """Return the recurrent state with which the next step begins: zero where an episode starts."""
        if not starts.any():
            return self._hidden
        keeps = torch.from_numpy(~starts).to(self._device, torch.float32)[None, :, None]
        return self._hidden[0] * keeps, self._hidden[1] * keeps

    def _final_values(self, truncated: Flags, information: Mapping[str, Any]) -> Tensor:
        """Return outputs of the critic for the last states of the truncated episodes, 0 for the others: [E]."""
        chosen = np.flatnonzero(truncated)
        final = information.get("final_info", {})
        extras = {name: final[name] for name in ("masks", "categories") if name in final}
        observations = np.stack([np.asarray(information["final_obs"][index]) for index in chosen])
        rows = torch.from_numpy(chosen).to(self._device)
        seen = policy_input(observations, _rows(extras, chosen), self._device)
        hidden = (self._hidden[0][:, rows], self._hidden[1][:, rows])
        values = torch.zeros(len(truncated), device=self._device)
        values[rows] = self._act(seen, hidden, deterministic=True).value
        return values

    def _normalised(self, states: Tensor) -> Tensor:
        return states if self._normaliser is None else self._normaliser.normalise(states)

    def _act(self, seen: PolicyInput, hidden: Hidden, *, deterministic: bool) -> ActionOutput:
        return self._network.get_action(
            self._normalised(seen.states).unsqueeze(1),
            seen.categories,
            hidden=hidden,
            masks=seen.masks,
            deterministic=deterministic,
            generator=self._generator,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return where the rollouts stand, and the environment's own state where it has a `state_dict` method."""
        seen = self.seen
        save = getattr(self.environment, "state_dict", None)
        return {
            "states": seen.states,
            "categories": seen.categories,
            "masks": seen.masks,
            "hidden": list(self._hidden),
            "starts": self._starts,
            "ignored": self._ignored,
            "returns": self._returns,
            "lengths": self._lengths,
            "generator": self._generator.get_state(),
            "environment": None if save is None else save(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` stood; an environment that can't be restored begins anew in every row."""
        self._generator.set_state(state["generator"])
        if state["environment"] is None:
            self.seen = policy_input(*self.environment.reset(), self._device)
            self._begin_all()
            return
        restore: Callable[[Any], object] = getattr(self.environment, "load_state_dict")  # noqa: B009 - no part of VectorEnv
        restore(state["environment"])
        masks, indices = state["masks"], state["categories"]
        self.seen = PolicyInput(
            state["states"].to(self._device),
            None if indices is None else indices.to(self._device),
            None if masks is None else {name: mask.to(self._device) for name, mask in masks.items()},
        )
        self._hidden = (state["hidden"][0].to(self._device), state["hidden"][1].to(self._device))
        self._starts, self._ignored = np.array(state["starts"]), np.array(state["ignored"])
        self._returns, self._lengths = np.array(state["returns"]), np.array(state["lengths"])


def _rows(extras: Mapping[str, Any], chosen: NDArray[np.int64]) -> dict[str, Any]:
    """Return the chosen rows of masks and categories."""
    return {
        name: {mask: rows[chosen] for mask, rows in value.items()} if name == "masks" else value[chosen]
        for name, value in extras.items()
    }
