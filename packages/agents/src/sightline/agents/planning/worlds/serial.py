"""A world one state at a time, in plain Python: what the scalar executor steps through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from sightline.agents.planning.worlds.model import Model, Plan, check_shapes, single


class Judgement(NamedTuple):
    """What is known of one state."""

    legal: Sequence[int]
    """Its legal actions, ascending; empty where the world has ended."""
    logits: Sequence[float] | None
    """Log-probabilities of those actions up to a constant, or None where all are equal."""
    value: float
    """Expected sum of rewards to come, for the side to move."""
    plan: Plan | None = None
    """A way to the end that the evaluator followed."""


class Serial(Protocol):
    """A world whose answers are lists: cheap where a batch would hold one state."""

    def begin(self, root: Any) -> tuple[Any, Judgement]:
        """Return the state of a root and its judgement, without legal actions where the world has ended."""
        ...

    def step(self, states: Sequence[Any], actions: Sequence[int]) -> list[tuple[Any, float, float]]:
        """Take an action in every state: (next state, reward, discount) each; see `Model.step`."""
        ...

    def expand(self, states: Sequence[Any]) -> list[Judgement]:
        """Judge states in which the world goes on; see `Model.expand`."""
        ...


@runtime_checkable
class OffersSerial(Protocol):
    """A model that has a serial form of its own."""

    def serial(self) -> Serial:
        """Return the same world, one state at a time."""
        ...


class _BatchesOfOne:
    """Any model, seen as serial."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def begin(self, root: Any) -> tuple[Any, Judgement]:
        state = single(self._model.pack([root]), 0)
        return state, self.expand([state])[0]

    def step(self, states: Sequence[Any], actions: Sequence[int]) -> list[tuple[Any, float, float]]:
        after, rewards, discounts = self._model.step(self._model.pack(states), np.asarray(actions, np.int64))
        return [(single(after, index), float(rewards[index]), float(discounts[index])) for index in range(len(states))]

    def expand(self, states: Sequence[Any]) -> list[Judgement]:
        expansion = self._model.expand(self._model.pack(states))
        logits, values, legal = (np.asarray(part) for part in (expansion.logits, expansion.value, expansion.legal))
        check_shapes(logits, values, legal.shape)
        judgements = []
        for index in range(len(states)):
            actions = np.flatnonzero(legal[index])
            plan = expansion.plans[index] if expansion.plans is not None else None
            judgements.append(Judgement(actions.tolist(), logits[index, actions].tolist(), float(values[index]), plan))
        return judgements


def serial(model: Model) -> Serial:
    """Return a model's own serial form, or one made of batches of one."""
    return model.serial() if isinstance(model, OffersSerial) else _BatchesOfOne(model)
