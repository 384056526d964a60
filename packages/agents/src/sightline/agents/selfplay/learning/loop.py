"""Learning a board game from nothing but its rules (Silver et al. 2018; targets as in Danihelka et al. 2022).

Games against oneself and updates of the network take turns, so that every position is learnt from about as often as
asked for. All of it is a function of configuration and seed; killed at any moment, it goes on from its last checkpoint
and ends with the same weights, bit for bit, at an equal number of threads.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sightline.agents.planning import Search
from sightline.agents.selfplay.games.boards import BoardGame
from sightline.agents.selfplay.learning.checkpoint import read_checkpoint, write_checkpoint
from sightline.agents.selfplay.learning.generation import Generator
from sightline.agents.selfplay.learning.network import (
    NetworkConfig,
    NetworkEvaluator,
    NetworkPlayer,
    Precision,
    build_network,
    faster_precision,
    load_weights,
    save_network,
)
from sightline.agents.selfplay.learning.replay import ReplayBuffer
from sightline.agents.selfplay.matches.arena import Arena
from sightline.retrieval.files import atomic_file

logger = logging.getLogger(__name__)

_CHECKPOINT, _METRICS = "checkpoint.safetensors", "metrics.jsonl"
_MOST_BAD_UPDATES = 3


class SelfPlayDivergedError(RuntimeError):
    """Three updates in a row had a loss that is not finite; the last checkpoint stays."""


class SelfPlayConfig(BaseModel):
    """How to learn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    """Version of these settings in a file; there is one."""
    updates: int = Field(default=2_000, ge=1)
    """Updates of the network, 256 positions each by default."""
    minutes: float | None = Field(default=None, gt=0)
    """Stop after so many CPU minutes, counted on after a resume; only `updates` makes a run repeatable."""
    games: int = Field(default=64, ge=1)
    """Games in progress at a time."""
    simulations: int = Field(default=32, ge=2)
    """Number of simulations of the search for each move."""
    method: Literal["gumbel", "puct"] = "gumbel"
    """Method of that search."""
    decisive: bool = False
    """See wins at once, and the other side's, by the rules, in games to learn from and in play; see `BoardModel`."""
    opening_plies: int = Field(default=4, ge=0)
    """Games begin after 0 to so many random moves. A network judges well what it has met: the more of them, the more
    positions it meets that good play would never lead to."""
    outcome_share: float = Field(default=0.5, ge=0, le=1)
    """Weight of a game's end in the value to learn; the rest is the search's value."""
    channels: int = Field(default=32, ge=1)
    """Channels of the network."""
    blocks: int = Field(default=2, ge=0)
    """Blocks of the network."""
    buffer_size: int = Field(default=60_000, ge=1)
    """Latest positions learnt from."""
    batch_size: int = Field(default=256, ge=1)
    """Positions of an update."""
    reuse: float = Field(default=8.0, gt=0)
    """How often a position is learnt from, about."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Learning rate of AdamW, after a warm-up of 100 updates."""
    final_rate: float = Field(default=0.1, ge=0, le=1)
    """Share of the learning rate that is left at the end, by a cosine over the updates (or minutes)."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay of AdamW."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    value_weight: float = Field(default=1.0, ge=0)
    """Weight of the value's squared error beside the policy's cross-entropy."""
    precision: Literal["auto"] | Precision = "auto"
    """Arithmetic of the network; "auto" times both, and a resumed run keeps its choice."""
    gate: Literal["off", "sequential"] = "off"
    """"off": games are played by the latest network; "sequential": by the best so far, which a candidate replaces after
    winning a sequential test."""
    gate_every: int = Field(default=500, ge=1)
    """Updates between candidates."""
    gate_openings: int = Field(default=200, ge=2)
    """Most openings of such a test."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Updates between checkpoints."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything."""


class SelfPlayTrainer:
    """Learns; see `train_self_play`.

    Args:
        game: what is learnt.
        config: how.
        out: folder of checkpoint and metrics, from which a killed run goes on; None keeps nothing.

    Raises:
        ValueError: the folder holds a run of another configuration or game.
    """

    def __init__(self, game: BoardGame, config: SelfPlayConfig, out: Path | None = None) -> None:
        import torch

        self.game, self.config, self._out = game, config, out
        self.network_config = NetworkConfig.for_game(game, channels=config.channels, blocks=config.blocks)
        self.network = build_network(self.network_config, config.seed)
        self._best = build_network(self.network_config, config.seed) if config.gate == "sequential" else None
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        search = Search(
            simulations=config.simulations, method=config.method, explore=True, ties="random", seed=config.seed
        )
        self._generator = Generator(
            game, search, config.games, opening_plies=config.opening_plies, outcome_share=config.outcome_share
        )
        self._precision: Precision = (
            faster_precision(self.network, game, config.games) if config.precision == "auto" else config.precision
        )
        self.buffer = ReplayBuffer(config.buffer_size, game.max_actions)
        self.history: list[dict[str, float]] = []
        self.updates, self.skipped, self.accepted = 0, 0, 0
        self._credit, self._cpu_seconds, self._bad = 0.0, 0.0, 0
        self._started = time.process_time()
        if out is not None and (out / _CHECKPOINT).exists():
            self._load(out / _CHECKPOINT)

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of this process spent in training, those before a resume included."""
        return self._cpu_seconds + time.process_time() - self._started

    @property
    def is_done(self) -> bool:
        """Whether the updates are made, or the minutes are over."""
        minutes = self.config.minutes
        return self.updates >= self.config.updates or (minutes is not None and self.cpu_seconds >= 60 * minutes)

    def run(self, on_update: Callable[[SelfPlayTrainer, dict[str, float]], None] | None = None) -> None:
        """Play and learn until it is done.

        Args:
            on_update: called after every update with its metrics.

        Raises:
            SelfPlayDivergedError: three losses in a row are not finite.
        """
        model = self.game.model(self._evaluator(self._best or self.network), decisive=self.config.decisive)
        while not self.is_done:
            if self._credit < 1:
                targets, _ = self._generator.advance(model)
                self.buffer.add(targets)
                self._credit += len(targets) * self.config.reuse / self.config.batch_size
                continue
            self._credit -= 1
            metrics = self._update()
            self.updates += 1
            if on_update is not None:
                on_update(self, metrics)
            if self._best is not None and self.updates % self.config.gate_every == 0:
                self._try_candidate()
            if self.updates % self.config.checkpoint_every == 0:
                self.history.append(metrics)
                if self._out is not None:
                    self.save()
        if self._out is not None:
            self.save()

    def player(self, *, simulations: int = 50, method: Literal["puct", "gumbel"] = "puct") -> NetworkPlayer:
        """Return a player with the network as it is now: the best one where there is a gate."""
        return NetworkPlayer(
            self._best or self.network,
            self.network_config,
            self.game,
            simulations=simulations,
            method=method,
            decisive=self.config.decisive,
        )

    def save(self) -> None:
        """Write the checkpoint.

        Raises:
            ValueError: there is no folder.
        """
        if self._out is None:
            raise ValueError("this training has no folder: give one to keep checkpoints")
        modules = {"network": self.network} | ({"best": self._best} if self._best is not None else {})
        scalars = {
            "config": self.config.model_dump(mode="json"),
            "game": repr(self.game),
            "updates": self.updates,
            "skipped": self.skipped,
            "accepted": self.accepted,
            "credit": self._credit,
            "bad": self._bad,
            "cpu_seconds": self.cpu_seconds,
            "history": self.history,
            "precision": self._precision,
        }
        arrays = {"buffer": self.buffer.state(), "games": self._generator.state()}
        write_checkpoint(self._out / _CHECKPOINT, modules, self._optimiser, arrays, scalars)
        with atomic_file(self._out / _METRICS) as file:
            file.writelines(json.dumps(row).encode() + b"\n" for row in self.history)

    def _load(self, path: Path) -> None:
        weights, arrays, scalars = read_checkpoint(path, self._optimiser)
        there = (scalars["game"], self._repeatable(SelfPlayConfig.model_validate(scalars["config"])))
        here = (repr(self.game), self._repeatable(self.config))
        if there != here:
            names = [name for name in here[1] if here[1][name] != there[1].get(name)]
            raise ValueError(
                f"{path} is of another run ({', '.join(names) or f'of {there[0]}'} differ); give another folder, "
                "or delete this one to begin anew"
            )
        load_weights(self.network, weights["network"], where=str(path))
        if self._best is not None:
            load_weights(self._best, weights["best"], where=str(path))
        self.buffer.load_state(arrays["buffer"])
        self._generator.load_state(arrays["games"])
        self.updates, self.skipped, self.accepted = (scalars[name] for name in ("updates", "skipped", "accepted"))
        self._credit, self._bad, self._cpu_seconds = scalars["credit"], scalars["bad"], scalars["cpu_seconds"]
        self.history, self._precision = scalars["history"], scalars["precision"]

    @staticmethod
    def _repeatable(config: SelfPlayConfig) -> dict[str, Any]:
        """Return what a checkpoint must share with the run that goes on from it: all but how long to go on."""
        return config.model_dump(exclude={"minutes", "checkpoint_every"})

    def _evaluator(self, module: Any) -> NetworkEvaluator:
        return NetworkEvaluator(module, self.game, precision=self._precision)

    def _update(self) -> dict[str, float]:
        """One step of the optimiser."""
        import torch
        from torch.nn import functional

        config = self.config
        rng = np.random.default_rng([config.seed, 2, self.updates])
        planes, targets = self.buffer.sample(config.batch_size, rng, self.game)
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        with torch.autocast("cpu", torch.bfloat16, enabled=self._precision == "bfloat16"):
            logits, values = self.network(torch.from_numpy(planes))
        policy, value = torch.from_numpy(targets.policy), torch.from_numpy(targets.value)
        # Less the entropy of the target, which no network can go below.
        floor = torch.special.entr(policy).sum(1).mean()
        policy_loss = -(policy * functional.log_softmax(logits, dim=1)).sum(1).mean() - floor
        value_loss = functional.mse_loss(values, value)
        loss = policy_loss + config.value_weight * value_loss
        self._optimiser.zero_grad(set_to_none=True)
        norm = float("nan")
        if torch.isfinite(loss):
            loss.backward()
            norm = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip))
        if np.isfinite(norm):
            self._optimiser.step()
            self._bad = 0
        else:
            self.skipped, self._bad = self.skipped + 1, self._bad + 1
            if self._bad >= _MOST_BAD_UPDATES:
                raise SelfPlayDivergedError(f"{self._bad} losses in a row were not finite, at update {self.updates}")
        return {
            "update": self.updates,
            "policy_loss": float(policy_loss.detach()),
            "value_loss": float(value_loss.detach()),
            "grad_norm": norm,
            "learning_rate": self._rate(),
            "positions": self.buffer.added,
            "games": self._generator.finished,
            "skipped_updates": self.skipped,
            "cpu_seconds": self.cpu_seconds,
        }

    def _rate(self) -> float:
        """Learning rate of the present update."""
        config = self.config
        progress = self.updates / config.updates
        if config.minutes is not None:
            progress = max(progress, self.cpu_seconds / (60 * config.minutes))
        falling = config.final_rate + (1 - config.final_rate) * (1 + np.cos(np.pi * min(progress, 1))) / 2
        return float(config.learning_rate * min(1.0, (self.updates + 1) / 100) * falling)

    def _try_candidate(self) -> None:
        """Let the latest network take the best one's place if it wins the test."""
        best = self._best
        if best is None:
            return
        players = [
            NetworkPlayer(
                module,
                self.network_config,
                self.game,
                simulations=self.config.simulations,
                decisive=self.config.decisive,
                name=name,
            )
            for module, name in ((self.network, "candidate"), (best, "best"))
        ]
        arena = Arena(self.game, openings=self.config.gate_openings, seed=self.config.seed + self.updates)
        match = arena.compare(*players)
        self.network.train()
        logger.info("candidate at update %d: %s", self.updates, match)
        if match.is_better:
            self.accepted += 1
            best.load_state_dict(self.network.state_dict())


def train_self_play(game: BoardGame, config: SelfPlayConfig, out: Path | str | None = None) -> NetworkPlayer:
    """Learn a game by playing it against oneself.

    Args:
        game: what is learnt.
        config: how.
        out: folder to keep the network, a checkpoint and metrics in; the same call goes on from a checkpoint that is
            there. None keeps nothing.

    Returns:
        A player of 50 simulations a move.

    Raises:
        SelfPlayDivergedError: three losses in a row are not finite.
        ValueError: the folder holds a run of another configuration or game.
    """
    folder = None if out is None else Path(out)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    trainer = SelfPlayTrainer(game, config, folder)
    trainer.run()
    player = trainer.player()
    if folder is not None:
        save_network(player.module, player.config, folder)
    return player
