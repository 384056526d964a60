"""Steps an environment, whatever its automatic resets, and keeps account of where episodes start and end.

Three modes exist. NEXT_STEP: after an episode's end the environment shows its last state, ignores one action and shows
the first state of the next episode. SAME_STEP: it shows the first state at once, and the last one in `final_obs`.
DISABLED: it waits for a reset, which is done here, and from then on it is like SAME_STEP. Knows nothing about policies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.policy.records import PolicyInput
from sightline.tamiyo_policy.ppo.inputs import InputReader, LastStep
from sightline.tamiyo_policy.spaces.masks import Flags

AnyEnvironment = VectorEnv[Any, Any, Any] | gymnasium.Env[Any, Any] | str
"""E environments, or a single one, or the name of one that is registered."""


def vectorised(environment: AnyEnvironment) -> VectorEnv[Any, Any, Any]:
    """Return a vector environment as it is, and a single one as a vector of one.

    Raises:
        TypeError: it is no environment of Gymnasium.
    """
    made = gymnasium.make(environment) if isinstance(environment, str) else environment
    if isinstance(made, VectorEnv):
        return made
    if isinstance(made, gymnasium.Env):
        return SyncVectorEnv([lambda: made], autoreset_mode=AutoresetMode.SAME_STEP)
    raise TypeError(
        f"environment must be a gymnasium.Env, a gymnasium.vector.VectorEnv or a registered name, not "
        f"{type(made).__name__}"
    )


@dataclass(frozen=True)
class Taken:
    """One step of E environments."""

    actions: Any
    """Actions as the environment took them."""
    observations: Any
    """What the environment shows now."""
    rewards: NDArray[np.float64]
    terminated: Flags
    truncated: Flags
    counted: Flags
    """[E], False where the action was ignored because the environment only reset itself."""
    information: Mapping[str, Any]
    last: LastStep
    """The choices that were made, and the rewards."""

    @property
    def ended(self) -> Flags:
        """[E], where an episode ended."""
        return self.terminated | self.truncated


class EpisodeStepper:
    """Steps E environments; what comes next is always in `seen`.

    Args:
        environment: in any mode of automatic resets.
        reader: what turns observations into inputs.
        device: device of the inputs.

    Attributes:
        starts: [E], whether that is the first state of an episode.
        ignored: [E], whether it is the last, so that the next action does nothing.
        resets_in_next_step: whether last states are shown, in NEXT_STEP mode; else they are in `final_obs`.
    """

    seen: PolicyInput
    """What the policy sees next."""

    def __init__(self, environment: VectorEnv[Any, Any, Any], reader: InputReader, device: torch.device) -> None:
        mode = environment.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._resets_here = mode == AutoresetMode.DISABLED
        self.resets_in_next_step = mode == AutoresetMode.NEXT_STEP
        self.environment = environment
        self._reader, self._device = reader, device

    def begin(self, seed: int | None = None) -> None:
        """Start an episode in every environment."""
        count = self.environment.num_envs
        self.starts = np.ones(count, np.bool_)
        self.ignored = np.zeros(count, np.bool_)
        observations, information = self.environment.reset(seed=seed)
        self._see(observations, information, LastStep.none(count, self._reader.heads, self._device))

    def take(self, choices: Tensor) -> Taken:
        """Take one step with choices [E, H] int64 of the heads, and see what follows."""
        actions = self._reader.codec.taken(choices.cpu().numpy())
        observations, rewards, terminated, truncated, information = self.environment.step(actions)
        ended = terminated | truncated
        if self._resets_here and ended.any():
            observations, information = self._reset(ended, observations, information)
        last = LastStep(choices, torch.as_tensor(rewards, dtype=torch.float32, device=self._device))
        taken = Taken(actions, observations, rewards, terminated, truncated, ~self.ignored, information, last)
        self.starts = self.ignored if self.resets_in_next_step else ended
        self.ignored = ended if self.resets_in_next_step else np.zeros_like(ended)
        self._see(observations, information, last)
        return taken

    def last_states(self, taken: Taken, chosen: NDArray[np.int64]) -> PolicyInput:
        """Return the last states of episodes that ended in a step and were followed by the next at once."""
        information = taken.information
        return self._reader.read_last(information["final_obs"], information.get("final_info", {}), taken.last, chosen)

    def _see(self, observations: Any, information: Mapping[str, Any], last: LastStep) -> None:
        self.seen = self._reader.read(observations, information, last, self.starts, self.ignored)

    def _reset(self, ended: Flags, observations: Any, information: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Reset ended episodes, and return what SAME_STEP mode would."""
        shown, fresh = self.environment.reset(options={"reset_mask": ended.copy()})
        merged = _merged(information, fresh, ended)
        return shown, merged | {"final_obs": observations, "_final_obs": ended, "final_info": information}

    def state_dict(self) -> dict[str, Any]:
        """Return where the episodes stand, and the environment's own state where it has a `state_dict` method."""
        save = getattr(self.environment, "state_dict", None)
        return {
            "states": self.seen.states,
            "categories": self.seen.categories,
            "masks": self.seen.masks,
            "starts": self.starts,
            "ignored": self.ignored,
            "environment": None if save is None else save(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> bool:
        """Go on where `state_dict` stood; return False where that can't be, and all environments begin anew."""
        if state["environment"] is None or len(state["starts"]) != self.environment.num_envs:
            self.begin()
            return False
        restore: Callable[[Any], object] = getattr(self.environment, "load_state_dict")  # noqa: B009 - no part of VectorEnv
        restore(state["environment"])
        masks, indices = state["masks"], state["categories"]
        self.seen = PolicyInput(
            state["states"].to(self._device),
            None if indices is None else indices.to(self._device),
            None if masks is None else {name: mask.to(self._device) for name, mask in masks.items()},
        )
        self.starts, self.ignored = np.array(state["starts"]), np.array(state["ignored"])
        return True


def _merged(old: Mapping[str, Any], fresh: Mapping[str, Any], rows: Flags) -> dict[str, Any]:
    """Return information of a step with that of a reset in the rows that were reset; arrays have a row for each."""
    merged = dict(old)
    for name in old.keys() & fresh.keys():
        if isinstance(old[name], Mapping):
            merged[name] = _merged(old[name], fresh[name], rows)
        elif isinstance(old[name], np.ndarray):
            merged[name] = np.where(rows.reshape(-1, *(1,) * (old[name].ndim - 1)), fresh[name], old[name])
    for name in fresh.keys() - old.keys():
        merged[name] = fresh[name]
    for name in old.keys() - fresh.keys():
        if name.startswith("_"):
            merged[name] = np.asarray(old[name]) & ~rows  # a reset that tells nothing leaves nothing told
    return merged
