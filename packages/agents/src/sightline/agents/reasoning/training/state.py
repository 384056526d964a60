"""The moving parts of a training as tensors and JSON values, and back: weights, moments, average, questions at work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sightline.agents.reasoning.models.reasoner import Latents, Reasoner
from sightline.agents.reasoning.training.ema import AveragedWeights
from sightline.agents.reasoning.training.examples import Examples, ExampleSource
from sightline.agents.reasoning.training.halting import Carry

_CARRY = ("steps", "least", "survival", "halted")


def gather(
    model: Reasoner,
    optimizer: torch.optim.Optimizer,
    averaged: AveragedWeights | None,
    carry: Carry | None,
    source: ExampleSource,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return everything that moves, as tensors by name and JSON values."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        tensors |= {f"optimizer.{name}.{key}": value for key, value in optimizer.state[parameter].items()}
    if averaged is not None:
        tensors |= {f"average.{name}": value for name, value in averaged.weights.items()}
    if carry is not None:
        tensors |= {f"carry.{name}": getattr(carry, name) for name in _CARRY}
        tensors |= {"carry.answer": carry.latents.answer, "carry.latent": carry.latents.latent}
        tensors["carry.inputs"] = carry.examples.inputs
        tensors |= {f"carry.target.{name}": value for name, value in carry.examples.targets.items()}
    place = source.state_dict()
    tensors |= {f"source.{name}": value for name, value in place.items() if isinstance(value, Tensor)}
    values = {name: value for name, value in place.items() if not isinstance(value, Tensor)}
    return tensors, {"source": values, "average_steps": averaged.steps if averaged is not None else 0}


def scatter(
    tensors: dict[str, Tensor],
    record: dict[str, Any],
    model: Reasoner,
    optimizer: torch.optim.Optimizer,
    averaged: AveragedWeights | None,
    source: ExampleSource,
    device: str,
) -> Carry | None:
    """Put everything back where `gather` found it, and return the questions at work."""
    model.load_state_dict(_under(tensors, "model."))
    for name, parameter in model.named_parameters():
        state = _under(tensors, f"optimizer.{name}.")
        # The count of steps stays where AdamW wants it, with the CPU's scalars.
        optimizer.state[parameter] = {key: value if key == "step" else value.to(device) for key, value in state.items()}
    if averaged is not None:
        averaged.weights = {name: value.to(device) for name, value in _under(tensors, "average.").items()}
        averaged.steps = record["average_steps"]
    source.load_state_dict(record["source"] | _under(tensors, "source."))
    carried = {name: value.to(device) for name, value in _under(tensors, "carry.").items()}
    if not carried:
        return None
    examples = Examples(carried["inputs"], _under(carried, "target."))
    latents = Latents(carried["answer"], carried["latent"])
    return Carry(examples, latents, **{name: carried[name] for name in _CARRY})


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
