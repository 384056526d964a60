"""TRM and HRM as players of Connect Four: learnt by self-play like the convolutional network, and matched against it.

The games, the replay buffer and the arena are those of `sightline.agents.selfplay`; the trainer is the one that learns
puzzles. Only the batches are handed from one to the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from experiments.reasoning.settings import PlayerSettings, Stage
from lab.jobs import Job, Workers
from lab.run import RunDirectory
from sightline.agents.planning import Search
from sightline.agents.reasoning import (
    BoardReasoner,
    Examples,
    HRMConfig,
    PolicyValueObjective,
    Trainer,
    TRMConfig,
    board_tokens,
    make_reasoner,
)
from sightline.agents.selfplay import (
    Arena,
    ConnectFour,
    Generator,
    MatchResult,
    NetworkConfig,
    NetworkEvaluator,
    NetworkPlayer,
    ReplayBuffer,
    SelfPlayConfig,
    SelfPlayTrainer,
    build_network,
)
from sightline.retrieval.jsonl import DurableLines, read_jsonl

TRM_PLAYER, HRM_PLAYER = "TRM", "HRM"
_SIZES = range(4, 129)


class PlayerResult(BaseModel):
    """What a reasoner came to as a player, from its side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    player: str
    """Its name."""
    seed: int
    """Of both trainings."""
    parameters: tuple[int, int]
    """Trainable numbers of the reasoner and of the convolutional network."""
    games: tuple[int, int]
    """Games of self-play that each learnt from."""
    updates: tuple[int, int]
    """Optimiser steps of each."""
    seconds: tuple[float, float]
    """CPU seconds of each."""
    match: MatchResult
    """The two against each other."""


def player_stage(
    settings: PlayerSettings, names: Sequence[str], run: RunDirectory, workers: Workers
) -> list[PlayerResult]:
    """Let reasoners learn and play, each against a convolutional network of its own number of parameters."""
    tasks = [(player, seed) for seed in settings.seeds for player in names]

    def jobs(folder: Path) -> Sequence[Job]:
        return [
            Job(folder / f"{player}-{seed}.jsonl", 1, learn_and_play, (settings, player, seed, folder))
            for player, seed in tasks
        ]

    folder = workers.stage(run, Stage.PLAYERS, jobs, variant=" ".join(names))
    return [read_jsonl(folder / f"{player}-{seed}.jsonl", PlayerResult)[0] for player, seed in tasks]


def learn_and_play(settings: PlayerSettings, player: str, seed: int, folder: Path) -> None:
    """Train a reasoner and its opponent for as many CPU seconds, and play the match; a stopped match goes on."""
    game = ConnectFour(columns=settings.columns, rows=settings.rows)
    reasoner = train_reasoner(game, settings, player, seed)
    opponent = train_opponent(game, settings, reasoner.parameters, seed)
    players = [
        NetworkPlayer(
            learnt.module,
            NetworkConfig.for_game(game),
            game,
            simulations=settings.match_simulations,
            name=name,
        )
        for learnt, name in ((reasoner, player), (opponent, "convolutional"))
    ]
    match = Arena(game, openings=settings.pairs, seed=seed).compare(*players, sequential=False)
    result = PlayerResult(
        player=player,
        seed=seed,
        parameters=(reasoner.parameters, opponent.parameters),
        games=(reasoner.games, opponent.games),
        updates=(reasoner.updates, opponent.updates),
        seconds=(reasoner.seconds, opponent.seconds),
        match=match,
    )
    DurableLines(folder / f"{player}-{seed}.jsonl").append(result.model_dump_json().encode())


@dataclass(frozen=True)
class Learnt:
    """A network that has learnt from self-play, and what it took."""

    module: nn.Module
    parameters: int
    games: int
    updates: int
    seconds: float


def train_reasoner(game: ConnectFour, settings: PlayerSettings, player: str, seed: int) -> Learnt:
    """Play games and learn from them in turns, as `SelfPlayTrainer` does, with the reasoners' trainer."""
    begun = time.process_time()
    loop = settings.loop.model_copy(update={"seed": seed})
    columns, rows = game.shape
    shape = {"task": "connect-four", "length": columns * rows, "vocabulary": 3, "actions": game.max_actions}
    sizes = settings.reasoner.model_dump() | shape | {"seed": seed}
    reasoner = make_reasoner((TRMConfig if player == TRM_PLAYER else HRMConfig).model_validate(sizes))
    board = BoardReasoner(reasoner, settings.segments)
    search = Search(simulations=loop.simulations, method=loop.method, explore=True, ties="random", seed=seed)
    generator = Generator(game, search, loop.games, opening_plies=loop.opening_plies, outcome_share=loop.outcome_share)
    buffer = ReplayBuffer(loop.buffer_size, game.max_actions)
    config = settings.trainer.model_copy(update={"seed": seed})
    trainer = Trainer(
        reasoner, _batches(buffer, loop, game), config, objective=PolicyValueObjective(value_weight=loop.value_weight)
    )
    model = game.model(NetworkEvaluator(board, game))
    credit = 0.0
    while time.process_time() - begun < 60 * settings.minutes:
        if credit < 1:
            targets, _ = generator.advance(model)
            buffer.add(targets)
            credit += len(targets) * loop.reuse / config.batch_size
            continue
        credit -= 1
        trainer.train_step()
    seconds = time.process_time() - begun
    if trainer.averaged is not None:
        trainer.averaged.copy_to(reasoner)
    return Learnt(board, _parameters(reasoner), generator.finished, trainer.step, seconds)


def train_opponent(game: ConnectFour, settings: PlayerSettings, parameters: int, seed: int) -> Learnt:
    """Train the convolutional network whose number of parameters is nearest."""
    sizes = {
        channels: _parameters(build_network(NetworkConfig.for_game(game, channels=channels), 0)) for channels in _SIZES
    }
    channels = min(sizes, key=lambda size: abs(sizes[size] - parameters))
    config = settings.loop.model_copy(update={"seed": seed, "channels": channels, "minutes": settings.minutes})
    trainer = SelfPlayTrainer(game, config)
    games = 0

    def count(_: SelfPlayTrainer, metrics: dict[str, float]) -> None:
        nonlocal games
        games = int(metrics["games"])

    trainer.run(on_update=count)
    return Learnt(trainer.network, sizes[channels], games, trainer.updates, trainer.cpu_seconds)


def _batches(buffer: ReplayBuffer, loop: SelfPlayConfig, game: ConnectFour) -> Iterator[Examples]:
    """Yield positions from the replay buffer, half of them mirrored, without end."""
    rng = np.random.default_rng([loop.seed, 2])
    while True:
        planes, targets = buffer.sample(loop.batch_size, rng, game)
        yield Examples(
            board_tokens(torch.from_numpy(planes)),
            {"policy": torch.from_numpy(targets.policy), "value": torch.from_numpy(targets.value)},
        )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
