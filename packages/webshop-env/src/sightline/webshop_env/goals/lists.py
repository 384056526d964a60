"""Lists of goals: what a shop asks of them, and goals that are held as they are.

The other list makes its goals from columns of numbers when they are asked for: `goals.columns.ColumnGoals`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import overload

from sightline.webshop_env.product import Goal


class GoalList(Sequence[Goal]):
    """Goals in their final order, which never changes; equal to any sequence of equal goals."""

    @property
    @abstractmethod
    def weights(self) -> Sequence[float]:
        """The goals' weights."""

    @property
    @abstractmethod
    def cumulative_weights(self) -> Sequence[float]:
        """Running sum of the goals' weights, from left to right."""

    @abstractmethod
    def take(self, indices: Sequence[int]) -> GoalList:
        """Return the goals at some indices, in that order."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None


class HeldGoals(GoalList):
    """Goals in memory.

    Args:
        goals: goals in their final order.
    """

    def __init__(self, goals: Iterable[Goal]) -> None:
        self._goals = tuple(goals)

    def __len__(self) -> int:
        return len(self._goals)

    def __iter__(self) -> Iterator[Goal]:
        return iter(self._goals)

    @overload
    def __getitem__(self, index: int) -> Goal: ...
    @overload
    def __getitem__(self, index: slice) -> HeldGoals: ...
    def __getitem__(self, index: int | slice) -> Goal | HeldGoals:
        return HeldGoals(self._goals[index]) if isinstance(index, slice) else self._goals[index]

    def __repr__(self) -> str:
        return f"<{len(self)} goals>"

    @property
    def weights(self) -> Sequence[float]:
        """The goals' weights."""
        return [goal.weight for goal in self._goals]

    @cached_property
    def cumulative_weights(self) -> Sequence[float]:
        """Running sum of the goals' weights, from left to right."""
        return tuple(accumulate(self.weights))

    def take(self, indices: Sequence[int]) -> HeldGoals:
        """Return the goals at some indices, in that order."""
        return HeldGoals(self._goals[index] for index in indices)
