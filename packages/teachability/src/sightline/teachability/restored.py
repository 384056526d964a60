"""Pure dynamics made of an environment that can be put back. Knows nothing of what the environment is."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sightline.teachability.errors import DynamicsError
from sightline.teachability.protocols import Dynamics, RestorableEnvironment, S, Transition
from sightline.teachability.views import StateView

_STEPS = struct.Struct(">I")


class Restored(NamedTuple):
    """A state of `RestoredDynamics`: a snapshot, and how many steps were taken before it."""

    snapshot: bytes
    steps: int = 0


class RestoredDynamics:
    """`Dynamics` of a `RestorableEnvironment`: every step restores, acts and takes a snapshot.

    Args:
        environment: one with the same behaviour whenever the same snapshot is restored.
        max_steps: actions an episode may have.
        read: makes a view of an observation and the environment's info.
        timeless: the snapshot with its clock at zero. Without it states reached after different numbers of actions are
            never merged, so that value graphs are larger.
    """

    def __init__(
        self,
        environment: RestorableEnvironment,
        *,
        max_steps: int,
        read: Callable[[str, Mapping[str, Any]], StateView],
        timeless: Callable[[bytes], bytes] | None = None,
    ) -> None:
        if max_steps < 1:
            raise ValueError(f"max_steps should be at least 1, not {max_steps!r}")
        self._environment = environment
        self._max_steps = max_steps
        self._read = read
        self._timeless = timeless

    def start(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Restored:
        """Open an episode and return its first state."""
        self._environment.reset(seed=seed, options=options)
        return Restored(self._environment.snapshot())

    def actions(self, state: Restored) -> tuple[str, ...]:
        """Return what can be done."""
        return self.view(state).actions

    def step(self, state: Restored, action: str) -> Transition[Restored]:
        """Return what an action brings.

        Raises:
            DynamicsError: the environment cut the episode short although steps were left.
        """
        self._environment.restore(state.snapshot)
        _, reward, terminated, truncated, _ = self._environment.step(action)
        steps = state.steps + 1
        if truncated and not terminated and steps < self._max_steps:
            raise DynamicsError(
                f"the environment truncated an episode after {steps} of max_steps={self._max_steps} steps; give "
                "RestoredDynamics the environment's own limit"
            )
        return Transition(Restored(self._environment.snapshot(), steps), float(reward), bool(terminated))

    def view(self, state: Restored) -> StateView:
        """Return what a policy may see."""
        return self._read(self._environment.restore(state.snapshot), self._environment.info)

    def timeless(self, state: Restored) -> Restored:
        """Return the state with its clock at zero, or as it is where nobody said how to set the clock."""
        return Restored(self._timeless(state.snapshot)) if self._timeless else state

    def steps_left(self, state: Restored) -> int:
        """Return how many actions can still be taken."""
        return max(self._max_steps - state.steps, 0)

    def encode(self, state: Restored) -> bytes:
        """Return the state as bytes."""
        return _STEPS.pack(state.steps) + state.snapshot

    def decode(self, snapshot: bytes) -> Restored:
        """Return the state that `encode` made bytes of."""
        return Restored(snapshot[_STEPS.size :], *_STEPS.unpack(snapshot[: _STEPS.size]))


def check_dynamics(dynamics: Dynamics[S], state: S, *, depth: int = 3) -> None:
    """Check what the rest of the package relies on, along the first actions from a state.

    Args:
        dynamics: your own.
        state: where to begin.
        depth: steps to take.

    Raises:
        ValueError: a rule is broken; the message says which, and in what state.
    """
    for _ in range(depth):
        view, left = dynamics.view(state), dynamics.steps_left(state)
        if view.actions != dynamics.actions(state):
            raise ValueError(f"view(state).actions differs from actions(state) in {state!r}")
        if dynamics.decode(dynamics.encode(state)) != state:
            raise ValueError(f"decode(encode(state)) is another state than {state!r}")
        zero = dynamics.timeless(state)
        if dynamics.timeless(zero) != zero:
            raise ValueError(f"timeless(timeless(state)) is another state than timeless(state) of {state!r}")
        if dynamics.view(zero) != view:
            raise ValueError(f"timeless(state) shows another view than {state!r}; what is seen must be part of the key")
        if not view.actions or not left:
            return
        first, again = dynamics.step(state, view.actions[0]), dynamics.step(state, view.actions[0])
        if first != again:
            raise ValueError(f"two equal steps ({view.actions[0]!r}) from {state!r} differ: {first!r} and {again!r}")
        beside = dynamics.step(zero, view.actions[0])
        same_end = (beside.reward, beside.ended) == (first.reward, first.ended)
        if not same_end or (not first.ended and dynamics.timeless(beside.state) != dynamics.timeless(first.state)):
            raise ValueError(f"{view.actions[0]!r} leads elsewhere from timeless(state) than from {state!r}")
        if first.ended:
            return
        if dynamics.steps_left(first.state) != left - 1:
            raise ValueError(f"a step from {state!r} should leave {left - 1} steps")
        state = first.state
