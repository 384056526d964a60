"""Adam on stacked modules, each with its own clip, step count and bias correction.

Knows nothing about what the modules compute.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.tamiyo_policy.hosts.config import AdamConfig


@dataclass(frozen=True)
class AdamState:
    """Moments of stacked modules, changed in place."""

    mean: Tensor
    """[..., P] decayed mean of gradients."""
    square: Tensor
    """[..., P] decayed mean of squared gradients."""
    steps: Tensor
    """[...] float32, updates since the module was drawn."""

    @classmethod
    def zeros(cls, parameters: Tensor) -> "AdamState":
        """Return the state before the first update of parameters [..., P]."""
        return cls(
            torch.zeros_like(parameters),
            torch.zeros_like(parameters),
            torch.zeros(parameters.shape[:-1], device=parameters.device),
        )

    def clear(self, at: Tensor) -> None:
        """Forget the past of the modules where `at`, bool [...], holds."""
        for moments in (self.mean, self.square, self.steps):
            moments[at] = 0.0


@torch.no_grad()
def adam_step(parameters: Tensor, gradient: Tensor, state: AdamState, active: Tensor, config: AdamConfig) -> Tensor:
    """Update stacked modules in place, each clipped and bias-corrected on its own.

    A module that is inactive, or whose gradient is not finite, keeps its parameters and moments.

    Args:
        parameters: [..., P].
        gradient: [..., P].
        state: moments of these parameters.
        active: bool [...], modules to update.
        config: the constants.

    Returns:
        [...] Euclidean norms of the gradients before the clip.
    """
    # Norms and powers in float64: how they are rounded depends on how many modules there are.
    norm = torch.linalg.vector_norm(gradient, dim=-1, dtype=torch.float64).to(gradient.dtype)
    active = active & torch.isfinite(norm)
    weight = active.to(parameters.dtype)
    scale = weight * config.max_norm / norm.clamp(min=config.max_norm)
    gradient = torch.where(active[..., None], gradient * scale[..., None], 0.0)
    state.steps.add_(weight)
    state.mean.lerp_(gradient, (weight * (1 - config.beta1))[..., None])
    state.square.lerp_(gradient.square_(), (weight * (1 - config.beta2))[..., None])
    count = state.steps.double().clamp(min=1)
    rate = weight * config.learning_rate / (1 - config.beta1**count).to(weight.dtype)
    root = state.square.div((1 - config.beta2**count).to(weight.dtype)[..., None]).sqrt_().add_(config.epsilon)
    parameters.sub_(state.mean.div(root).mul_(rate[..., None]))
    return norm
