"""The world a search plans in: what it must offer, in batches (`Model`) or one state at a time (`Game`).

Letters in shapes: n states, A actions. Nothing here knows how a search works.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

States: TypeAlias = Any
"""A batch of states: a tuple of arrays with the same first axis, or a list of objects."""

State = TypeVar("State", bound=Hashable)

Evaluator: TypeAlias = Callable[[States], tuple[NDArray[np.floating], NDArray[np.floating]]]
"""Judges states in which the game goes on: (logits `[n, A]`, value `[n]` for the side to move)."""


class ModelError(RuntimeError):
    """A world broke its own rules, for example by having no legal action in a state where it goes on."""


class EvaluatorError(ValueError):
    """An evaluator answered with numbers that cannot be used: not finite, or of the wrong shape."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions from some state to the end of the world, and what they earn."""

    actions: tuple[int, ...]
    """Indices of actions, in order."""
    value: float
    """The discounted sum of their rewards."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """What is known of n states in which the world goes on."""

    logits: NDArray[np.floating]
    """`[n, A]` log-probabilities of the actions up to a constant; anything at illegal ones."""
    value: NDArray[np.floating]
    """`[n]` expected sum of rewards to come, for the side to move."""
    legal: NDArray[np.bool_]
    """Bool `[n, A]`."""
    plans: Sequence[Plan | None] | None = None
    """Way to the end that the evaluator followed from every state, or None."""


class Model(Protocol):
    """A world in batches: mctx's recurrent function in NumPy terms.

    Attributes:
        players: 1 or 2; values are those of the side to move.
        bounds: lowest and highest possible sum of rewards from any state, or None where they are unknown.
        deterministic: whether an action in a state always does the same.
        max_actions: A; actions are the integers below it.
    """

    @property
    def players(self) -> Literal[1, 2]:
        """See the class."""
        ...

    @property
    def bounds(self) -> tuple[float, float] | None:
        """See the class."""
        ...

    @property
    def deterministic(self) -> bool:
        """See the class."""
        ...

    @property
    def max_actions(self) -> int:
        """See the class."""
        ...

    def pack(self, roots: Sequence[Any]) -> States:
        """Return the batch of these single states."""
        ...

    def step(
        self, states: States, actions: NDArray[np.int64]
    ) -> tuple[States, NDArray[np.floating], NDArray[np.floating]]:
        """Take a legal action in every state: (next states, reward `[n]`, discount `[n]`).

        The reward is that of the side which acted. The discount multiplies the next state's value: 0 where the world
        ended, -1 where the other side is to move, otherwise how much what is to come counts.
        """
        ...

    def expand(self, states: States) -> Expansion:
        """Judge states; for one in which the world has ended, `legal` is all False and the rest is ignored."""
        ...

    def key(self, state: Any) -> Hashable | None:
        """Return what tells a single state from others, or None where states cannot be told apart."""
        ...


class Game(Protocol[State]):
    """A game of perfect information, one hashable state at a time; OpenSpiel's names where it has them.

    Attributes:
        max_actions: actions are the integers below it.
    """

    @property
    def max_actions(self) -> int:
        """See the class."""
        ...

    def initial(self) -> State:
        """Return the state in which a game begins."""
        ...

    def legal(self, state: State) -> Sequence[int]:
        """Return the legal actions, ascending; none where the game is over."""
        ...

    def apply(self, state: State, action: int) -> State:
        """Return the state after a legal action."""
        ...

    def outcome(self, state: State) -> float | None:
        """Between -1 and 1 from the first player's side, or None while the game goes on."""
        ...

    def to_move(self, state: State) -> int:
        """0 where the first player is to move, else 1."""
        ...

    def key(self, state: State) -> Hashable | None:
        """Return what tells the state from others; usually the state itself."""
        ...


def check_shapes(logits: NDArray[Any], value: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raise `EvaluatorError` unless an evaluator answered with one row per state and one column per action.

    Args:
        logits: logits of n states.
        value: value of n states.
        shape: (n, A).
    """
    if logits.shape != shape or value.shape != shape[:1]:
        raise EvaluatorError(
            f"logits and value of {shape[0]} states with {shape[1]} actions must have the shapes {shape} and "
            f"{shape[:1]}, not {logits.shape} and {value.shape}"
        )


def unusable(logits: NDArray[Any], value: NDArray[Any], legal: NDArray[np.bool_]) -> EvaluatorError:
    """Return the error that says which of n judgements cannot be used, and why."""
    for row in range(len(value)):
        if not np.isfinite(value[row]):
            return EvaluatorError(f"the value of state {row} is {value[row]}; values must be finite")
        allowed = logits[row][legal[row]]
        if np.isnan(allowed).any() or (allowed == np.inf).any():
            return EvaluatorError(f"the logits of state {row} are not finite at legal actions: {allowed}")
        if not (allowed > -np.inf).any():
            return EvaluatorError(f"state {row} (logits of shape {logits.shape}): no legal action has any probability")
    return EvaluatorError(f"an evaluator answered with unusable numbers, logits of shape {logits.shape}")


def take(states: States, indices: NDArray[np.int64]) -> States:
    """Return the batch of the states at these positions."""
    if isinstance(states, tuple):
        return tuple(array[indices] for array in states)
    return [states[index] for index in indices]


def count(states: States) -> int:
    """How many states a batch holds."""
    return len(states[0]) if isinstance(states, tuple) else len(states)


def single(states: States, index: int) -> Any:
    """One state of a batch: the object itself, or a tuple of its scalars."""
    if isinstance(states, tuple):
        return tuple(array[index] for array in states)
    return states[index]
