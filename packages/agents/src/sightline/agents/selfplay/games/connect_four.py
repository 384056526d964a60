"""Connect Four of any size on a bitboard: a column of the board takes rows + 1 bits, the highest one always empty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.agents.planning import EvaluatorChoice
from sightline.agents.selfplay.games.boards import Bits, Board, BoardModel, Boards
from sightline.agents.selfplay.games.lines import threats_of


class ConnectFour:
    """Drop a stone into a column; four of one's own in a line win. Actions are columns.

    Args:
        columns: number of columns, at least 4.
        rows: number of rows, at least 4.
        threats: whether `planes` shows, beside the stones, the empty cells that complete a line for either side: what
            a small network would otherwise spend its first layers and its first minutes of learning on. It then shows
            whose rows are whose, too: which threat counts in the end depends on its row and on who began, and who
            began is the parity of all stones, which layers that look at nine cells cannot tell.

    Raises:
        ValueError: the board needs more than 64 bits, or no line of four fits.
    """

    def __init__(self, columns: int = 7, rows: int = 6, *, threats: bool = False) -> None:
        if min(columns, rows) < 4 or columns * (rows + 1) > 64:
            raise ValueError(
                f"a board of {columns} x {rows} cannot be played: both must be at least 4 "
                "and columns * (rows + 1) at most 64"
            )
        self.columns, self.rows, self.threats = columns, rows, threats
        self.max_actions = columns
        self.shape = (columns, rows)
        height = rows + 1
        self.steps = (1, height, height - 1, height + 1)  # vertical, horizontal, both diagonals
        self.bottoms = [1 << column * height for column in range(columns)]
        self.tops = [bottom << (rows - 1) for bottom in self.bottoms]
        self.cells = sum(((1 << rows) - 1) << column * height for column in range(columns))
        self._bottoms, self._tops = np.array(self.bottoms, np.uint64), np.array(self.tops, np.uint64)
        self._column_cells = self._bottoms * np.uint64((1 << rows) - 1)
        self._shifts = [(np.uint64(step), np.uint64(2 * step)) for step in self.steps]
        places = [column * height + row for column in range(columns) for row in range(rows)]
        self._places = np.array(places, np.uint64)

    def __repr__(self) -> str:
        more = ", threats=True" if self.threats else ""
        return f"ConnectFour(columns={self.columns}, rows={self.rows}{more})"

    def initial(self) -> Board:
        """Return the empty board."""
        return Board(0, 0)

    def legal(self, state: Board) -> list[int]:
        """Return columns with room, ascending."""
        stones = state[0] | state[1]
        return [column for column, top in enumerate(self.tops) if not stones & top]

    def apply(self, state: Board, action: int) -> Board:
        """Return the position after a stone, the other side to move."""
        mover, other = state
        stones = mover | other
        # Adding a column's bottom bit carries past its stones to the first empty cell.
        return Board(other, mover | ((stones + self.bottoms[action]) & ~stones & self.cells))

    def outcome(self, state: Board) -> float | None:
        """1 or -1 where the first or the second player has a line, 0 on a full board, else None."""
        mover, other = state
        for step in self.steps:
            pairs = other & (other >> step)
            if pairs & (pairs >> 2 * step):
                return -1.0 if self.to_move(state) == 0 else 1.0
        return 0.0 if mover | other == self.cells else None

    def to_move(self, state: Board) -> int:
        """0 or 1, by the number of stones."""
        return (state[0] | state[1]).bit_count() & 1

    def key(self, state: Board) -> Board:
        """Return the position itself."""
        return state

    def text(self, state: Board) -> str:
        """Return the board, x for the first player's stones and o for the second's, the highest row first."""
        first, second = state if self.to_move(state) == 0 else (state[1], state[0])
        height = self.rows + 1

        def mark(column: int, row: int) -> str:
            bit = 1 << column * height + row
            return "x" if first & bit else "o" if second & bit else "."

        return "\n".join(
            " ".join(mark(column, row) for column in range(self.columns)) for row in reversed(range(self.rows))
        )

    def legal_mask(self, boards: Boards) -> NDArray[np.bool_]:
        """Where there is room, whether or not the game is over, bool `[n, A]`."""
        return ((boards[0] | boards[1])[:, None] & self._tops) == 0

    def place(self, boards: Boards, actions: NDArray[np.int64]) -> tuple[Boards, NDArray[np.bool_], NDArray[np.bool_]]:
        """Put a stone: (positions with the other side to move, bool `[n]` won by it, bool `[n]` board full)."""
        mover, other = boards
        stones = mover | other
        stone = (stones + self._bottoms[actions]) & ~stones & self._column_cells[actions]
        moved = mover | stone
        return (other, moved), self.won(moved), (stones | stone) == np.uint64(self.cells)

    def won(self, stones: Bits) -> NDArray[np.bool_]:
        """Whether these stones hold a winning line, bool `[n]`."""
        lines = np.zeros_like(stones)
        for once, twice in self._shifts:
            pairs = stones & (stones >> once)
            lines |= pairs & (pairs >> twice)
        return lines != 0

    def planes(self, boards: Boards) -> NDArray[np.float32]:
        """Return stones of the side to move and of the other one, float32 `[n, 2, columns, rows]`.

        With `threats`, `[n, 5, columns, rows]`: then the empty cells that complete a line of the one and of the other,
        and the rows of the side to move: the odd ones, counted from 1 at the bottom, for the first player.
        """
        shown = list(boards)
        if self.threats:
            completing = threats_of(self.cells, self.steps)
            shown += [completing(side, boards[0] | boards[1]) for side in boards]
        bits = np.stack(shown, axis=1)[:, :, None] >> self._places & np.uint64(1)
        planes = bits.astype(np.float32).reshape(-1, len(shown), self.columns, self.rows)
        if not self.threats:
            return planes
        is_second = planes[:, :2].sum(axis=(1, 2, 3)) % 2
        own_rows = (np.arange(self.rows) + is_second[:, None]) % 2 == 0
        own = np.broadcast_to(own_rows[:, None, None], (len(planes), 1, self.columns, self.rows))
        return np.concatenate([planes, own.astype(np.float32)], axis=1)

    def mirror_actions(self) -> NDArray[np.int64]:
        """Return what each action becomes where the columns are read from right to left, int64 `[A]`."""
        return np.arange(self.columns)[::-1].copy()

    def model(self, evaluator: EvaluatorChoice = "uniform", *, decisive: bool = False) -> BoardModel:
        """Return the game as a world to search in; see `BoardModel`."""
        return BoardModel(self, evaluator, decisive=decisive)
