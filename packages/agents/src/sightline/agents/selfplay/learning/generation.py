"""Games against oneself, all in step: each finished one gives its positions and makes room for a new one.

Letters in shapes: B games in progress, n positions, A actions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.agents.planning import Search, mix_bits
from sightline.agents.selfplay.games.boards import Board, BoardGame, BoardModel, pack, unpack
from sightline.agents.selfplay.learning.replay import Targets


class Generator:
    """Plays games by search with exploration.

    Args:
        game: what is played.
        search: explores; its seed counts.
        games: B.
        opening_plies: a game begins after 0 to so many random moves.
        outcome_share: weight of a game's end in the value to learn; the rest is the root's value. Where a search found
            a position's exact value, that one is learnt.
    """

    def __init__(
        self, game: BoardGame, search: Search, games: int, *, opening_plies: int, outcome_share: float
    ) -> None:
        self._game, self._search = game, search
        self._opening_plies, self._outcome_share = opening_plies, outcome_share
        self.moves, self.started, self.finished = 0, 0, 0
        self._boards: list[Board] = []
        self._histories: list[list[_Position]] = []
        while len(self._boards) < games:
            self._boards.append(self._opening())
            self._histories.append([])

    def advance(self, model: BoardModel) -> tuple[Targets, list[int]]:
        """Make one move in every game: (positions of those finished by it, their lengths).

        Args:
            model: model of the game, with the evaluator to search by.
        """
        seeds = _seeds(self._search.seed, self.moves, len(self._boards))
        result = self._search.run(model, self._boards, seeds=seeds, executor="lockstep")
        done: list[_Position] = []
        lengths: list[int] = []
        for row, board in enumerate(self._boards):
            position = _Position(board, result.policy[row], float(result.value[row]), bool(result.exhausted[row]))
            self._histories[row].append(position)
            board = self._game.apply(board, int(result.action[row]))
            outcome = self._game.outcome(board)
            if outcome is not None:
                done += [
                    position.with_outcome(self._game, outcome, self._outcome_share) for position in self._histories[row]
                ]
                lengths.append(len(self._histories[row]))
                board, self._histories[row] = self._opening(), []
                self.finished += 1
            self._boards[row] = board
        self.moves += 1
        return _targets(done, self._game.max_actions), lengths

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the games in progress, as arrays by name."""
        history = [position for positions in self._histories for position in positions]
        targets = _targets(history, self._game.max_actions)
        mover, other = pack(self._boards)
        return {
            "boards_mover": mover,
            "boards_other": other,
            "lengths": np.array([len(positions) for positions in self._histories]),
            "mover": targets.mover,
            "other": targets.other,
            "policy": np.array([position.policy for position in history]).reshape(-1, self._game.max_actions),
            "value": np.array([position.value for position in history]),
            "exact": np.array([position.exact for position in history], bool),
            "counters": np.array([self.moves, self.started, self.finished]),
        }

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Go on with the games that `state` gave."""
        self._boards = unpack((state["boards_mover"].astype(np.uint64), state["boards_other"].astype(np.uint64)))
        boards = unpack((state["mover"].astype(np.uint64), state["other"].astype(np.uint64)))
        positions = [
            _Position(board, policy, float(value), bool(exact))
            for board, policy, value, exact in zip(
                boards,
                state["policy"].astype(np.float64),
                state["value"].tolist(),
                state["exact"].tolist(),
                strict=True,
            )
        ]
        ends = np.cumsum(state["lengths"].astype(np.int64)).tolist()
        starts = [0, *ends[:-1]]
        self._histories = [positions[start:end] for start, end in zip(starts, ends, strict=True)]
        self.moves, self.started, self.finished = state["counters"].astype(np.int64).tolist()

    def _opening(self) -> Board:
        """Return a position after a few random moves."""
        rng = np.random.default_rng([self._search.seed, 1, self.started])
        self.started += 1
        while True:
            board = self._game.initial()
            for _ in range(int(rng.integers(0, self._opening_plies + 1))):
                if self._game.outcome(board) is None:
                    legal = self._game.legal(board)
                    board = self._game.apply(board, legal[int(rng.integers(len(legal)))])
            if self._game.outcome(board) is None:
                return board


class _Position:
    """A position met in a game, and what the search said of it."""

    __slots__ = ("board", "exact", "policy", "value")

    def __init__(self, board: Board, policy: NDArray[np.float64], value: float, exact: bool) -> None:
        self.board, self.policy, self.value, self.exact = board, policy, value, exact

    def with_outcome(self, game: BoardGame, outcome: float, share: float) -> _Position:
        """Return the same with the value to learn."""
        mine = outcome if game.to_move(self.board) == 0 else -outcome
        value = self.value if self.exact else share * mine + (1 - share) * self.value
        return _Position(self.board, self.policy, value, self.exact)


def _targets(positions: list[_Position], actions: int) -> Targets:
    mover, other = pack([position.board for position in positions])
    policy = np.array([position.policy for position in positions], np.float32).reshape(-1, actions)
    return Targets(mover, other, policy, np.array([position.value for position in positions], np.float32))


def _seeds(seed: int, moves: int, games: int) -> list[int]:
    """Return a seed for every game's search at this move."""
    start = mix_bits(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64)) + np.uint64(moves)
    return mix_bits(mix_bits(start) + np.arange(games, dtype=np.uint64)).tolist()
