"""The loss of one optimiser step: after each segment, over all segments with decaying weights, or after the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sightline.agents.reasoning.config import TrainerConfig
from sightline.agents.reasoning.models.heads import Output
from sightline.agents.reasoning.models.reasoner import Latents, Reasoner
from sightline.agents.reasoning.training.halting import Carry, advance
from sightline.agents.reasoning.training.losses import continue_loss, halting_loss, ponder_cost


class Objective(Protocol):
    """What a model should learn."""

    def loss(self, output: Output, targets: dict[str, Tensor]) -> Tensor:
        """Return the loss of each question, [B]."""
        ...

    def measure(self, output: Output, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `right`, bool [B], which the halting head learns to foresee, and other measures, [B]."""
        ...


@dataclass(frozen=True)
class StepLoss:
    """What one optimiser step minimises, and what it saw."""

    loss: Tensor
    """Mean over the batch, with its graph."""
    carry: Carry
    """The batch afterwards."""
    terms: dict[str, Tensor]
    """Means over the batch of each part of the loss, at the last segment of the step, without a graph."""
    measures: dict[str, Tensor]
    """Of the objective at the last segment, [B] each; `right` among them."""
    margin: Tensor
    """[B], positive where the model would halt."""


def step_loss(
    model: Reasoner, objective: Objective, carry: Carry, config: TrainerConfig, dtype: torch.dtype
) -> StepLoss:
    """Go through the segments of one optimiser step.

    Args:
        model: what is trained.
        objective: what it should learn.
        carry: questions at work; with `supervision` other than `segments` they all stand at the beginning.
        config: which losses count and how much.
        dtype: arithmetic of the networks.
    """
    segments = 1 if config.supervision == "segments" else config.segments
    latents = carry.latents
    total = torch.zeros((), device=carry.steps.device)
    terms: dict[str, Tensor] = {}
    measures: dict[str, Tensor] = {}
    for index in range(segments):
        left = segments - 1 - index
        weight = {"segments": 1.0, "decayed": config.decay**left, "last": float(left == 0)}[config.supervision]
        earlier = latents
        with torch.set_grad_enabled(weight > 0):
            latents, output = model(carry.examples.inputs, latents, dtype)
        survival = carry.survival
        if weight:
            measures = objective.measure(output, carry.examples.targets)
            terms, survival = _terms(model, objective, carry, latents, output, measures["right"], config, dtype)
            if config.consistency_weight and index:
                terms["consistency"] = _distance(earlier, latents)
            total = total + weight * _weighted(terms, config)
        carry = advance(carry, latents, output.margin.detach(), survival, config.segments)
    seen, measured = ({name: value.detach() for name, value in part.items()} for part in (terms, measures))
    return StepLoss(total, carry, seen, measured, output.margin.detach())


def _terms(
    model: Reasoner,
    objective: Objective,
    carry: Carry,
    latents: Latents,
    output: Output,
    right: Tensor,
    config: TrainerConfig,
    dtype: torch.dtype,
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the mean of each part of one segment's loss, and the chance of having gone on so far, [B]."""
    terms = {
        "task_loss": objective.loss(output, carry.examples.targets).mean(),
        "halt_loss": halting_loss(output.halt, right).mean(),
    }
    if output.proceed is not None:
        with torch.no_grad():
            _, following = model(carry.examples.inputs, latents.detach(), dtype)
        last = carry.steps + 2 >= config.segments
        terms["continue_loss"] = continue_loss(output.proceed, following, last).mean()
    gone_on, survival = ponder_cost(output.halt, carry.survival)
    terms["ponder"] = gone_on.mean()
    return terms, survival


def _weighted(terms: dict[str, Tensor], config: TrainerConfig) -> Tensor:
    total = terms["task_loss"] + config.halt_weight * terms["halt_loss"]
    if "continue_loss" in terms:
        total = total + config.halt_weight * terms["continue_loss"]
    if config.ponder_weight:
        total = total + config.ponder_weight * terms["ponder"]
    if "consistency" in terms:
        total = total + config.consistency_weight * terms["consistency"]
    return total


def _distance(earlier: Latents, later: Latents) -> Tensor:
    """Return the mean squared distance of an answer from the next segment's, which stands still."""
    return (earlier.answer - later.answer.detach()).float().square().mean()
