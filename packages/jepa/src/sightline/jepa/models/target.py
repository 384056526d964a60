"""Target encoders: what a prediction is compared with.

`FrozenTarget` is the index's own space; `EMAEncoder` follows a projection that is being trained. Both offer `online`
(with gradients), `target` (without) and `update`, so that the trainer need not know which it has.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from sightline.jepa.config import EMAConfig
from sightline.jepa.losses.schedules import cosine

Module = TypeVar("Module", bound=nn.Module)


def tau_at(step: int, total_steps: int, config: EMAConfig) -> float:
    """Return the share of the old target kept at a step: cosine from `tau_start` to `tau_end`.

    `tau_end - (tau_end - tau_start) (1 + cos(pi step / total)) / 2` (Grill et al. 2020, section 3.3, with an end
    below 1); `tau_end` after the last step and where there are no steps.
    """
    return cosine(config.tau_start, config.tau_end, step / total_steps if total_steps > 0 else 1.0)


@torch.no_grad()
def average_into(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Set `target <- tau target + (1 - tau) online` for parameters; buffers are copied."""
    for kept, latest in zip(target.parameters(), online.parameters(), strict=True):
        kept.lerp_(latest, 1 - tau)
    for kept, latest in zip(target.buffers(), online.buffers(), strict=True):
        kept.copy_(latest)


def frozen_copy(module: Module) -> Module:
    """Return a deep copy in evaluation mode that takes no gradients."""
    return copy.deepcopy(module).requires_grad_(False).eval()


class EMAEncoder(nn.Module):
    """An encoder that is trained, and the moving average of it that gives the targets.

    Both have the same architecture and see the same kind of vectors; the online encoder gets its gradient from the
    question side. The state dict holds both.
    """

    def __init__(self, encoder: nn.Module, config: EMAConfig) -> None:
        super().__init__()
        self.config = config
        self.online_encoder = encoder
        self.target_encoder = frozen_copy(encoder)

    def online(self, vectors: Tensor) -> Tensor:
        """Encode `[n, D]` with the encoder in training, with gradients."""
        return self.online_encoder(vectors)

    @torch.no_grad()
    def target(self, vectors: Tensor) -> Tensor:
        """Encode `[n, D]` with the average, without gradients."""
        return self.target_encoder(vectors)

    def update(self, step: int, total_steps: int) -> float:
        """Move the target towards the online encoder, after an optimiser step; returns the tau used."""
        tau = tau_at(step, total_steps, self.config)
        average_into(self.target_encoder, self.online_encoder, tau)
        return tau

    def train(self, mode: bool = True) -> EMAEncoder:
        """Set the mode of the online encoder; the target stays in evaluation mode."""
        super().train(mode)
        self.target_encoder.eval()
        return self


class FrozenTarget(nn.Module):
    """The space of the index as it is: nothing to train, so nothing of the target can collapse."""

    def online(self, vectors: Tensor) -> Tensor:
        """Return the vectors `[n, D]` themselves."""
        return vectors

    def target(self, vectors: Tensor) -> Tensor:
        """Return the vectors `[n, D]` themselves."""
        return vectors

    def update(self, step: int, total_steps: int) -> float:
        """Do nothing; returns 1, the share of the old target that is kept."""
        del step, total_steps
        return 1.0
