"""E4: how often a search plays a move that keeps the position's value, by method, judge and simulations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from experiments.reasoning.boards.positions import SolvedPosition, tic_tac_toe_positions
from experiments.reasoning.boards.training import network_player
from experiments.reasoning.settings import BoardSettings, Stage
from lab.jobs import Job, Workers
from lab.run import RunDirectory, slug
from sightline.agents.selfplay import ConnectFour, MCTSPlayer, Player, RandomPlayer, TicTacToe
from sightline.retrieval.jsonl import DurableLines, read_jsonl

Judge = Literal["uniform", "rollouts", "network", "nothing"]
TIC_TAC_TOE, CONNECT_FOUR = "tic-tac-toe", "Connect Four"
_BLOCK = 450  # positions searched at a time


class Rate(BaseModel):
    """How one player did on solved positions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    game: str
    """Which."""
    method: str
    """"puct", "gumbel", or "none" for a player that does not search."""
    judge: Judge
    """What judges leaves."""
    simulations: int
    """Number of simulations of each search; 1 for the judge's first thought."""
    number: int = 0
    """Which network, from 1; 0 where none is asked."""
    optimal: tuple[bool, ...]
    """Whether the move, for each position, keeps its value."""
    value_error: float | None
    """Mean distance of the player's values from the truth; None where it has none."""


@dataclass(frozen=True)
class Asked:
    """A player to measure."""

    game: str
    """Which."""
    method: str
    """Method of its searches, or "none"."""
    judge: Judge
    """Judge of its leaves."""
    budgets: tuple[int, ...]
    """Simulations of its searches."""
    number: int = 0
    """Which network."""

    @property
    def file(self) -> str:
        """Name of the file of its rates."""
        return f"{slug(self.game)}-{self.method}-{self.judge}-{self.number}.jsonl"


def search_rates(
    settings: BoardSettings, run: RunDirectory, workers: Workers, positions: Sequence[SolvedPosition]
) -> list[Rate]:
    """Return the rates of searches without a network, E4."""
    judges: tuple[Judge, ...] = ("uniform", "rollouts")
    budgets = {TIC_TAC_TOE: settings.tic_tac_toe_simulations, CONNECT_FOUR: settings.simulations}
    asked = [
        Asked(game, method, judge, budgets[game])
        for game in (CONNECT_FOUR, TIC_TAC_TOE)
        for method in ("puct", "gumbel")
        for judge in judges
    ]
    return _stage(settings, run, workers, positions, None, asked, "search")


def network_rates(
    settings: BoardSettings, run: RunDirectory, workers: Workers, positions: Sequence[SolvedPosition], networks: Path
) -> list[Rate]:
    """Return the rates of all networks of E5 by their first thought and by search, and of what they compare with."""
    last = settings.snapshots
    asked = [
        Asked(CONNECT_FOUR, method, "network", settings.network_simulations, last) for method in ("puct", "gumbel")
    ]
    asked += [
        Asked(CONNECT_FOUR, "none", "network", (1, settings.match_simulations), number) for number in range(1, last + 1)
    ]
    asked.append(Asked(CONNECT_FOUR, "puct", "rollouts", (settings.opponent_simulations,)))
    asked.append(Asked(CONNECT_FOUR, "none", "nothing", (1,)))
    return _stage(settings, run, workers, positions, networks, asked, "networks")


def _stage(
    settings: BoardSettings,
    run: RunDirectory,
    workers: Workers,
    positions: Sequence[SolvedPosition],
    networks: Path | None,
    asked: Sequence[Asked],
    variant: str,
) -> list[Rate]:
    def jobs(folder: Path) -> Sequence[Job]:
        return [
            Job(
                folder / each.file,
                len(each.budgets),
                measure,
                (settings, each, positions, networks, folder / each.file),
            )
            for each in asked
        ]

    folder = workers.stage(run, Stage.RATES, jobs, variant=variant)
    return [rate for each in asked for rate in read_jsonl(folder / each.file, Rate)]


def measure(
    settings: BoardSettings, asked: Asked, positions: Sequence[SolvedPosition], networks: Path | None, file: Path
) -> None:
    """Measure one player at all its budgets; goes on where it was stopped."""
    game: Any = TicTacToe() if asked.game == TIC_TAC_TOE else ConnectFour(settings.columns, settings.rows)
    if asked.game == TIC_TAC_TOE:
        positions = tic_tac_toe_positions(settings.tic_tac_toe_every)
    done = len(read_jsonl(file, Rate)) if file.exists() else 0
    for simulations in asked.budgets[done:]:
        player = _player(settings, game, asked, simulations, networks)
        optimal: list[bool] = []
        errors: list[float] = []
        for start in range(0, len(positions), _BLOCK):
            block = positions[start : start + _BLOCK]
            seeds = [settings.seed + at for at in range(start, start + len(block))]
            choices = player.choose(game, [position.board for position in block], seeds)
            chosen = zip(choices.actions.tolist(), block, strict=True)
            optimal += [action in position.best for action, position in chosen]
            errors += np.abs(choices.values - [position.value for position in block]).tolist()
        rate = Rate(
            game=asked.game,
            method=asked.method,
            judge=asked.judge,
            simulations=simulations,
            number=asked.number,
            optimal=tuple(optimal),
            value_error=float(np.mean(errors)) if np.isfinite(errors).all() else None,
        )
        DurableLines(file).append(rate.model_dump_json().encode())


def _player(settings: BoardSettings, game: Any, asked: Asked, simulations: int, networks: Path | None) -> Player:
    method: Literal["puct", "gumbel"] = "gumbel" if asked.method == "gumbel" else "puct"
    if asked.judge == "network" and networks is not None:
        return network_player(settings, networks, asked.number, simulations=simulations, method=method)
    if asked.judge == "uniform" or asked.judge == "rollouts":
        return MCTSPlayer(simulations, method=method, evaluator=asked.judge)
    return RandomPlayer()
