"""Small vectorised environments that a policy without memory can't solve, for tests and benchmarks.

All are Gymnasium vector environments that reset an ended episode within the same step, with all E environments stepped
as arrays. They know nothing about policies; the random numbers come from the generator that `reset(seed=...)` seeds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


class MemoryTask(VectorEnv[Floats, NDArray[np.int64], Any]):
    """Bookkeeping that the tasks share: seeds, automatic resets, and a state that can be saved and put back.

    A task keeps everything that changes in `_arrays`, each array [E, ...], and defines `_begin`, `_apply` and
    `_observe`.

    Args:
        num_envs: E.
        observation_size: D, features of an observation in [-inf, inf].
        action_space: the space of a single environment.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 - Gymnasium's declaration

    def __init__(self, num_envs: int, observation_size: int, action_space: gymnasium.Space[Any]) -> None:
        self.num_envs = num_envs
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observation_size,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.single_action_space = action_space
        self.action_space = batch_space(action_space, num_envs)
        self._arrays: dict[str, NDArray[Any]] = {"steps": np.zeros(num_envs, np.int64)}

    def _begin(self, chosen: NDArray[np.int64]) -> None:
        """Draw a new episode for the chosen environments, given by their numbers."""
        raise NotImplementedError

    def _apply(self, actions: NDArray[np.int64]) -> tuple[Floats, Flags, Flags]:
        """Return rewards, terminated and truncated, each [E], of one action per environment."""
        raise NotImplementedError

    def _observe(self) -> Floats:
        """Return observations [E, D] of the present state, in an array of their own."""
        raise NotImplementedError

    def _information(self) -> dict[str, Any]:
        return {}

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begin an episode in every environment; one generator, seeded with `seed`, serves all of them.

        Raises:
            TypeError: a list of seeds was given.
        """
        if isinstance(seed, list):
            raise TypeError("one generator serves all environments: give a single seed")
        super().reset(seed=seed, options=options)
        self._arrays["steps"][:] = 0
        self._begin(np.arange(self.num_envs))
        return self._observe(), self._information()

    def step(self, actions: NDArray[np.int64]) -> tuple[Floats, Floats, Flags, Flags, dict[str, Any]]:
        """Apply one action per environment and start the next episode where one ended.

        Where an episode ended, the observation is the first of the next one, and the last of the ended one is in
        `info["final_obs"]` [E, D], with `info["_final_obs"]` [E] saying where.
        """
        rewards, terminated, truncated = self._apply(np.asarray(actions))
        self._arrays["steps"] += 1
        ended = terminated | truncated
        observations, information = self._observe(), {}
        if ended.any():
            information = {"final_obs": observations, "_final_obs": ended}
            chosen = np.flatnonzero(ended)
            self._arrays["steps"][chosen] = 0
            self._begin(chosen)
            observations = self._observe()
        return observations, rewards, terminated, truncated, information | self._information()

    def state_dict(self) -> dict[str, NDArray[Any] | str]:
        """Return everything that changes: arrays [E, ...], and the generator's state as JSON text."""
        arrays = {name: array.copy() for name, array in self._arrays.items()}
        return arrays | {"generator": json.dumps(self.np_random.bit_generator.state)}

    def load_state_dict(self, state: Mapping[str, NDArray[Any] | str]) -> tuple[Floats, dict[str, Any]]:
        """Put a saved state back and return what `reset` would: observations [E, D] and information.

        Raises:
            ValueError: the state is of another task or number of environments.
        """
        expected = {name: array.shape for name, array in self._arrays.items()}
        found = {name: np.shape(array) for name, array in state.items() if name != "generator"}
        if found != expected:
            raise ValueError(f"the saved environment has arrays {found!r}, this one {expected!r}")
        for name in expected:
            self._arrays[name] = np.array(state[name])
        generator = np.random.Generator(np.random.PCG64())
        generator.bit_generator.state = json.loads(str(state["generator"]))
        self.np_random = generator
        return self._observe(), self._information()


class RepeatPrevious(MemoryTask):
    """Say the symbol seen `delay` steps ago (Morad et al. 2023, POPGym).

    Action Space: Discrete(symbols). Observation Space: the present symbol, one-hot [symbols]. Starting State: random
    symbols. Rewards: from step `delay` on, +-1 / (length - delay) for a right or wrong answer, so a return is at most
    1 and chance is 2 / symbols - 1. Episode End: termination after `length` steps.

    Args:
        num_envs: E.
        delay: number of steps to look back.
        symbols: number of symbols.
        length: steps of an episode.
    """

    def __init__(self, num_envs: int, *, delay: int = 4, symbols: int = 4, length: int = 48) -> None:
        super().__init__(num_envs, symbols, gymnasium.spaces.Discrete(symbols))
        self._delay, self._symbols, self._length = delay, symbols, length
        self._arrays["sequence"] = np.zeros((num_envs, length + 1), np.int64)

    def _begin(self, chosen: NDArray[np.int64]) -> None:
        self._arrays["sequence"][chosen] = self.np_random.integers(self._symbols, size=(len(chosen), self._length + 1))

    def _apply(self, actions: NDArray[np.int64]) -> tuple[Floats, Flags, Flags]:
        steps = self._arrays["steps"]
        wanted = self._arrays["sequence"][np.arange(self.num_envs), np.maximum(steps - self._delay, 0)]
        sign = np.where(actions == wanted, 1.0, -1.0) * (steps >= self._delay)
        rewards = (sign / (self._length - self._delay)).astype(np.float32)
        return rewards, steps + 1 == self._length, np.zeros(self.num_envs, np.bool_)

    def _observe(self) -> Floats:
        present = self._arrays["sequence"][np.arange(self.num_envs), self._arrays["steps"]]
        return np.eye(self._symbols, dtype=np.float32)[present]


class TMaze(MemoryTask):
    """Walk down a corridor and turn to the side that was shown at its start (Bakker 2001).

    Action Space: Discrete(3), forward, left, right; turns within the corridor and steps against the wall do nothing.
    Observation Space: [4]: shown left, shown right (both 0 but at the start), in the corridor, at the junction.
    Starting State: position 0, side at random. Rewards: +1 for the right turn at the junction, -1 for the wrong one.
    Episode End: termination by a turn at the junction; truncation after 4 x `length` steps.

    Args:
        num_envs: E.
        length: steps from the start to the junction.
    """

    def __init__(self, num_envs: int, *, length: int = 10) -> None:
        super().__init__(num_envs, 4, gymnasium.spaces.Discrete(3))
        self._length = length
        self._arrays |= {"position": np.zeros(num_envs, np.int64), "side": np.zeros(num_envs, np.int64)}

    def _begin(self, chosen: NDArray[np.int64]) -> None:
        self._arrays["position"][chosen] = 0
        self._arrays["side"][chosen] = self.np_random.integers(2, size=len(chosen))

    def _apply(self, actions: NDArray[np.int64]) -> tuple[Floats, Flags, Flags]:
        position = self._arrays["position"]
        turned = (position == self._length) & (actions > 0)
        rewards = np.where(turned, np.where(actions - 1 == self._arrays["side"], 1.0, -1.0), 0.0)
        self._arrays["position"] = np.minimum(position + (actions == 0), self._length)
        return rewards.astype(np.float32), turned, ~turned & (self._arrays["steps"] + 1 == 4 * self._length)

    def _observe(self) -> Floats:
        position, side = self._arrays["position"], self._arrays["side"]
        start, junction = position == 0, position == self._length
        columns = [start & (side == 0), start & (side == 1), ~junction, junction]
        return np.stack(columns, axis=1).astype(np.float32)


class MaskedCartPole(MemoryTask):
    """Balance a pole without seeing velocities (the cart-pole of Barto, Sutton and Anderson 1983, Euler steps).

    Action Space: Discrete(2), push left or right with 10 N. Observation Space: [2], position in m, angle in rad.
    Starting State: all four state variables uniform in +-0.05. Rewards: 1 per step. Episode End: termination beyond
    +-2.4 m or +-12 degrees; truncation after 500 steps.

    Args:
        num_envs: E.
    """

    _LIMIT = 500
    _GRAVITY, _CART_MASS, _POLE_MASS, _HALF_LENGTH, _FORCE, _SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs, 2, gymnasium.spaces.Discrete(2))
        self._arrays["state"] = np.zeros((num_envs, 4))

    def _begin(self, chosen: NDArray[np.int64]) -> None:
        self._arrays["state"][chosen] = self.np_random.uniform(-0.05, 0.05, size=(len(chosen), 4))

    def _apply(self, actions: NDArray[np.int64]) -> tuple[Floats, Flags, Flags]:
        _, speed, angle, spin = self._arrays["state"].T
        mass, moment = self._CART_MASS + self._POLE_MASS, self._POLE_MASS * self._HALF_LENGTH
        sine, cosine = np.sin(angle), np.cos(angle)
        push = (np.where(actions == 1, self._FORCE, -self._FORCE) + moment * spin**2 * sine) / mass
        lever = self._HALF_LENGTH * (4.0 / 3.0 - self._POLE_MASS * cosine**2 / mass)
        turning = (self._GRAVITY * sine - cosine * push) / lever
        sliding = push - moment * turning * cosine / mass
        change = np.stack([speed, sliding, spin, turning], axis=1)
        self._arrays["state"] = state = self._arrays["state"] + self._SECONDS * change
        terminated = (np.abs(state[:, 0]) > 2.4) | (np.abs(state[:, 2]) > math.radians(12))
        truncated = ~terminated & (self._arrays["steps"] + 1 == self._LIMIT)
        return np.ones(self.num_envs, np.float32), terminated, truncated

    def _observe(self) -> Floats:
        return self._arrays["state"][:, [0, 2]].astype(np.float32)


class CuedGrowth(MemoryTask):
    """A cue names an operation, a slot and a blueprint; after a delay they are to be used, as far as they matter.

    Action Space: MultiDiscrete([slots, blueprints, 3]); the last is the operation: 0 waits and uses nothing else, 1
    germinates and uses slot and blueprint, 2 prunes and uses the slot. `factored_action_space` says so, and
    `info["masks"]` has the legal actions: before the last step only waiting is. Observation Space: the cue, three
    one-hot codes that are 0 after the first step, and a flag for the last step. Starting State: uniform cue. Rewards:
    1 at the last step if every factor that the cued operation uses is right, else 0. Episode End: termination at step
    `delay` + 1.

    Args:
        num_envs: E.
        slots: number of slots.
        blueprints: number of blueprints.
        delay: steps between the cue and its use.
    """

    WAIT, GERMINATE, PRUNE = 0, 1, 2

    def __init__(self, num_envs: int, *, slots: int = 3, blueprints: int = 4, delay: int = 10) -> None:
        self._sizes = (slots, blueprints, 3)
        super().__init__(num_envs, sum(self._sizes) + 1, gymnasium.spaces.MultiDiscrete(list(self._sizes)))
        self._delay = delay
        self._arrays["cue"] = np.zeros((num_envs, 3), np.int64)
        # By operation, whether slot, blueprint and operation matter.
        self._relevance = np.array([[False, False, True], [True, True, True], [True, False, True]])

    @property
    def factored_action_space(self) -> FactoredActionSpace:
        """The heads slot, blueprint and op, and which of them each operation uses."""
        return FactoredActionSpace(
            names=("slot", "blueprint", "op"),
            sizes=self._sizes,
            op_head=2,
            relevance=torch.from_numpy(self._relevance),
            placeholder=torch.zeros(3, dtype=torch.int64),
            slot_head=0,
        )

    def _begin(self, chosen: NDArray[np.int64]) -> None:
        self._arrays["cue"][chosen] = self.np_random.integers(self._sizes, size=(len(chosen), 3))

    def _apply(self, actions: NDArray[np.int64]) -> tuple[Floats, Flags, Flags]:
        last = self._arrays["steps"] == self._delay
        cue = self._arrays["cue"]
        right = ((actions == cue) | ~self._relevance[cue[:, 2]]).all(axis=1)
        return (right & last).astype(np.float32), last, np.zeros(self.num_envs, np.bool_)

    def _observe(self) -> Floats:
        cue, steps = self._arrays["cue"], self._arrays["steps"]
        codes = [np.eye(size, dtype=np.float32)[cue[:, column]] for column, size in enumerate(self._sizes)]
        shown = np.concatenate(codes, axis=1) * (steps == 0)[:, None]
        return np.concatenate([shown, (steps == self._delay)[:, None]], axis=1).astype(np.float32)

    def _information(self) -> dict[str, Any]:
        slots, blueprints, kinds = self._sizes
        operations = np.ones((self.num_envs, kinds), np.bool_)
        operations[:, 1:] = (self._arrays["steps"] == self._delay)[:, None]
        masks = {
            "slot_by_op": np.ones((self.num_envs, kinds, slots), np.bool_),
            "blueprint": np.ones((self.num_envs, blueprints), np.bool_),
            "op": operations,
        }
        return {"masks": masks}
