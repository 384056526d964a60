"""Connect Four solved exactly: negamax with null windows over bitboards, in plain Python.

The usual means (Allis 1988; Pons 2015): forced moves first, moves ordered by the threats they make, and a table of
bounds. It knows the rules by their bits alone, and plays no game.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sightline.agents.selfplay.games.boards import Board
from sightline.agents.selfplay.games.connect_four import ConnectFour
from sightline.agents.selfplay.games.lines import threats_of

Search = Callable[[int, int, int, int, int], int]


class OutOfNodesError(RuntimeError):
    """A position took more nodes than it was allowed."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The value of a position under perfect play of both sides."""

    score: int
    """Value for the side to move: 0 a draw, positive a win, negative a loss; the further from 0, the sooner. A win with
    one's last stone counts 1, one stone earlier 2, and so on."""
    nodes: int
    """Positions searched for it."""


class Solver:
    """Solves positions of one game, and remembers bounds from one to the next.

    Args:
        game: its board.
        table_size: most positions remembered; when it is full, all are forgotten.
        max_nodes: most positions searched for one answer; None for no limit.
    """

    def __init__(self, game: ConnectFour, *, table_size: int = 4_000_000, max_nodes: int | None = None) -> None:
        self.game, self._table_size, self._max_nodes = game, table_size, max_nodes
        self._table: dict[int, int] = {}
        self._nodes = 0
        self._threats = threats_of(game.cells, game.steps)
        self._search = self._make_search()

    def solve(self, board: Board) -> Solution:
        """Return the value of a position.

        Raises:
            OutOfNodesError: it takes more than `max_nodes`.
            ValueError: the game is over.
        """
        if self.game.outcome(board) is not None:
            raise ValueError("the game is over: there is nothing to solve")
        self._nodes = 0
        mover, other = board
        stones, cells = mover | other, self.game.cells
        number, size = stones.bit_count(), cells.bit_count()
        if self._threats(mover, stones) & (stones + sum(self.game.bottoms)):
            return Solution((size + 1 - number) // 2, 1)
        low, high = -((size - number) // 2), (size - 1 - number) // 2
        while low < high:
            middle = low + (high - low) // 2
            # Halve towards 0 first: whether the position is a win, a draw or a loss settles most of the rest.
            if middle <= 0 and low // 2 < middle:
                middle = -(-low // 2)
            elif middle >= 0 and high // 2 > middle:
                middle = high // 2
            score = self._search(mover, stones, middle, middle + 1, number)
            if score <= middle:
                high = score
            else:
                low = score
        return Solution(low, self._nodes)

    def action_scores(self, board: Board) -> dict[int, int]:
        """Return the score of every legal action for the side to move; see `Solution`.

        Raises:
            OutOfNodesError: one takes more than `max_nodes`.
            ValueError: the game is over.
        """
        legal = self.game.legal(board)
        if self.game.outcome(board) is not None:
            raise ValueError("the game is over: there is nothing to solve")
        scores = {}
        for action in legal:
            after = self.game.apply(board, action)
            outcome = self.game.outcome(after)
            if outcome is None:
                scores[action] = -self.solve(after).score
            else:
                number = (board.mover | board.other).bit_count()
                scores[action] = 0 if outcome == 0 else (self.game.cells.bit_count() + 1 - number) // 2
        return scores

    def _make_search(self) -> Search:
        """Return the recursion, with all that it needs at hand."""
        threats, table, table_size = self._threats, self._table, self._table_size
        safe, columns = _safe_moves_of(self.game, threats), _columns_from_the_centre(self.game)
        size, most = self.game.cells.bit_count(), self._max_nodes

        def search(mover: int, stones: int, alpha: int, beta: int, number: int) -> int:
            """Return a bound of the score of a position whose side to move cannot win at once."""
            self._nodes += 1
            if most is not None and self._nodes > most:
                raise OutOfNodesError(f"the position takes more than {most:,} nodes")
            possible = safe(mover ^ stones, stones)
            if not possible:
                return -((size - number) // 2)
            if number >= size - 2:
                return 0
            key = mover + stones
            low, high = -((size - 2 - number) // 2), (size - 1 - number) // 2
            known = table.get(key)
            if known is not None:
                if known & 1:
                    low = max(low, known >> 1)
                else:
                    high = min(high, known >> 1)
            if low >= beta:
                return low
            if high <= alpha:
                return high
            alpha, beta = max(alpha, low), min(beta, high)
            moves = [(threats(mover | stone, stones).bit_count(), stone) for c in columns if (stone := possible & c)]
            moves.sort(key=_first, reverse=True)
            other = mover ^ stones
            for _, stone in moves:
                score = -search(other, stones | stone, -beta, -alpha, number + 1)
                if score >= beta:
                    table[key] = score << 1 | 1  # at least
                    return score
                alpha = max(alpha, score)
            if len(table) >= table_size:
                table.clear()
            table[key] = alpha << 1  # at most
            return alpha

        return search


def solve(game: ConnectFour, board: Board, *, max_nodes: int | None = None) -> Solution:
    """Return the value of one position; see `Solver`."""
    return Solver(game, max_nodes=max_nodes).solve(board)


def _first(pair: tuple[int, int]) -> int:
    return pair[0]


def _columns_from_the_centre(game: ConnectFour) -> list[int]:
    """Return the cells of each column; central ones, where most lines run, first."""
    centre = (game.columns - 1) / 2
    order = sorted(range(game.columns), key=lambda column: abs(column - centre))
    return [((1 << game.rows) - 1) * game.bottoms[column] for column in order]


def _safe_moves_of(game: ConnectFour, threats: Callable[[int, int], int]) -> Callable[[int, int], int]:
    """Return the function (the other side's stones, all stones) -> cells that can be taken without losing at once."""
    cells, bottom = game.cells, sum(game.bottoms)

    def safe(other: int, stones: int) -> int:
        possible = (stones + bottom) & cells
        danger = threats(other, stones)
        forced = possible & danger
        if forced:
            if forced & (forced - 1):
                return 0  # two threats at once
            possible = forced
        return possible & ~(danger >> 1)  # not below a cell where the other side wins

    return safe
