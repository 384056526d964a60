"""Tuning of a transformer by low-rank adapters (LoRA, Hu et al. 2021), step by step.

A tuning that was killed goes on after its last checkpoint, and ends with the weights of one that was not. The module
knows weights and steps; it knows nothing of texts, nor of what is minimised.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from sightline.jepa.files import atomic_file
from sightline.jepa.training.checkpoint import CheckpointError
from sightline.jepa.training.seeding import seeded
from sightline.jepa.tuning.settings import LowRankTuning

logger = logging.getLogger(__name__)

_WARM_UP: Final = 0.1  # share of the steps, as sentence-transformers' examples have it
_WEIGHT_DECAY: Final = 0.01
_LARGEST_GRADIENT: Final = 1.0


@dataclass(frozen=True)
class TuningProgress:
    """What a tuning has done."""

    losses: list[float]
    """The loss of every step so far."""
    seconds: float
    """CPU seconds of these steps, without those of a killed start that left no checkpoint."""


def open_peft() -> Any:
    """Return the library that has the adapters.

    Raises:
        ImportError: it is not installed; the message has the command that installs it.
    """
    try:
        import peft
    except ImportError as error:
        raise ImportError("tuning an encoder needs PEFT: pip install 'sightline-jepa[tuning]'") from error
    return peft


def add_adapters(transformer: Any, rank: int, seed: int) -> Any:
    """Freeze a transformer and put adapters on all its linear layers, in place.

    Args:
        transformer: model of transformers.
        rank: rank of the adapters, whose scale is 2.
        seed: seed of their first weights.

    Returns:
        PEFT's model, whose `merge_and_unload` leaves the transformer plain, with the adapters in its weights.

    Raises:
        ImportError: PEFT is not installed; the message has the command that installs it.
    """
    peft = open_peft()
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", bias="none")
    with seeded(seed, 0, transformer.device), warnings.catch_warnings():
        # PEFT reads a property that transformers has renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        for weight in transformer.parameters():
            weight.requires_grad_(False)
        return peft.get_peft_model(transformer, config)


def learned_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """Return a model's weights that are not frozen, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def restore_weights(learned: Mapping[str, Tensor], stored: Mapping[str, Tensor], prefix: str = "") -> None:
    """Put stored weights, whose names may have a prefix, in the place of learned ones."""
    with torch.no_grad():
        for name, weight in learned.items():
            weight.copy_(stored[prefix + name])


def tune(
    learned: dict[str, Tensor],
    steps: int,
    loss_of: Callable[[int], Tensor],
    tuning: LowRankTuning,
    *,
    seed: int,
    checkpoint: Path,
) -> TuningProgress:
    """Minimise a loss by AdamW, in place; same arguments, same weights, also after a kill.

    Args:
        learned: weights by name.
        steps: number of steps.
        loss_of: function from a step, from 0, to its loss with gradients; it may draw from torch's generator.
        tuning: learning rate, and how often a checkpoint is written.
        seed: seed of what `loss_of` draws.
        checkpoint: file to go on from, where it exists, and to write to.

    Raises:
        CheckpointError: the checkpoint is damaged, or of other weights.
        FloatingPointError: the loss is not finite.
    """
    # The rate of the schedule is set at every step.
    optimizer = torch.optim.AdamW(learned.values(), lr=tuning.learning_rate, weight_decay=_WEIGHT_DECAY)
    before = _load(checkpoint, learned, optimizer)
    device = next(iter(learned.values())).device
    losses, started = list(before.losses), time.process_time() - before.seconds
    for step in range(len(losses), steps):
        for group in optimizer.param_groups:
            group["lr"] = tuning.learning_rate * _share_of_rate(step, steps)
        with seeded(seed, step + 1, device):
            loss = loss_of(step)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss.item()} at step {step}; lower the learning_rate ({tuning.learning_rate})"
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned.values(), _LARGEST_GRADIENT)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % tuning.checkpoint_steps == 0:
            spent = time.process_time() - started
            _save(checkpoint, learned, optimizer, TuningProgress(losses, spent))
            recent = np.mean(losses[-tuning.checkpoint_steps :])
            logger.info("step %d of %d: loss %.4f, %.0f CPU s", step + 1, steps, recent, spent)
    return TuningProgress(losses, time.process_time() - started)


def _share_of_rate(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step from 0: up to 1 in the warm-up, then linearly towards 0."""
    rising = max(1, round(_WARM_UP * steps))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising + 1))


def _load(file: Path, learned: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> TuningProgress:
    """Put weights and optimiser where a file says, if there is one."""
    if not file.exists():
        return TuningProgress([], 0.0)
    try:
        stored = safetensors.torch.load(file.read_bytes())
        restore_weights(learned, stored, "learned.")
        state: dict[int, dict[str, Tensor]] = {}
        for key in (key for key in stored if key.startswith("optimizer.")):
            _, number, name = key.split(".")
            state.setdefault(int(number), {})[name] = stored[key]
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return TuningProgress(stored["losses"].tolist(), stored["seconds"].item())
    except (safetensors.SafetensorError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{file} is damaged or of another tuning ({error!r:.200}); delete it to tune anew"
        ) from error


def _save(path: Path, learned: dict[str, Tensor], optimizer: torch.optim.Optimizer, progress: TuningProgress) -> None:
    """Write the file; whoever reads it finds this state or the one before, whole."""
    tensors = {f"learned.{name}": weight.detach() for name, weight in learned.items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
    tensors["losses"] = torch.tensor(progress.losses, dtype=torch.float64)
    tensors["seconds"] = torch.tensor(progress.seconds, dtype=torch.float64)
    with atomic_file(path) as file:
        file.write(safetensors.torch.save(tensors))
