"""Unfinished work of a student's training: weights, the optimiser's moments and how far it came."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sightline.retrieval.files import atomic_file

logger = logging.getLogger(__name__)

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(slots=True)
class TrainingState:
    """What a checkpoint holds."""

    fingerprint: str
    """Digest of the examples and of everything else that the training depends on."""
    tokenizer: str
    """The tokenizer as JSON."""
    losses: list[float] = field(default_factory=list)
    """Loss of every step so far."""
    tokens: int = 0
    """Tokens read so far."""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Weights and moments, as they were read; empty in a new state."""


def save_checkpoint(
    path: Path, state: TrainingState, parameters: dict[str, Any], optimizer: torch.optim.Optimizer
) -> None:
    """Write a checkpoint, atomically.

    Args:
        path: file to write.
        state: what is held besides tensors.
        parameters: name -> parameter of the model.
        optimizer: AdamW over these parameters, after at least one step.
    """
    tensors = {f"weight.{name}": parameter.detach() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        tensors |= {f"{moment}.{name}": optimizer.state[parameter][moment] for moment in _MOMENTS}
    metadata = {key: json.dumps(getattr(state, key)) for key in ("fingerprint", "tokenizer", "losses", "tokens")}
    with atomic_file(path) as file:
        file.write(save(tensors, metadata))


def load_checkpoint(path: Path, fingerprint: str) -> TrainingState | None:
    """Return the work that a run with the same fingerprint left behind, if any."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            if metadata.get("fingerprint") != fingerprint:
                logger.warning("%s belongs to other examples or another config; starting anew", path)
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, ValueError) as error:
        logger.warning("%s cannot be read (%s); starting anew", path, error)
        return None
    logger.info("resuming after step %d", len(metadata["losses"]))
    return TrainingState(**metadata, tensors=tensors)


def restore(
    tensors: dict[str, Tensor], parameters: dict[str, Any], optimizer: torch.optim.Optimizer, done: int
) -> None:
    """Put the tensors of a checkpoint back into model and optimizer, as they stood after `done` steps."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weight.{name}"])
            moments = {m: tensors[f"{m}.{name}"].to(parameter.device, copy=True) for m in _MOMENTS}
            optimizer.state[parameter] = {"step": torch.tensor(float(done)), **moments}
