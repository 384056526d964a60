"""Sudoku of side 4, 6 or 9: generator, symmetries, rules and an exact solver, in plain Python on bit masks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.agents.reasoning.puzzles.symmetry import refined_keys, smallest_images
from sightline.agents.reasoning.puzzles.tasks import ExactSolutions, PuzzleBatch, PuzzleError, PuzzleTask

_BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}  # rows and columns of a box, by side
_EXACT_UP_TO = 6
# Sudoku of side 9 has 3,359,232 symmetries beside relabelling: too many to try them all.


class Sudoku(PuzzleTask):
    """Sudoku with exactly one answer; token 0 is an empty cell.

    Without `clues` puzzles are minimal: no clue can be left out. Side 4 has so few symmetry classes that a test set
    of unseen ones leaves almost nothing to train on; it is for unit tests.
    """

    def __init__(self, side: int = 6, *, clues: tuple[int, int] | None = None) -> None:
        """Prepare the geometry.

        Args:
            side: 4, 6 or 9.
            clues: least and most clues of a sampled puzzle; default: as few as its answer needs.

        Raises:
            ValueError: the side is another one, or the clues are no range below the number of cells.
        """
        if side not in _BOXES:
            raise ValueError(f"side must be one of {list(_BOXES)}, not {side}")
        if clues is not None and not side <= clues[0] <= clues[1] < side * side:
            raise ValueError(f"clues must be a range within {side} to {side * side - 1}, not {clues}")
        self.name = f"sudoku-{side}" if clues is None else f"sudoku-{side}-{clues[0]}-{clues[1]}"
        self.side = side
        self.clues = clues
        self.length = side * side
        self.vocabulary = side + 1
        self.box = _BOXES[side]
        self.units = _units(side)
        self._everything = (1 << side) - 1
        houses = [[house for house, unit in enumerate(self.units) if cell in unit] for cell in range(self.length)]
        self._houses: list[tuple[int, int, int]] = [(three[0], three[1], three[2]) for three in houses]
        self._images = _symmetries(side) if side <= _EXACT_UP_TO else None

    def sample(self, rng: np.random.Generator, count: int) -> PuzzleBatch:
        """Fill grids at random and clear their cells in random order while the answer stays the only one."""
        inputs = np.zeros((count, self.length), dtype=np.int64)
        answers = np.zeros_like(inputs)
        for row in range(count):
            answer = _Search(self, [0] * self.length, limit=1, rng=rng).run().solutions[0]
            answers[row] = answer
            inputs[row] = self._cleared(answer, rng)
        return PuzzleBatch(inputs, answers, self.groups(inputs))

    def augment(self, rng: np.random.Generator, batch: PuzzleBatch) -> PuzzleBatch:
        """Exchange rows within bands, bands, columns, stacks, rows with columns where boxes are square, and digits."""
        count, side = len(batch), self.side
        high, wide = self.box
        rows, columns = _line_orders(rng, count, side, high), _line_orders(rng, count, side, wide)
        cells = rows[:, :, None] * side + columns[:, None, :]
        if high == wide:
            turned = rng.random(count) < 0.5
            cells = np.where(turned[:, None, None], cells.transpose(0, 2, 1), cells)
        cells = cells.reshape(count, self.length)
        digits = np.concatenate(
            [np.zeros((count, 1), dtype=np.int64), rng.random((count, side)).argsort(axis=1) + 1], axis=1
        )
        inputs, targets = (
            np.take_along_axis(digits, np.take_along_axis(tokens, cells, axis=1), axis=1)
            for tokens in (batch.inputs, batch.targets)
        )
        return PuzzleBatch(inputs, targets, batch.group)

    def canonical(self, inputs: NDArray[np.int64]) -> list[bytes]:
        """Return the smallest of all symmetric images; for side 9 a key that images share and others very rarely do."""
        if self._images is not None:
            return smallest_images(inputs, self._images, self.side)
        return refined_keys(inputs, self.side)

    def solve(self, inputs: NDArray[np.int64]) -> ExactSolutions:
        """Search depth first, always at a cell with the fewest values left; a guess is a cell with more than one."""
        targets = np.zeros_like(inputs)
        counts = np.zeros(len(inputs), dtype=np.int64)
        guesses = np.zeros(len(inputs), dtype=np.int64)
        for row, cells in enumerate(inputs.tolist()):
            if self._conflict(cells) is not None:
                continue
            found = _Search(self, cells, limit=2).run()
            counts[row], guesses[row] = len(found.solutions), found.guesses
            if found.solutions:
                targets[row] = found.solutions[0]
        return ExactSolutions(targets, counts, guesses)

    def asked(self, inputs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return the empty cells."""
        return inputs == 0

    def is_solution(self, inputs: NDArray[np.int64], answers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Check that the clues stand and that every row, column and box holds every digit."""
        kept = ((inputs == 0) | (inputs == answers)).all(axis=1)
        units = np.sort(answers[:, np.array(self.units)], axis=2)
        return kept & (units == np.arange(1, self.side + 1)).all(axis=(1, 2))

    def check_rules(self, inputs: NDArray[np.int64]) -> None:
        """Refuse two equal clues in a row, column or box."""
        for example, cells in enumerate(inputs.tolist()):
            cell = self._conflict(cells)
            if cell is not None:
                raise PuzzleError(f"puzzle {example}, cell {cell}: {cells[cell]} is already in its row, column or box")

    def candidates(self, cells: Sequence[int]) -> dict[int, list[int]]:
        """Return the digits that rows, columns and boxes leave to each empty cell of a puzzle, [L]."""
        search = _Search(self, list(cells), limit=1)
        return {cell: _digits(search.values(cell)) for cell, digit in enumerate(cells) if not digit}

    def _conflict(self, cells: list[int]) -> int | None:
        """Return the first cell whose clue repeats an earlier one of its row, column or box."""
        used = [0] * len(self.units)
        for cell, digit in enumerate(cells):
            if not digit:
                continue
            bit = 1 << (digit - 1)
            if any(used[house] & bit for house in self._houses[cell]):
                return cell
            for house in self._houses[cell]:
                used[house] |= bit
        return None

    def _cleared(self, answer: list[int], rng: np.random.Generator) -> list[int]:
        fewest = 0 if self.clues is None else int(rng.integers(self.clues[0], self.clues[1] + 1))
        cells = list(answer)
        left = self.length
        for cell in rng.permutation(self.length).tolist():
            if left == fewest:
                break
            if self._needless(cells, cell):
                cells[cell] = 0
                left -= 1
        return cells

    def _needless(self, cells: list[int], cell: int) -> bool:
        """Return whether the answer stays the only one without this clue: no other digit there leads to one."""
        digit, cells[cell] = cells[cell], 0
        search = _Search(self, cells, limit=1)
        others = search.values(cell) & ~(1 << (digit - 1))
        needless = not any(
            _Search(self, cells, limit=1, fixed=(cell, value)).run().solutions for value in _digits(others)
        )
        cells[cell] = digit
        return needless


@dataclass(frozen=True)
class _Found:
    solutions: list[list[int]]
    guesses: int


class _Search:
    """Depth-first search for up to `limit` solutions of consistent clues."""

    def __init__(
        self,
        sudoku: Sudoku,
        cells: list[int],
        *,
        limit: int,
        rng: np.random.Generator | None = None,
        fixed: tuple[int, int] | None = None,
    ) -> None:
        self.cells = list(cells)
        if fixed is not None:
            self.cells[fixed[0]] = fixed[1]
        self.limit = limit
        self.rng = rng
        self.guesses = 0
        self.solutions: list[list[int]] = []
        self._houses = sudoku._houses
        self._everything = sudoku._everything
        self._used = [0] * len(sudoku.units)
        self._empty = []
        for cell, digit in enumerate(self.cells):
            if digit:
                self._mark(cell, 1 << (digit - 1))
            else:
                self._empty.append(cell)

    def values(self, cell: int) -> int:
        """Return the bit mask of the digits that its row, column and box leave to a cell."""
        row, column, box = self._houses[cell]
        used = self._used
        return self._everything & ~(used[row] | used[column] | used[box])

    def run(self) -> _Found:
        """Search until all solutions, or `limit` of them, are found."""
        self._descend()
        return _Found(self.solutions, self.guesses)

    def _mark(self, cell: int, bit: int) -> None:
        for house in self._houses[cell]:
            self._used[house] ^= bit

    def _descend(self) -> None:
        if not self._empty:
            self.solutions.append(list(self.cells))
            return
        place, values, fewest = 0, 0, 99
        for index, cell in enumerate(self._empty):
            left = self.values(cell)
            count = left.bit_count()
            if count < fewest:
                place, values, fewest = index, left, count
                if count <= 1:
                    break
        if fewest > 1:
            self.guesses += 1
        cell = self._empty[place]
        self._empty[place] = self._empty[-1]
        self._empty.pop()
        digits = _digits(values)
        if self.rng is not None and fewest > 1:
            digits = [digits[index] for index in self.rng.permutation(fewest).tolist()]
        for digit in digits:
            self.cells[cell] = digit
            self._mark(cell, 1 << (digit - 1))
            self._descend()
            self._mark(cell, 1 << (digit - 1))
            if len(self.solutions) >= self.limit:
                break
        self.cells[cell] = 0
        self._empty.append(cell)
        self._empty[place], self._empty[-1] = self._empty[-1], self._empty[place]


def _digits(mask: int) -> list[int]:
    return [bit + 1 for bit in range(mask.bit_length()) if mask >> bit & 1]


def _units(side: int) -> list[list[int]]:
    """Return the cells of all rows, then columns, then boxes."""
    high, wide = _BOXES[side]
    lines = range(side)
    rows = [[row * side + column for column in lines] for row in lines]
    columns = [[row * side + column for row in lines] for column in lines]
    boxes = [
        [(top + down) * side + left + right for down in range(high) for right in range(wide)]
        for top in range(0, side, high)
        for left in range(0, side, wide)
    ]
    return rows + columns + boxes


def _line_orders(rng: np.random.Generator, count: int, side: int, thick: int) -> NDArray[np.int64]:
    """Return random orders, [count, side], of lines that come in bands of `thick`: within bands, and bands whole."""
    bands = side // thick
    band = rng.random((count, bands)).argsort(axis=1)
    line = rng.random((count, bands, thick)).argsort(axis=2)
    return (band[:, :, None] * thick + line).reshape(count, side)


def _symmetries(side: int) -> NDArray[np.int64]:
    """Return all rearrangements of the cells that keep the rules, [S, L]; relabelling of digits not included."""
    high, wide = _BOXES[side]

    def orders(thick: int) -> list[list[int]]:
        bands = range(side // thick)
        inner = list(itertools.permutations(range(thick)))
        return [
            [band * thick + line for band, lines in zip(order, chosen, strict=True) for line in lines]
            for order in itertools.permutations(bands)
            for chosen in itertools.product(inner, repeat=len(bands))
        ]

    rows, columns = np.array(orders(high)), np.array(orders(wide))
    images = rows[:, None, :, None] * side + columns[None, :, None, :]
    flat = images.reshape(-1, side, side)
    if high == wide:
        flat = np.concatenate([flat, flat.transpose(0, 2, 1)])
    return flat.reshape(len(flat), side * side)
