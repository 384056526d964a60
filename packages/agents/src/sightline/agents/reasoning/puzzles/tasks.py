"""What a puzzle is: a batch of them, what every kind can do, and a division that keeps symmetric images together.

Arrays are NumPy's: B puzzles, L cells, V tokens. This module and its neighbours know nothing of networks.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class PuzzleError(ValueError):
    """A puzzle is malformed, contradictory or ambiguous; the message names the example and the cell."""


@dataclass(frozen=True)
class PuzzleBatch:
    """Puzzles with their answers."""

    inputs: NDArray[np.int64]
    """int64 [B, L], tokens of the question."""
    targets: NDArray[np.int64]
    """int64 [B, L], the answer; what is given stands in it too."""
    group: NDArray[np.int64]
    """int64 [B], the symmetry class, equal for puzzles that are images of each other."""

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> PuzzleBatch:
        return PuzzleBatch(self.inputs[rows], self.targets[rows], self.group[rows])

    @staticmethod
    def concatenate(batches: Sequence[PuzzleBatch]) -> PuzzleBatch:
        """Return the batches one after another."""
        return PuzzleBatch(
            np.concatenate([batch.inputs for batch in batches]),
            np.concatenate([batch.targets for batch in batches]),
            np.concatenate([batch.group for batch in batches]),
        )


@dataclass(frozen=True)
class ExactSolutions:
    """What an exact solver says of B puzzles."""

    targets: NDArray[np.int64]
    """int64 [B, L], the first solution found, what is given included; zeros without one."""
    count: NDArray[np.int64]
    """int64 [B], solutions, counted no further than 2."""
    guesses: NDArray[np.int64]
    """int64 [B], places where the solver had to try values one after another."""


class PuzzleTask(ABC):
    """One kind of puzzle: a source of them with unique answers, their symmetries, their rules and an exact solver."""

    name: str
    """The kind and its size, as `puzzle_task` reads it."""
    length: int
    """Cells, L."""
    vocabulary: int
    """Tokens, V; inputs and answers share them."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, count: int) -> PuzzleBatch:
        """Return new puzzles, each with exactly one answer."""

    @abstractmethod
    def augment(self, rng: np.random.Generator, batch: PuzzleBatch) -> PuzzleBatch:
        """Return a random symmetric image of each puzzle with its answer; `group` stays."""

    @abstractmethod
    def canonical(self, inputs: NDArray[np.int64]) -> list[bytes]:
        """Return a key for each puzzle, [B, L], that all its symmetric images share."""

    @abstractmethod
    def solve(self, inputs: NDArray[np.int64]) -> ExactSolutions:
        """Solve puzzles, [B, L], exactly."""

    @abstractmethod
    def asked(self, inputs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which cells, [B, L], an answer has to decide; the others are copied."""

    @abstractmethod
    def is_solution(self, inputs: NDArray[np.int64], answers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether each answer, [B, L], keeps the rules and what is given: any right answer counts."""

    def groups(self, inputs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the symmetry class of each puzzle, [B], as a number made from its canonical key."""
        keys = (hashlib.blake2b(key, digest_size=8).digest() for key in self.canonical(inputs))
        return np.array([int.from_bytes(key, "little", signed=True) for key in keys], dtype=np.int64)

    def check(self, inputs: NDArray[np.integer], *, rules: bool = True, unique: bool = True) -> NDArray[np.int64]:
        """Return puzzles as int64 [B, L] after checking them.

        Args:
            inputs: puzzles, [B, L].
            rules: ask that what is given does not contradict itself.
            unique: ask, too, that each has exactly one answer, which takes an exact solver.

        Raises:
            PuzzleError: the shape is wrong, a token is outside the vocabulary, or a puzzle has no answer or several.
        """
        array = np.asarray(inputs)
        if array.ndim != 2 or array.shape[1] != self.length:
            raise PuzzleError(
                f"{self.name} puzzles are [B, {self.length}] tokens, but the array is {list(array.shape)}"
            )
        if not np.issubdtype(array.dtype, np.integer):
            raise PuzzleError(f"{self.name} puzzles are integers, but the array is {array.dtype}")
        outside = np.argwhere((array < 0) | (array >= self.vocabulary))
        if len(outside):
            example, cell = (int(index) for index in outside[0])
            raise PuzzleError(
                f"puzzle {example}, cell {cell}: {int(array[example, cell])} is no token of {self.name}, "
                f"which has 0 to {self.vocabulary - 1}"
            )
        array = array.astype(np.int64)
        if rules:
            self.check_rules(array)
        if unique:
            for example, count in enumerate(self.solve(array).count):
                if count != 1:
                    raise PuzzleError(
                        f"puzzle {example} has {'no answer' if count == 0 else 'several answers'}; "
                        "check=False asks the model all the same"
                    )
        return array

    def check_rules(self, inputs: NDArray[np.int64]) -> None:  # noqa: B027 - most kinds have nothing to say here
        """Raise `PuzzleError` where what is given contradicts itself, naming the example and the cell."""


def split_by_class(
    batch: PuzzleBatch, sizes: Mapping[str, int], rng: np.random.Generator, *, rest: str = "train"
) -> dict[str, PuzzleBatch]:
    """Divide puzzles so that no part holds a symmetric image of another part's.

    Args:
        batch: puzzles; of several in one class the first is kept in the parts of fixed size.
        sizes: puzzles of each held-out part, each of a class of its own.
        rng: chooses the classes.
        rest: name of the part that takes all others.

    Returns:
        The parts by name; `rest` may hold several puzzles of a class.

    Raises:
        ValueError: there are not enough classes to leave one for `rest`.
    """
    classes, first, members = np.unique(batch.group, return_index=True, return_inverse=True)
    wanted = sum(sizes.values())
    if wanted >= len(classes):
        raise ValueError(
            f"{wanted} held-out puzzles of distinct symmetry classes are asked for, but {len(batch)} puzzles fall into "
            f"{len(classes)} classes; sample more puzzles or take a larger kind"
        )
    order = rng.permutation(len(classes))
    parts: dict[str, PuzzleBatch] = {}
    start = 0
    for name, size in sizes.items():
        parts[name] = batch[first[order[start : start + size]]]
        start += size
    parts[rest] = batch[np.isin(members, order[start:])]
    return parts


def leave_empty(task: PuzzleTask, batch: PuzzleBatch, count: int, rng: np.random.Generator) -> PuzzleBatch:
    """Return easier puzzles, in which all but `count` of the cells that were asked for are filled in.

    A recursive reasoner may fail where a single cell is empty (arXiv 2601.10679), so these are a check.
    """
    asked = task.asked(batch.inputs)
    order = np.where(asked, rng.random(asked.shape), np.inf).argsort(axis=1).argsort(axis=1)
    inputs = np.where(asked & (order >= count), batch.targets, batch.inputs)
    return PuzzleBatch(inputs, batch.targets, task.groups(inputs))
