"""Games in lock step: every player is asked once a move for all games in which it is to move."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from sightline.agents.planning import Game, mix_bits


@dataclass(frozen=True, slots=True)
class Choices:
    """What a player does in n positions."""

    actions: NDArray[np.int64]
    """int64 `[n]`."""
    values: NDArray[np.float64]
    """`[n]` what it expects for the side to move, for example the root value of its search; NaN where it does not
    say."""


class Player(Protocol):
    """Chooses actions; a function of position and seed."""

    @property
    def name(self) -> str:
        """Short name for tables."""
        ...

    def choose(self, game: Game[Any], states: Sequence[Any], seeds: Sequence[int]) -> Choices:
        """One action for each position, in none of which the game is over."""
        ...


class GameRecord(BaseModel):
    """A finished game."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    opening: int
    """Number of the opening."""
    first_to_move: bool
    """Whether the match's first player is to move in the opening."""
    moves: tuple[int, ...]
    """Actions from the opening on."""
    result: Literal[-1, 0, 1]
    """1 where the match's first player won, -1 where the second did, 0 for a draw."""
    plies: int
    """Moves played."""
    error: str | None = None
    """What went wrong, after which the game counts as lost by who did it; or None."""
    error_by: Literal[0, 1] | None = None
    """0 for the match's first player, 1 for the second; None without an error."""
    values: tuple[float | None, float | None]
    """The mean of what each player expected for itself over its moves; None where it did not say."""
    seconds: tuple[float, float]
    """That each player took to choose, its share of each batch."""


@dataclass(slots=True)
class _Table:
    """A game being played."""

    opening: int
    state: Any
    colour: int  # of the match's first player: 0 where it is the game's first
    seed: int
    moves: list[int] = field(default_factory=list)
    values: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    seconds: list[float] = field(default_factory=lambda: [0.0, 0.0])
    error: tuple[str, int] | None = None
    outcome: float | None = None

    @property
    def is_over(self) -> bool:
        return self.outcome is not None or self.error is not None


def play_pairs(
    first: Player, second: Player, game: Game[Any], openings: Sequence[tuple[int, Any]], *, seed: int
) -> list[tuple[GameRecord, GameRecord]]:
    """Play each opening twice with colours swapped, all games in lock step.

    Args:
        first: the match's first player.
        second: the other one.
        game: what they play.
        openings: number and position of each.
        seed: seed of what is random in the players; each opening's games have seeds of their own, whatever is played.
    """
    tables = [
        _Table(number, state, game.to_move(state) if moves_first else 1 - game.to_move(state), _seed(seed, number, 0))
        for number, state in openings
        for moves_first in (True, False)
    ]
    starts = [game.to_move(table.state) == table.colour for table in tables]
    while waiting := [table for table in tables if not table.is_over]:
        # All games of a pass are looked at before a move is made, so that no player moves twice in it.
        sides = [int(game.to_move(table.state) != table.colour) for table in waiting]
        for side, player in enumerate((first, second)):
            mine = [table for table, mover in zip(waiting, sides, strict=True) if mover == side]
            if mine:
                _move(player, side, game, mine)
    records = [_record(table, begins) for table, begins in zip(tables, starts, strict=True)]
    return list(zip(records[::2], records[1::2], strict=True))


def _move(player: Player, side: int, game: Game[Any], tables: list[_Table]) -> None:
    """Let a player move at these tables; alone at each of them where it raises at all together."""
    started = time.perf_counter()
    try:
        choices = player.choose(
            game, [table.state for table in tables], [_seed(table.seed, len(table.moves), 1) for table in tables]
        )
        chosen = list(zip(tables, choices.actions.tolist(), choices.values.tolist(), strict=True))
    except Exception as error:  # a game that raises must count, and must not end the others
        if len(tables) > 1:
            for table in tables:
                _move(player, side, game, [table])
        else:
            tables[0].error = (f"{player.name} raised {error!r}", side)
        return
    share = (time.perf_counter() - started) / len(tables)
    for table, action, value in chosen:
        table.seconds[side] += share
        table.moves.append(action)
        if np.isfinite(value):
            table.values[side].append(value)
        if action not in game.legal(table.state):
            table.error = (f"{player.name} played {action}, which is not legal", side)
            continue
        table.state = game.apply(table.state, action)
        table.outcome = game.outcome(table.state)


def _record(table: _Table, begins: bool) -> GameRecord:
    if table.error is not None:
        result = -1 if table.error[1] == 0 else 1
    else:
        outcome = table.outcome or 0.0
        result = int(np.sign(outcome if table.colour == 0 else -outcome))
    first, second = (float(np.mean(values)) if values else None for values in table.values)
    return GameRecord(
        opening=table.opening,
        first_to_move=begins,
        moves=tuple(table.moves),
        result=result,  # ty: ignore[invalid-argument-type]
        plies=len(table.moves),
        error=table.error[0] if table.error else None,
        error_by=table.error[1] if table.error else None,  # ty: ignore[invalid-argument-type]
        values=(first, second),
        seconds=(table.seconds[0], table.seconds[1]),
    )


def _seed(seed: int, number: int, stream: int) -> int:
    """Return a seed for one game or move."""
    mixed = mix_bits(np.array([(seed & 0xFFFFFFFFFFFFFFFF) ^ stream << 63], np.uint64)) + np.uint64(number)
    return int(mix_bits(mixed)[0])
