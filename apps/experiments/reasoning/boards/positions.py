"""Positions whose best moves are known: tic-tac-toe by recursion, Connect Four by the solver."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from experiments.reasoning.settings import BoardSettings, Stage
from lab.jobs import Job, Workers
from lab.run import RunDirectory
from sightline.agents.selfplay import Board, ConnectFour, Solver, TicTacToe
from sightline.retrieval.jsonl import DurableLines, read_jsonl


class SolvedPosition(BaseModel):
    """A position in which some moves keep its value and others do not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    mover: int
    """Stones of the side to move."""
    other: int
    """Stones of the other side."""
    plies: int
    """Moves from the empty board."""
    value: int
    """1, 0 or -1 for the side to move under perfect play."""
    best: tuple[int, ...]
    """Moves that keep the value."""
    legal: int
    """Number of legal moves."""

    @property
    def board(self) -> Board:
        """The position."""
        return Board(self.mover, self.other)


def solve_stage(settings: BoardSettings, run: RunDirectory, workers: Workers) -> list[SolvedPosition]:
    """Return solved positions of Connect Four that have a losing choice, as many of each number of plies."""

    def jobs(folder: Path) -> Sequence[Job]:
        return [
            Job(file := folder / f"{plies}.jsonl", settings.positions, solve_positions, (settings, plies, file))
            for plies in sorted(settings.plies)
        ]

    folder = workers.stage(run, Stage.SOLVE_POSITIONS, jobs)
    return [position for plies in settings.plies for position in read_jsonl(folder / f"{plies}.jsonl", SolvedPosition)]


def solve_positions(settings: BoardSettings, plies: int, file: Path) -> None:
    """Solve random positions until there are enough with a losing choice; goes on where it was stopped."""
    game = ConnectFour(columns=settings.columns, rows=settings.rows)
    lines = DurableLines(file)
    known = read_jsonl(file, SolvedPosition) if file.exists() else []
    seen = {position.board for position in known}
    found, solver = len(known), Solver(game)
    rng = np.random.default_rng([settings.seed, plies])
    while found < settings.positions:
        board = _random_position(game, plies, rng)
        if board is None or board in seen:
            continue
        seen.add(board)
        position = _solved(game, solver, board, plies)
        if position is not None:
            lines.append(position.model_dump_json().encode())
            found += 1


def tic_tac_toe_positions(every: int) -> list[SolvedPosition]:
    """Return every so many of the positions of tic-tac-toe in which the game goes on, in the order of their stones."""
    game = TicTacToe()

    @cache
    def value(board: Board) -> float:
        outcome = game.outcome(board)
        if outcome is not None:
            return outcome if game.to_move(board) == 0 else -outcome
        return max(-value(game.apply(board, move)) for move in game.legal(board))

    seen, waiting = {game.initial()}, [game.initial()]
    while waiting:
        board = waiting.pop()
        after = {game.apply(board, move) for move in game.legal(board)} - seen
        new = [position for position in after if game.outcome(position) is None]
        seen.update(new)
        waiting += new
    positions = []
    for board in sorted(seen)[::every]:
        worth = {move: -value(game.apply(board, move)) for move in game.legal(board)}
        best = tuple(move for move, own in worth.items() if own == value(board))
        plies = (board.mover | board.other).bit_count()
        positions.append(
            SolvedPosition(
                mover=board.mover, other=board.other, plies=plies, value=int(value(board)), best=best, legal=len(worth)
            )
        )
    return positions


def _random_position(game: ConnectFour, plies: int, rng: np.random.Generator) -> Board | None:
    """Return a position after random moves, or None where the game ended before."""
    board = game.initial()
    for _ in range(plies):
        if game.outcome(board) is not None:
            return None
        board = game.apply(board, int(rng.choice(game.legal(board))))
    return board if game.outcome(board) is None else None


def _solved(game: ConnectFour, solver: Solver, board: Board, plies: int) -> SolvedPosition | None:
    """Return the position with its best moves, or None where all moves are worth the same."""
    worth = {move: int(np.sign(score)) for move, score in solver.action_scores(board).items()}
    value = max(worth.values())
    if min(worth.values()) == value:
        return None
    best = tuple(move for move, own in worth.items() if own == value)
    return SolvedPosition(
        mover=board.mover, other=board.other, plies=plies, value=value, best=best, legal=len(game.legal(board))
    )
