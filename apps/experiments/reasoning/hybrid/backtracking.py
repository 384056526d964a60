"""Depth-first search for a Sudoku's answer, with the nodes it takes under several orders of cells and digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sightline.agents.reasoning import Sudoku

DigitOrder = Callable[[int, list[int]], list[int]]
"""Returns the digits left to a cell in the order in which they shall be tried."""


@dataclass(frozen=True)
class Searched:
    """What a search came to."""

    solved: bool
    """Whether it found an answer within its nodes."""
    nodes: int
    """Digits put into cells, right or wrong."""


def backtrack(
    task: Sudoku, cells: Sequence[int], *, constrained: bool, order: DigitOrder | None = None, limit: int
) -> Searched:
    """Fill cells one after another and take back what leads nowhere.

    Args:
        task: the kind of Sudoku.
        cells: puzzle, [L].
        constrained: go on at a cell with the fewest digits left, else at the first empty one.
        order: order of the digits; default ascending.
        limit: nodes after which to give up.
    """
    state = list(cells)
    nodes = 0
    # Each entry is a cell and the digits still to be tried there; it is empty above the one being worked at.
    stack: list[tuple[int, list[int]]] = []

    def push() -> bool:
        """Choose the next cell; False where the puzzle is full."""
        left = task.candidates(state)
        if not left:
            return False
        cell = min(left, key=lambda empty: len(left[empty])) if constrained else next(iter(left))
        digits = left[cell] if order is None else order(cell, left[cell])
        stack.append((cell, digits[::-1]))
        return True

    if not push():
        return Searched(solved=True, nodes=0)
    while stack:
        cell, digits = stack[-1]
        state[cell] = 0
        if not digits:
            stack.pop()
            continue
        if nodes == limit:
            return Searched(solved=False, nodes=nodes)
        state[cell] = digits.pop()
        nodes += 1
        if not push():
            return Searched(solved=True, nodes=nodes)
    return Searched(solved=False, nodes=nodes)
