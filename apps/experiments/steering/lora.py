"""Tuning of a transformer by low-rank adapters (LoRA, Hu et al. 2021), step by step.

A tuning that was killed goes on after its last checkpoint, and ends with the weights of one that was not. The module
knows weights and steps; it knows nothing of texts, nor of what is minimised.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from experiments.steering.settings import LowRankTuning
from sightline.retrieval.files import atomic_file

logger = logging.getLogger(__name__)

_WARM_UP: Final = 0.1  # share of the steps, as sentence-transformers' examples have it
_WEIGHT_DECAY: Final = 0.01
_LARGEST_GRADIENT: Final = 1.0


@dataclass(frozen=True)
class Progress:
    """What a tuning has done."""

    losses: list[float]
    """The loss of every step so far."""
    seconds: float
    """CPU seconds of these steps, without those of a killed start that left no checkpoint."""


def add_adapters(transformer: Any, rank: int, seed: int) -> Any:
    """Freeze a transformer and put adapters on all its linear layers, in place.

    Args:
        transformer: model of transformers.
        rank: rank of the adapters, whose scale is 2.
        seed: seed of their first weights.

    Returns:
        PEFT's model, whose `merge_and_unload` leaves the transformer plain, with the adapters in its weights.
    """
    import peft

    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", bias="none")
    with _seeded(seed, 0), warnings.catch_warnings():
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
) -> Progress:
    """Minimise a loss by AdamW, in place; same arguments, same weights, also after a kill.

    Args:
        learned: weights by name.
        steps: number of steps.
        loss_of: function from a step, from 0, to its loss with gradients; it may draw from torch's generator.
        tuning: learning rate, and how often a checkpoint is written.
        seed: seed of what `loss_of` draws.
        checkpoint: file to go on from, where it exists, and to write to.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    # The rate of the schedule is set at every step.
    optimizer = torch.optim.AdamW(learned.values(), lr=tuning.learning_rate, weight_decay=_WEIGHT_DECAY)
    before = _load(checkpoint, learned, optimizer)
    losses, started = list(before.losses), time.process_time() - before.seconds
    for step in range(len(losses), steps):
        for group in optimizer.param_groups:
            group["lr"] = tuning.learning_rate * _share_of_rate(step, steps)
        with _seeded(seed, step + 1):
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
            _save(checkpoint, learned, optimizer, Progress(losses, spent))
            recent = np.mean(losses[-tuning.checkpoint_steps :])
            logger.info("step %d of %d: loss %.4f, %.0f CPU s", step + 1, steps, recent, spent)
    return Progress(losses, time.process_time() - started)


def _share_of_rate(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step from 0: up to 1 in the warm-up, then linearly towards 0."""
    rising = max(1, round(_WARM_UP * steps))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising + 1))


@contextmanager
def _seeded(seed: int, step: int) -> Generator[None]:
    """Seed torch's global generator for one step, 0 for first weights, and put it back afterwards."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(state) >> 1)  # 63 bits, as torch wants them signed
        yield


def _load(file: Path, learned: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> Progress:
    """Put weights and optimiser where a file says, if there is one."""
    if not file.exists():
        return Progress([], 0.0)
    stored = safetensors.torch.load(file.read_bytes())
    restore_weights(learned, stored, "learned.")
    state: dict[int, dict[str, Tensor]] = {}
    for key in (key for key in stored if key.startswith("optimizer.")):
        _, number, name = key.split(".")
        state.setdefault(int(number), {})[name] = stored[key]
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(stored["losses"].tolist(), stored["seconds"].item())


def _save(path: Path, learned: dict[str, Tensor], optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write the file; whoever reads it finds this state or the one before, whole."""
    tensors = {f"learned.{name}": weight.detach() for name, weight in learned.items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
    tensors["losses"] = torch.tensor(progress.losses, dtype=torch.float64)
    tensors["seconds"] = torch.tensor(progress.seconds, dtype=torch.float64)
    with atomic_file(path) as file:
        file.write(safetensors.torch.save(tensors))
