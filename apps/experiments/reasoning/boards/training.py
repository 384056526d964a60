"""E5: a network that learns Connect Four from its own games, measured as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from experiments.reasoning.settings import BoardSettings, Stage
from lab.jobs import Job, Workers
from lab.run import RunDirectory
from sightline.agents.selfplay import (
    Arena,
    ConnectFour,
    MatchResult,
    MCTSPlayer,
    NetworkPlayer,
    Player,
    RandomPlayer,
    Ratings,
    SelfPlayTrainer,
    Solver,
    SolverPlayer,
    balanced_openings,
    round_robin,
)
from sightline.retrieval.jsonl import DurableLines, read_jsonl

ROLLOUTS, SOLVER = "rollouts", "solver"


class Snapshot(BaseModel):
    """A network on its way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    number: int
    """Which, from 1."""
    cpu_seconds: float
    """Spent on games and updates until then."""
    games: int
    """Played until then."""
    positions: int
    """Learnt from until then."""
    updates: int
    """Updates made until then."""
    policy_loss: float
    """Policy's loss at its last update, above the least possible one."""
    value_loss: float
    """Value's loss at its last update."""


class MatchRecord(BaseModel):
    """A match of the last network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    against: str
    """Its opponent."""
    result: MatchResult
    """Result of the match, from the network's side."""


def train_stage(settings: BoardSettings, run: RunDirectory, workers: Workers) -> tuple[Path, list[Snapshot]]:
    """Train, and return the folder of the networks and what each took."""

    def jobs(folder: Path) -> Sequence[Job]:
        return [Job(folder / "snapshots.jsonl", settings.snapshots, train, (settings, folder))]

    folder = workers.stage(run, Stage.SELF_PLAY, jobs)
    return folder, read_jsonl(folder / "snapshots.jsonl", Snapshot)


def train(settings: BoardSettings, folder: Path) -> None:
    """Learn for as long as the settings say and keep a network every so often; goes on where it was stopped."""
    game = ConnectFour(columns=settings.columns, rows=settings.rows, threats=settings.threats)
    file = folder / "snapshots.jsonl"
    done = len(read_jsonl(file, Snapshot)) if file.exists() else 0
    config = settings.loop.model_copy(update={"minutes": settings.minutes, "seed": settings.seed})
    trainer = SelfPlayTrainer(game, config, folder / "training")

    last: dict[str, float] = {}

    def look(trainer: SelfPlayTrainer, metrics: dict[str, float]) -> None:
        nonlocal done
        last.update(metrics)
        due = 60 * settings.minutes * (done + 1) / settings.snapshots
        if done < settings.snapshots - 1 and trainer.cpu_seconds >= due:  # the last one is kept at the end
            done += 1
            _keep(trainer, metrics, folder, done)

    trainer.run(on_update=look)
    while done < settings.snapshots:
        done += 1
        _keep(trainer, last or trainer.history[-1], folder, done)


def _keep(trainer: SelfPlayTrainer, metrics: dict[str, float], folder: Path, number: int) -> None:
    trainer.player().save_pretrained(folder / f"network-{number}")
    trainer.network.train()
    snapshot = Snapshot(
        number=number,
        cpu_seconds=trainer.cpu_seconds,
        games=int(metrics["games"]),
        positions=int(metrics["positions"]),
        updates=trainer.updates,
        policy_loss=metrics["policy_loss"],
        value_loss=metrics["value_loss"],
    )
    DurableLines(folder / "snapshots.jsonl").append(snapshot.model_dump_json().encode())


def network_player(settings: BoardSettings, networks: Path, number: int, **search: Any) -> NetworkPlayer:
    """Return the player of one of the networks that `train` kept.

    Args:
        settings: what it was trained with.
        networks: folder of the networks.
        number: which, from 1.
        search: further settings of `NetworkPlayer`.
    """
    game = ConnectFour(columns=settings.columns, rows=settings.rows, threats=settings.threats)
    folder = networks / f"network-{number}"
    return NetworkPlayer.from_pretrained(folder, game, decisive=settings.loop.decisive, **search)


def match_stage(settings: BoardSettings, run: RunDirectory, workers: Workers, networks: Path) -> list[MatchRecord]:
    """Return the last network's matches against rollouts and against perfect play."""

    def jobs(folder: Path) -> Sequence[Job]:
        return [
            Job(file := folder / f"{against}.jsonl", 1, play_match, (settings, against, networks, file))
            for against in (ROLLOUTS, SOLVER)
        ]

    folder = workers.stage(run, Stage.MATCHES, jobs)
    return [read_jsonl(folder / f"{against}.jsonl", MatchRecord)[0] for against in (ROLLOUTS, SOLVER)]


def play_match(settings: BoardSettings, against: str, networks: Path, file: Path) -> None:
    """Play all pairs of one match; finished pairs outlive a stop."""
    game = ConnectFour(columns=settings.columns, rows=settings.rows)
    network = network_player(settings, networks, settings.snapshots, simulations=settings.match_simulations)
    if against == SOLVER:
        solver = Solver(game)
        opponent: Player = SolverPlayer(solver)
        # Drawn positions, so that perfect play by both is a draw; late ones, so that they can be solved in time.
        openings = balanced_openings(
            game,
            settings.solver_pairs,
            plies=settings.solver_plies,
            seed=settings.seed,
            max_imbalance=1.0,
            is_fair=lambda board: solver.solve(board).score == 0,
        )
        arena = Arena(game, openings=openings, seed=settings.seed)
    else:
        opponent = MCTSPlayer(settings.opponent_simulations)
        arena = Arena(game, openings=settings.match_pairs, seed=settings.seed)
    result = arena.compare(network, opponent, sequential=False, journal=file.with_suffix(".games.jsonl"))
    DurableLines(file).append(MatchRecord(against=against, result=result).model_dump_json().encode())


def rating_stage(settings: BoardSettings, run: RunDirectory, workers: Workers, networks: Path) -> Ratings:
    """Return ratings of all networks, of rollouts and of random moves, from all matches among them."""

    def jobs(folder: Path) -> Sequence[Job]:
        file = folder / "ratings.jsonl"
        return [Job(file, 1, rate, (settings, networks, file))]

    folder = workers.stage(run, Stage.RATINGS, jobs)
    return read_jsonl(folder / "ratings.jsonl", Ratings)[0]


def rate(settings: BoardSettings, networks: Path, file: Path) -> None:
    """Play everyone against everyone."""
    game = ConnectFour(columns=settings.columns, rows=settings.rows)
    players: list[Player] = [RandomPlayer(), MCTSPlayer(settings.opponent_simulations, name=ROLLOUTS)]
    players += [
        network_player(settings, networks, number, simulations=settings.match_simulations, name=f"network {number}")
        for number in range(1, settings.snapshots + 1)
    ]
    ratings = round_robin(players, Arena(game, openings=settings.rating_pairs, seed=settings.seed + 1))
    DurableLines(file).append(ratings.model_dump_json().encode())
