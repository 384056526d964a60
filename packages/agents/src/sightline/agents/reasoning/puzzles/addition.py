"""Addition of two numbers digit by digit: the smallest task, for smoke runs and tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.agents.reasoning.puzzles.tasks import ExactSolutions, PuzzleBatch, PuzzleTask


class Addition(PuzzleTask):
    """Two numbers of `digits` digits and room for their sum, highest digit first.

    Token 0 is an empty cell and d + 1 the digit d. The only symmetry exchanges the two numbers.
    """

    def __init__(self, digits: int = 2) -> None:
        if not 1 <= digits <= 9:
            raise ValueError(f"digits must be between 1 and 9, not {digits}")
        self.name = f"addition-{digits}"
        self.digits = digits
        self.length = 3 * digits + 1
        self.vocabulary = 11

    def sample(self, rng: np.random.Generator, count: int) -> PuzzleBatch:
        """Return random sums."""
        numbers = rng.integers(0, 10**self.digits, size=(count, 2))
        blank = np.zeros((count, self.digits + 1), dtype=np.int64)
        inputs = np.concatenate([self._tokens(numbers[:, 0]), self._tokens(numbers[:, 1]), blank], axis=1)
        return PuzzleBatch(inputs, self.solve(inputs).targets, self.groups(inputs))

    def augment(self, rng: np.random.Generator, batch: PuzzleBatch) -> PuzzleBatch:
        """Exchange the two numbers of every second sum."""
        swapped = rng.random((len(batch), 1)) < 0.5
        inputs, targets = (np.where(swapped, self._swap(tokens), tokens) for tokens in (batch.inputs, batch.targets))
        return PuzzleBatch(inputs, targets, batch.group)

    def canonical(self, inputs: NDArray[np.int64]) -> list[bytes]:
        """Return the smaller of a sum and its exchange."""
        return [
            min(row.tobytes(), swapped.tobytes())
            for row, swapped in zip(inputs.astype(np.uint8), self._swap(inputs).astype(np.uint8), strict=True)
        ]

    def solve(self, inputs: NDArray[np.int64]) -> ExactSolutions:
        """Add; a sum has an answer where both numbers are complete and the room for it is empty."""
        digits = self.digits
        valid = (inputs[:, : 2 * digits] > 0).all(axis=1) & (inputs[:, 2 * digits :] == 0).all(axis=1)
        powers = 10 ** np.arange(digits - 1, -1, -1)
        total = ((inputs[:, :digits] - 1) + (inputs[:, digits : 2 * digits] - 1)) @ powers
        targets = inputs.copy()
        targets[:, 2 * digits :] = total[:, None] // 10 ** np.arange(digits, -1, -1) % 10 + 1
        targets[~valid] = 0
        return ExactSolutions(targets, valid.astype(np.int64), np.zeros(len(inputs), dtype=np.int64))

    def asked(self, inputs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return the cells of the sum."""
        return np.broadcast_to(np.arange(self.length) >= 2 * self.digits, inputs.shape)

    def is_solution(self, inputs: NDArray[np.int64], answers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Compare with the sum; the two numbers must be copied."""
        exact = self.solve(inputs)
        return (exact.count == 1) & (answers == exact.targets).all(axis=1)

    def _tokens(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return numbers[:, None] // 10 ** np.arange(self.digits - 1, -1, -1) % 10 + 1

    def _swap(self, inputs: NDArray[np.int64]) -> NDArray[np.int64]:
        digits = self.digits
        return np.concatenate([inputs[:, digits : 2 * digits], inputs[:, :digits], inputs[:, 2 * digits :]], axis=1)
