"""Tic-tac-toe on a bitboard of nine cells, cell = column * 3 + row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.agents.planning import EvaluatorChoice
from sightline.agents.selfplay.games.boards import Bits, Board, BoardModel, Boards

_LINES = tuple(
    sum(1 << cell for cell in cells)
    for cells in ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
)
_FULL = (1 << 9) - 1


class TicTacToe:
    """Three of one's own in a line win. Actions are cells."""

    max_actions = 9
    shape = (3, 3)

    def __init__(self) -> None:
        self._won = np.array([any(stones & line == line for line in _LINES) for stones in range(_FULL + 1)])

    def __repr__(self) -> str:
        return "TicTacToe()"

    def initial(self) -> Board:
        """Return the empty board."""
        return Board(0, 0)

    def legal(self, state: Board) -> list[int]:
        """Return cells with room, ascending."""
        stones = state[0] | state[1]
        return [cell for cell in range(9) if not stones >> cell & 1]

    def apply(self, state: Board, action: int) -> Board:
        """Return the position after a stone, the other side to move."""
        return Board(state[1], state[0] | 1 << action)

    def outcome(self, state: Board) -> float | None:
        """1 or -1 where the first or the second player has a line, 0 on a full board, else None."""
        mover, other = state
        if self._won[other]:
            return -1.0 if self.to_move(state) == 0 else 1.0
        return 0.0 if mover | other == _FULL else None

    def to_move(self, state: Board) -> int:
        """0 or 1, by the number of stones."""
        return (state[0] | state[1]).bit_count() & 1

    def key(self, state: Board) -> Board:
        """Return the position itself."""
        return state

    def text(self, state: Board) -> str:
        """Return the board, x for the first player's stones and o for the second's."""
        first, second = state if self.to_move(state) == 0 else (state[1], state[0])
        marks = ["x" if first >> cell & 1 else "o" if second >> cell & 1 else "." for cell in range(9)]
        return "\n".join(" ".join(marks[column * 3 + row] for column in range(3)) for row in reversed(range(3)))

    def legal_mask(self, boards: Boards) -> NDArray[np.bool_]:
        """Where there is room, whether or not the game is over, bool `[n, A]`."""
        return ((boards[0] | boards[1])[:, None] >> np.arange(9, dtype=np.uint64) & np.uint64(1)) == 0

    def place(self, boards: Boards, actions: NDArray[np.int64]) -> tuple[Boards, NDArray[np.bool_], NDArray[np.bool_]]:
        """Put a stone: (positions with the other side to move, bool `[n]` won by it, bool `[n]` board full)."""
        moved = boards[0] | (np.uint64(1) << actions.astype(np.uint64))
        return (boards[1], moved), self.won(moved), (moved | boards[1]) == np.uint64(_FULL)

    def won(self, stones: Bits) -> NDArray[np.bool_]:
        """Whether these stones hold a winning line, bool `[n]`."""
        return self._won[stones.astype(np.int64)]

    def planes(self, boards: Boards) -> NDArray[np.float32]:
        """Return stones of the side to move and of the other one, float32 `[n, 2, columns, rows]`."""
        bits = np.stack(boards, axis=1)[:, :, None] >> np.arange(9, dtype=np.uint64) & np.uint64(1)
        return bits.astype(np.float32).reshape(-1, 2, 3, 3)

    def mirror_actions(self) -> NDArray[np.int64]:
        """Return what each action becomes where the columns are read from right to left, int64 `[A]`."""
        return np.array([(2 - cell // 3) * 3 + cell % 3 for cell in range(9)])

    def model(self, evaluator: EvaluatorChoice = "uniform", *, decisive: bool = False) -> BoardModel:
        """Return the game as a world to search in; see `BoardModel`."""
        return BoardModel(self, evaluator, decisive=decisive)
