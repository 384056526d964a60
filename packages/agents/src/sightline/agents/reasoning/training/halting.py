"""Questions at work side by side, each for as many segments as it needs; whichever halts makes room for a new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sightline.agents.reasoning.config import TrainerConfig
from sightline.agents.reasoning.models.reasoner import Latents
from sightline.agents.reasoning.training.examples import Examples


@dataclass(frozen=True)
class Carry:
    """A batch of questions at work."""

    examples: Examples
    """The questions, [B]."""
    latents: Latents
    """Where each stands; never with a graph."""
    steps: Tensor
    """int64 [B], segments gone through."""
    least: Tensor
    """int64 [B], segments before which a question may not halt."""
    survival: Tensor
    """[B], chance of having gone on so far, by the halting logits."""
    halted: Tensor
    """Bool [B], done, and to be replaced before the next segment."""


StartFn = Callable[[Tensor], Latents]
"""Returns the latents at which questions, [B, L], start."""


def least_segments(rng: np.random.Generator, count: int, config: TrainerConfig) -> Tensor:
    """Draw for how many segments new questions must stay.

    A share `explore` stays for a number drawn evenly from 2..K, a share `full_depth` for all K, the rest for one: if
    all could leave as soon as they were right, late segments would hardly be trained, and made worse by more steps.
    """
    last = config.segments
    if not config.halting or last == 1:
        return torch.full((count,), last, dtype=torch.int64)
    draw = rng.random(count)
    explored = rng.integers(2, last + 1, size=count)
    full = draw >= 1 - config.full_depth
    return torch.from_numpy(np.where(draw < config.explore, explored, np.where(full, last, 1)))


def begin(examples: Examples, start: StartFn, least: Tensor) -> Carry:
    """Return questions that have not gone through any segment."""
    device = examples.inputs.device
    count = len(examples)
    return Carry(
        examples,
        start(examples.inputs).detach(),
        torch.zeros(count, dtype=torch.int64, device=device),
        least.to(device),
        torch.ones(count, device=device),
        torch.zeros(count, dtype=torch.bool, device=device),
    )


def refill(carry: Carry, fresh: Examples, start: StartFn, least: Tensor) -> Carry:
    """Return the batch with new questions, as many as have halted, in the halted rows; the others stay bit for bit."""
    rows = carry.halted.nonzero()[:, 0]
    new = begin(fresh, start, least)
    return Carry(
        carry.examples.replaced(rows, fresh),
        carry.latents.replaced(rows, new.latents),
        carry.steps.index_copy(0, rows, new.steps),
        carry.least.index_copy(0, rows, new.least),
        carry.survival.index_copy(0, rows, new.survival),
        torch.zeros_like(carry.halted),
    )


def advance(carry: Carry, latents: Latents, margin: Tensor, survival: Tensor, segments: int) -> Carry:
    """Return the batch after a segment: a question halts after the last, or once its margin is positive and it may.

    A question whose margin is not finite leaves as well, lest it spoil every step that follows: the margin is read from
    the mean over the whole answer.
    """
    steps = carry.steps + 1
    halted = (steps >= segments) | ((margin > 0) & (steps >= carry.least)) | ~margin.isfinite()
    return replace(carry, latents=latents.detach(), steps=steps, survival=survival, halted=halted)
