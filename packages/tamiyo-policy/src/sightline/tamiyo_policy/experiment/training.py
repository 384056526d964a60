"""Training a policy on the growth environment: rounds of whole episodes, a line of metrics each, and exact resumption.

A folder holds one training: `settings.json`, `metrics.jsonl`, a row per round, and `checkpoint.safetensors`. A training
that was stopped goes on from its last checkpoint and ends with the same rows and the same state, bit for bit, as one
that was not. Knows nothing about evaluation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from sightline.tamiyo_policy.checkpoints import CheckpointError
from sightline.tamiyo_policy.experiment.config import GrowthTrainingConfig
from sightline.tamiyo_policy.experiment.mixed_environment import Growing
from sightline.tamiyo_policy.experiment.vector_environment import GrowthEpisodes
from sightline.tamiyo_policy.files import atomic_file
from sightline.tamiyo_policy.growth.config import GrowthConfig
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.policy.network import RecurrentActorCritic
from sightline.tamiyo_policy.ppo.recurrent_ppo import RecurrentPPO
from sightline.tamiyo_policy.ppo.trained_policy import TrainedPolicy

CHECKPOINT: Final = "checkpoint.safetensors"
METRICS: Final = "metrics.jsonl"
SETTINGS: Final = "settings.json"


class _Settings(BaseModel):
    """What the course of a training depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    seed: int
    environments: int
    growth: GrowthConfig
    training: GrowthTrainingConfig

    def differences(self, other: _Settings) -> list[str]:
        """Return names of what differs, but for how long and how often."""
        mine, theirs = (
            {"seed": of.seed, "environments": of.environments, **dict(of.growth), **dict(of.training)}
            for of in (self, other)
        )
        return sorted(key for key in mine if key not in ("rounds", "checkpoint_every") and mine[key] != theirs[key])


def train_policy(
    environment: Growing,
    config: GrowthTrainingConfig,
    folder: Path,
    *,
    seed: int,
    on_round: Callable[[dict[str, float]], None] | None = None,
    device: torch.device | str = "cpu",
) -> TrainedPolicy:
    """Train a policy, or go on with a training that was stopped.

    Args:
        environment: E hosts; what it is doing is abandoned.
        config: settings of the training.
        folder: folder of this training alone; made when missing.
        seed: seed of first weights, actions, minibatches and episodes.
        on_round: what is called with the row of each round that is played now.
        device: device of the network.

    Returns:
        The trained policy, with the scale of the observations that it learned from.

    Raises:
        ValueError: a rollout is not an episode, shaping and learner discount differently, or the folder holds a
            training with other settings.
        CheckpointError: the checkpoint is damaged, or of another environment or policy.
        OSError: the folder cannot be written.
    """
    _check(environment, config)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, metrics = folder / CHECKPOINT, folder / METRICS
    settings = _Settings(seed=seed, environments=environment.num_envs, growth=environment.config, training=config)
    episodes = GrowthEpisodes(environment, config.families, copies=config.copies)
    if checkpoint.exists():
        if differing := settings.differences(_read_settings(folder / SETTINGS)):
            raise ValueError(
                f"{folder} holds a training with another {', another '.join(differing)}: choose another folder, or "
                "delete it"
            )
        trainer = RecurrentPPO.load(checkpoint, episodes, device=device)
    else:
        _write(folder / SETTINGS, [settings.model_dump_json(indent=1).encode()])
        trainer = RecurrentPPO(episodes, config.policy, seed=seed, device=device)
        _make_cautious(trainer.network, config.caution)
    round_steps = environment.num_envs * config.policy.num_steps
    _cut(metrics, trainer.steps // round_steps)
    for number in range(trainer.steps // round_steps + 1, config.rounds + 1):
        (learned,) = trainer.learn(round_steps)
        row = {"round": float(number), **episodes.last, **learned}
        _append(metrics, row)
        if number % config.checkpoint_every == 0 or number == config.rounds:
            trainer.save(checkpoint)
        if on_round is not None:
            on_round(row)
    return trainer.policy


def load_trained_policy(
    folder: Path, environment: Growing, config: GrowthTrainingConfig, *, device: torch.device | str = "cpu"
) -> TrainedPolicy:
    """Return the policy of a training's last checkpoint.

    Args:
        folder: what `train_policy` wrote.
        environment: the environment it was trained in; it is left in the middle of an episode.
        config: the settings it was trained with.
        device: device of the network.

    Raises:
        CheckpointError: the checkpoint is damaged or of another environment.
        OSError: it cannot be read.
    """
    return RecurrentPPO.load(folder / CHECKPOINT, GrowthEpisodes(environment, config.families), device=device).policy


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of a `metrics.jsonl`, one per round; a last line that was not written to its end is left out.

    Raises:
        ValueError: another line is not a JSON object.
        OSError: the file cannot be read.
    """
    rows: list[dict[str, float]] = []
    lines = path.read_bytes().split(b"\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            row: Any = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}, is not JSON: {line[:80]!r}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}, is no JSON object: {line[:80]!r}")  # noqa: TRY004 - a bad file
        rows.append(row)
    return rows


def _check(environment: Growing, config: GrowthTrainingConfig) -> None:
    length = environment.config.training.steps
    if config.policy.num_steps != length:
        raise ValueError(f"a round is one episode: num_steps must be {length}, not {config.policy.num_steps}")
    reward = environment.config.reward
    shaped = environment.config.reward_mode == "score" and (reward.stage_shaping or reward.loss_shaping)
    if shaped and reward.gamma != config.policy.ppo.gamma:
        raise ValueError(
            f"shaping discounts by {reward.gamma}, the learner by {config.policy.ppo.gamma}: they must agree"
        )


@torch.no_grad()
def _make_cautious(network: RecurrentActorCritic, caution: float) -> None:
    """Lower the logits of operations that undo or change what was grown, in every state."""
    *_, last = (layer for layer in network.heads["op"].modules() if isinstance(layer, nn.Linear))
    last.bias[[Op.PRUNE, Op.SET_ALPHA_TARGET]] -= caution


def _cut(metrics: Path, rounds: int) -> None:
    """Drop the rows of rounds that will be played again."""
    lines = metrics.read_bytes().splitlines(keepends=True) if metrics.exists() else []
    if len(lines) < rounds:
        raise CheckpointError(
            f"{metrics} has {len(lines)} rows, but the checkpoint beside it was made after round {rounds}: "
            "delete the folder to train anew"
        )
    _write(metrics, lines[:rounds])


def _read_settings(path: Path) -> _Settings:
    try:
        return _Settings.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise CheckpointError(f"{path} is missing or damaged: delete the folder to train anew") from error


def _write(path: Path, parts: Iterable[bytes]) -> None:
    """Replace a file at once."""
    with atomic_file(path) as file:
        file.writelines(parts)


def _append(metrics: Path, row: dict[str, float]) -> None:
    with metrics.open("ab") as file:
        file.write(json.dumps(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
