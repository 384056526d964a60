"""A replay buffer of solved puzzles, and an endless loader over it that resumes exactly where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sightline.agents.reasoning.puzzles.tasks import PuzzleBatch, PuzzleError, PuzzleTask
from sightline.agents.reasoning.training.examples import Examples


class EmptyBufferError(ValueError):
    """There is nothing to learn from: the replay buffer is empty and no other source of puzzles was named."""


class PuzzleBuffer:
    """Solved puzzles of one kind, the latest answer to each.

    When it is full a new puzzle takes a random place with the chance that keeps the buffer a uniform sample of all
    puzzles ever added (reservoir sampling); a puzzle that is there already replaces its older entry.
    """

    def __init__(self, task: PuzzleTask, capacity: int, *, seed: int = 0) -> None:
        """Make an empty buffer.

        Args:
            task: the kind of puzzles.
            capacity: most puzzles kept.
            seed: seed of the choice of places.

        Raises:
            ValueError: the capacity is not positive.
        """
        if capacity < 1:
            raise ValueError(f"capacity must be positive, not {capacity}")
        self.task = task
        self.capacity = capacity
        self._rng = np.random.default_rng(seed)
        self._inputs = np.zeros((capacity, task.length), dtype=np.int16)
        self._targets = np.zeros((capacity, task.length), dtype=np.int16)
        self._priority = np.zeros(capacity)
        self._seen = np.zeros(capacity, dtype=np.int64)
        self._slots: dict[bytes, int] = {}
        self._added = 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def seen(self) -> NDArray[np.int64]:
        """How often each puzzle was sampled, [size]."""
        return self._seen[: len(self)]

    def add(self, batch: PuzzleBatch, priority: NDArray[np.float64] | None = None) -> None:
        """Add solved puzzles.

        Args:
            batch: puzzles with targets.
            priority: positive weights, [B], to which the chance of being sampled is proportional; default 1.

        Raises:
            PuzzleError: a puzzle is malformed or its target does not solve it.
            ValueError: a priority is not positive, or there is not one for each puzzle.
        """
        inputs = self.task.check(batch.inputs, unique=False)
        right = self.task.is_solution(inputs, self.task.check(batch.targets, unique=False, rules=False))
        if not right.all():
            raise PuzzleError(f"puzzle {int(right.argmin())} has a target that does not solve it")
        weights = np.ones(len(inputs)) if priority is None else np.asarray(priority, dtype=np.float64)
        if weights.shape != (len(inputs),) or not (np.isfinite(weights) & (weights > 0)).all():
            raise ValueError("priority must be one positive number for each puzzle")
        for row, key in enumerate(self._keys(inputs)):
            slot = self._slots.get(key)
            if slot is None:
                slot = self._place()
                if slot is None:
                    continue
                self._slots[key] = slot
                self._seen[slot] = 0
            self._inputs[slot], self._targets[slot] = inputs[row], batch.targets[row]
            self._priority[slot] = weights[row]

    def sample(self, count: int, rng: np.random.Generator) -> PuzzleBatch:
        """Draw puzzles with replacement, each with a chance proportional to its priority; groups are not kept, but 0.

        Raises:
            EmptyBufferError: the buffer is empty.
        """
        if not len(self):
            raise EmptyBufferError("the replay buffer is empty; add solved puzzles, or give the loader a fallback")
        shares = np.cumsum(self._priority[: len(self)])
        rows = np.searchsorted(shares, rng.random(count) * shares[-1], side="right").clip(max=len(self) - 1)
        np.add.at(self._seen, rows, 1)
        inputs, targets = self._inputs[rows].astype(np.int64), self._targets[rows].astype(np.int64)
        return PuzzleBatch(inputs, targets, np.zeros(count, dtype=np.int64))

    def state_dict(self) -> dict[str, Any]:
        """Return everything as JSON values and tensors."""
        size = len(self)
        return {
            "inputs": torch.from_numpy(self._inputs[:size].copy()),
            "targets": torch.from_numpy(self._targets[:size].copy()),
            "priority": torch.from_numpy(self._priority[:size].copy()),
            "seen": torch.from_numpy(self._seen[:size].copy()),
            "added": self._added,
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the buffer that `state_dict` described.

        Raises:
            ValueError: it held more puzzles than this one may.
        """
        size = len(state["inputs"])
        if size > self.capacity:
            raise ValueError(f"the saved buffer holds {size} puzzles, more than this one's capacity of {self.capacity}")
        self._inputs[:size], self._targets[:size] = state["inputs"].numpy(), state["targets"].numpy()
        self._priority[:size], self._seen[:size] = state["priority"].numpy(), state["seen"].numpy()
        self._added = state["added"]
        self._rng.bit_generator.state = state["rng"]
        self._slots = {key: slot for slot, key in enumerate(self._keys(self._inputs[:size]))}

    def _place(self) -> int | None:
        """Return the place of a new puzzle, emptied, or None where chance leaves it out."""
        self._added += 1
        if len(self) < self.capacity:
            return len(self)
        slot = int(self._rng.integers(self._added))
        if slot >= self.capacity:
            return None
        del self._slots[self._keys(self._inputs[slot : slot + 1])[0]]
        return slot

    @staticmethod
    def _keys(inputs: NDArray[np.integer]) -> list[bytes]:
        return [row.tobytes() for row in inputs.astype(np.int16)]


class Loader:
    """An endless iterator over a replay buffer.

    With a `fallback` it makes new puzzles of that kind, with true answers, for as long as the buffer is empty;
    `counts` then says which share of all samples were such.
    """

    def __init__(
        self,
        buffer: PuzzleBuffer,
        batch_size: int,
        *,
        fallback: PuzzleTask | None = None,
        augment: bool = True,
        seed: int = 0,
    ) -> None:
        """Prepare to load.

        Args:
            buffer: what to draw from; it may grow meanwhile.
            batch_size: examples of each batch when iterated over.
            fallback: source of puzzles while the buffer is empty.
            augment: draw a random symmetric image of each puzzle.
            seed: seed of draws and images.

        Raises:
            ValueError: the fallback is another kind of puzzle than the buffer's.
        """
        if fallback is not None and (fallback.length, fallback.vocabulary) != (
            buffer.task.length,
            buffer.task.vocabulary,
        ):
            raise ValueError(f"the buffer holds {buffer.task.name}, so {fallback.name} cannot be its fallback")
        self.buffer = buffer
        self.batch_size = batch_size
        self.fallback = fallback
        self.augment = augment
        self._rng = np.random.default_rng(seed)
        self._samples = 0
        self._fallback_samples = 0

    def __iter__(self) -> Iterator[Examples]:
        return self

    def __next__(self) -> Examples:
        return self.take(self.batch_size)

    def take(self, count: int) -> Examples:
        """Return the next examples.

        Raises:
            EmptyBufferError: the buffer is empty and there is no fallback.
        """
        if not len(self.buffer) and self.fallback is not None:
            batch = self.fallback.sample(self._rng, count)
            self._fallback_samples += count
        else:
            batch = self.buffer.sample(count, self._rng)
        if self.augment:
            batch = self.buffer.task.augment(self._rng, batch)
        self._samples += count
        return puzzle_examples(batch)

    def counts(self) -> dict[str, float]:
        """Return samples given, distinct puzzles among them, and the share that came from the fallback."""
        return {
            "samples": self._samples,
            "distinct_samples": int((self.buffer.seen > 0).sum()) + self._fallback_samples,
            "fallback_share": self._fallback_samples / max(self._samples, 1),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the place, the buffer included."""
        return self.buffer.state_dict() | {
            "loader_rng": self._rng.bit_generator.state,
            "samples": self._samples,
            "fallback_samples": self._fallback_samples,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a place that `state_dict` returned."""
        self.buffer.load_state_dict(state)
        self._rng.bit_generator.state = state["loader_rng"]
        self._samples, self._fallback_samples = state["samples"], state["fallback_samples"]


def puzzle_examples(batch: PuzzleBatch) -> Examples:
    """Return puzzles as tensors; the target of the cells is called `cells`."""
    return Examples(torch.from_numpy(batch.inputs), {"cells": torch.from_numpy(batch.targets)})
