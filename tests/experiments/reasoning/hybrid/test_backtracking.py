from __future__ import annotations

import numpy as np
import pytest

from experiments.reasoning.hybrid.backtracking import backtrack
from sightline.agents.reasoning import Sudoku

TASK = Sudoku(4)
PUZZLES = TASK.sample(np.random.default_rng(0), 20)


def count_by_recursion(cells: list[int], constrained: bool) -> int:
    """Nodes until the first solution, by the textbook's recursion over sets."""
    nodes = 0

    def left(cell: int) -> list[int]:
        seen = {cells[other] for unit in TASK.units if cell in unit for other in unit}
        return [digit for digit in range(1, 5) if digit not in seen]

    def fill() -> bool:
        nonlocal nodes
        empty = [cell for cell in range(16) if not cells[cell]]
        if not empty:
            return True
        cell = min(empty, key=lambda each: len(left(each))) if constrained else empty[0]
        for digit in left(cell):
            nodes += 1
            cells[cell] = digit
            if fill():
                return True
            cells[cell] = 0
        return False

    assert fill()
    return nodes


@pytest.mark.parametrize("constrained", [True, False])
def test_nodes_are_those_of_a_recursion(constrained: bool) -> None:
    for cells in PUZZLES.inputs.tolist():
        found = backtrack(TASK, cells, constrained=constrained, limit=10_000)
        assert found.solved
        assert found.nodes == count_by_recursion(list(cells), constrained)


def test_with_the_right_digits_first_nothing_is_taken_back() -> None:
    for cells, answer in zip(PUZZLES.inputs.tolist(), PUZZLES.targets.tolist(), strict=True):

        def right_first(cell: int, digits: list[int], answer: list[int] = answer) -> list[int]:
            return sorted(digits, key=lambda digit: digit != answer[cell])

        found = backtrack(TASK, cells, constrained=False, order=right_first, limit=10_000)
        assert found.nodes == cells.count(0)


def test_it_gives_up_after_its_nodes() -> None:
    cells = PUZZLES.inputs[0].tolist()
    needed = backtrack(TASK, cells, constrained=False, limit=10_000).nodes
    assert not backtrack(TASK, cells, constrained=False, limit=needed - 1).solved
    assert backtrack(TASK, cells, constrained=False, limit=needed).solved


def test_a_puzzle_without_an_answer_ends() -> None:
    cells = [0] * 16
    cells[0], cells[1], cells[2], cells[7] = 1, 2, 3, 4
    assert not backtrack(TASK, cells, constrained=True, limit=10_000).solved
