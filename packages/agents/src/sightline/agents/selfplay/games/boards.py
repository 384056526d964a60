"""Board games of two players as bitboards: one position at a time (`Game`), or many in arrays for lock-step search.

Letters in shapes: n positions, A actions.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightline.agents.planning import EvaluatorChoice, Expansion, GameModel, Judgement, Serial, mix_bits
from sightline.agents.planning.worlds.model import check_shapes

Bits: TypeAlias = NDArray[np.uint64]
Boards: TypeAlias = tuple[Bits, Bits]
"""n positions: stones of the side to move `[n]` and of the other side `[n]`."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Board(NamedTuple):
    """A position: the stones of the side to move and of the other one, a bit each."""

    mover: int
    other: int


class BoardGame(Protocol):
    """A `Game` of stones that are put and stay, with the same rules over arrays.

    Attributes:
        max_actions: A.
        shape: columns and rows of the board.
    """

    @property
    def max_actions(self) -> int:
        """See the class."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """See the class."""
        ...

    def initial(self) -> Board:
        """Return the empty board."""
        ...

    def legal(self, state: Board) -> Sequence[int]:
        """Return actions with room, ascending."""
        ...

    def apply(self, state: Board, action: int) -> Board:
        """Return the position after a stone, the other side to move."""
        ...

    def outcome(self, state: Board) -> float | None:
        """1 or -1 where the first or the second player has a line, 0 on a full board, else None."""
        ...

    def to_move(self, state: Board) -> int:
        """0 or 1, by the number of stones."""
        ...

    def key(self, state: Board) -> Hashable:
        """Return the position itself."""
        ...

    def legal_mask(self, boards: Boards) -> NDArray[np.bool_]:
        """Bool `[n, A]`: where there is room, whether or not the game is over."""
        ...

    def place(self, boards: Boards, actions: NDArray[np.int64]) -> tuple[Boards, NDArray[np.bool_], NDArray[np.bool_]]:
        """Put a stone: (positions with the other side to move, bool `[n]` won by it, bool `[n]` board full)."""
        ...

    def won(self, stones: Bits) -> NDArray[np.bool_]:
        """Bool `[n]`: whether these stones hold a winning line."""
        ...

    def planes(self, boards: Boards) -> NDArray[np.float32]:
        """Return what a network sees, float32 `[n, P, columns, rows]`.

        The first two planes are the stones of the side to move and of the other one.
        """
        ...

    def mirror_actions(self) -> NDArray[np.int64]:
        """Return what each action becomes where the columns are read from right to left, int64 `[A]`."""
        ...

    def model(self, evaluator: EvaluatorChoice = "uniform", *, decisive: bool = False) -> BoardModel:
        """Return the game as a world to search in; see `BoardModel`."""
        ...


def pack(boards: Sequence[Board]) -> Boards:
    """Return positions as arrays."""
    stones = np.array([tuple(board) for board in boards], dtype=np.uint64).reshape(-1, 2)
    return np.ascontiguousarray(stones[:, 0]), np.ascontiguousarray(stones[:, 1])


def unpack(boards: Boards) -> list[Board]:
    """Return arrays as positions."""
    return [Board(mover, other) for mover, other in zip(boards[0].tolist(), boards[1].tolist(), strict=True)]


class BoardModel:
    """A board game as a `Model`; values and rewards are 1 for a win and -1 for a loss of the side to move.

    Args:
        game: what is played.
        evaluator: judges positions; see `EvaluatorChoice`.
        decisive: offer only the moves that win at once where there are any, else only those to which the other side
            has no winning reply (Teytaud and Teytaud 2010, "On the huge benefit of decisive moves in Monte-Carlo tree
            search algorithms"). All others are no better, so values stay what they are. A position that is won at
            once, or lost whatever the move, has its value from the rules and is not shown to the evaluator.
    """

    players: Literal[1, 2] = 2
    bounds: tuple[float, float] | None = (-1.0, 1.0)
    deterministic = True

    def __init__(self, game: BoardGame, evaluator: EvaluatorChoice, *, decisive: bool = False) -> None:
        self.game, self._decisive = game, decisive
        self.max_actions = game.max_actions
        self._evaluate = RandomGames(game) if evaluator == "rollouts" else evaluator
        if isinstance(self._evaluate, str) and self._evaluate != "uniform":
            raise ValueError(f'evaluator must be "uniform", "rollouts" or a function of boards, not {evaluator!r}')

    def pack(self, roots: Sequence[Board]) -> Boards:
        """Return arrays of these positions."""
        return pack(roots)

    def step(
        self, states: Boards, actions: NDArray[np.int64]
    ) -> tuple[Boards, NDArray[np.float64], NDArray[np.float64]]:
        """Place stones; see `Model.step`."""
        after, won, full = self.game.place(states, actions)
        return after, won.astype(np.float64), (won | full).astype(np.float64) - 1.0

    def expand(self, states: Boards) -> Expansion:
        """Legal actions and the evaluator's judgement; see `Model.expand`."""
        legal = self.game.legal_mask(states) & ~self.game.won(states[1])[:, None]
        if not self._decisive:
            return Expansion(*self._judge(states, len(legal)), legal)
        legal, known = self._narrow(states, legal)
        logits, values = np.zeros(legal.shape), known.copy()
        asked = np.flatnonzero(np.isnan(known))
        if asked.size:
            logits[asked], values[asked] = self._judge((states[0][asked], states[1][asked]), asked.size)
        return Expansion(logits, values, legal)

    def _judge(self, states: Boards, number: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """(logits `[n, A]`, value `[n]`) of so many states."""
        if isinstance(self._evaluate, str):
            return np.zeros((number, self.max_actions)), np.zeros(number)
        logits, values = (np.asarray(part) for part in self._evaluate(states))
        check_shapes(logits, values, (number, self.max_actions))
        return logits, values

    def _narrow(self, states: Boards, legal: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Return the legal actions worth a look, bool `[n, A]`, and the values that the rules alone tell, else NaN."""
        after, wins = self._place_all(states)
        wins &= legal
        replies = self._place_all(after)[1] & self.game.legal_mask(after)
        safe = legal & ~replies.any(axis=1).reshape(legal.shape)
        won, lost = wins.any(axis=1, keepdims=True), ~safe.any(axis=1, keepdims=True)
        known = np.where(won, 1.0, np.where(lost, -1.0, np.nan))
        return np.where(won, wins, np.where(lost, legal, safe)), known[:, 0]

    def _place_all(self, states: Boards) -> tuple[Boards, NDArray[np.bool_]]:
        """Every action in every state, legal or not: (positions `[n A]`, bool `[n, A]` whether it completes a line)."""
        each = (states[0].repeat(self.max_actions), states[1].repeat(self.max_actions))
        actions = np.tile(np.arange(self.max_actions, dtype=np.int64), len(states[0]))
        after, won, _ = self.game.place(each, actions)
        return after, won.reshape(-1, self.max_actions)

    def key(self, state: Any) -> Hashable:
        """Return the position itself."""
        return self.game.key(Board(int(state[0]), int(state[1])))

    def serial(self) -> Serial:
        """Return the game itself where nothing needs arrays, else this model in batches."""
        if isinstance(self._evaluate, str) and not self._decisive:
            return GameModel(self.game, "uniform", 2).serial()
        return _SerialBoards(self)


class _SerialBoards:
    """A board game whose rules run on ints and whose evaluator on arrays."""

    def __init__(self, model: BoardModel) -> None:
        self._model, self._rules = model, GameModel(model.game, "uniform", 2)

    def begin(self, root: Board) -> tuple[Board, Judgement]:
        """Return the root, with no legal action where the game is over."""
        if self._model.game.outcome(root) is not None:
            return root, Judgement((), (), 0.0)
        return root, self.expand([root])[0]

    def step(self, states: Sequence[Board], actions: Sequence[int]) -> list[tuple[Board, float, float]]:
        """Place stones; see `Model.step`."""
        return self._rules.serial().step(states, actions)

    def expand(self, states: Sequence[Board]) -> list[Judgement]:
        """See `Serial.expand`."""
        expansion = self._model.expand(pack(states))
        judgements = []
        for legal, logits, value in zip(expansion.legal, expansion.logits, expansion.value.tolist(), strict=True):
            actions = np.flatnonzero(legal)
            judgements.append(Judgement(actions.tolist(), logits[actions].tolist(), value))
        return judgements


class RandomGames:
    """Evaluator: all actions alike; the value is the mean end of games of random moves.

    The moves are drawn by a hash of the position, so that one position has one value, whatever else is in the batch.

    Args:
        game: its rules.
        games: played from every position.
        seed: seed of the moves.
    """

    def __init__(self, game: BoardGame, games: int = 1, seed: int = 0) -> None:
        if games < 1:
            raise ValueError(f"games must be at least 1, not {games!r}")
        self._game, self._games, self._seed = game, games, np.uint64(seed & 0xFFFFFFFFFFFFFFFF)

    def __call__(self, states: Boards) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(zeros `[n, A]`, values `[n]` for the side to move)."""
        number = len(states[0])
        boards = (np.repeat(states[0], self._games), np.repeat(states[1], self._games))
        salt = np.tile(np.arange(self._games, dtype=np.uint64), number)
        stream = mix_bits(boards[0] ^ mix_bits(boards[1] + mix_bits(salt + self._seed * _GOLDEN + _GOLDEN)))
        values = self._play(boards, stream).reshape(number, self._games).mean(axis=1)
        return np.zeros((number, self._game.max_actions)), values

    def _play(self, boards: Boards, stream: Bits) -> NDArray[np.float64]:
        """End of one game each, from the side of who is to move at its beginning."""
        values = np.zeros(len(stream))
        going, sign = np.arange(len(stream)), 1.0
        while going.size:
            stream = stream + _GOLDEN
            actions = _draw(self._game.legal_mask(boards), mix_bits(stream))
            boards, won, full = self._game.place(boards, actions)
            values[going[won]] = sign
            on = np.flatnonzero(~(won | full))
            if on.size < going.size:
                going, stream, boards = going[on], stream[on], (boards[0][on], boards[1][on])
            sign = -sign
        return values


def _draw(legal: NDArray[np.bool_], bits: Bits) -> NDArray[np.int64]:
    """One of each row's legal actions, by its random bits."""
    up_to = legal.cumsum(axis=1, dtype=np.uint8)
    chosen = ((bits >> np.uint64(32)) * up_to[:, -1].astype(np.uint64)) >> np.uint64(32)
    return (up_to > chosen.astype(np.uint8)[:, None]).argmax(axis=1)
