"""Cells of Connect Four that complete a line, by shifts of a bitboard: of one position (ints), or of many (arrays)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def threats_of(cells: int, steps: tuple[int, int, int, int]) -> Callable[[Any, Any], Any]:
    """Return the function (a side's stones, all stones) -> empty cells that complete a line of four for that side.

    Args:
        cells: all cells of the board.
        steps: distances in bits from a cell to its neighbours: the one above, then those along the other three lines.
    """
    _, *others = steps
    (a, a2, a3), (b, b2, b3), (c, c2, c3) = ((step, 2 * step, 3 * step) for step in others)

    def threats(side: int, stones: int) -> int:
        lines = (side << 1) & (side << 2) & (side << 3)
        up, down = side << a, side >> a
        two = up & (side << a2)
        lines |= two & ((side << a3) | down)
        two = down & (side >> a2)
        lines |= two & (up | (side >> a3))
        up, down = side << b, side >> b
        two = up & (side << b2)
        lines |= two & ((side << b3) | down)
        two = down & (side >> b2)
        lines |= two & (up | (side >> b3))
        up, down = side << c, side >> c
        two = up & (side << c2)
        lines |= two & ((side << c3) | down)
        two = down & (side >> c2)
        lines |= two & (up | (side >> c3))
        return lines & (cells ^ stones)

    return threats
