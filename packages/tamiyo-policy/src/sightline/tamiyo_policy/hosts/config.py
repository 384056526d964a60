"""Settings of hosts, of their training and of the lives of seeds, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sightline.tamiyo_policy.hosts.instances import InstanceDistribution

FAMILIES = ("A", "B", "C", "D", "E")

Gate = Literal["G1", "G2", "G3"]


class HostTrainingConfig(BaseModel):
    """How networks are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: int = Field(default=60, ge=1)
    """T, training intervals of an episode."""
    minibatches: int = Field(default=6, ge=1)
    """Optimiser steps of an interval."""
    batch_size: int = Field(default=64, ge=1)
    """Samples of a minibatch."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Learning rate of Adam, for hosts and seeds."""
    instances: InstanceDistribution = InstanceDistribution()
    """Damage, quality of the data and budget that are drawn for each host."""


@dataclass(frozen=True)
class AdamConfig:
    """Constants of Adam (Kingma and Ba 2015, algorithm 1), after a clip of each module's gradient."""

    learning_rate: float = 1e-2
    """Step size."""
    beta1: float = 0.9
    """Decay of the mean of gradients."""
    beta2: float = 0.999
    """Decay of the mean of their squares."""
    epsilon: float = 1e-6
    """What is added to the root, large enough that rounding noise in a gradient of zero cannot move a parameter."""
    max_norm: float = 1.0
    """Clip of the gradient of a host, and of each seed."""


class LifecycleConfig(BaseModel):
    """The constants of a seed's life; the defaults suit episodes of 60 steps. An epoch is one environment step."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    gates: Literal["permissive", "strict"] = "permissive"
    """How much a gate asks of a seed."""
    auto_forward: frozenset[Gate] = frozenset()
    """Gates that open by themselves, without ADVANCE."""
    mask_closed_gates: bool = False
    """Whether ADVANCE and FOSSILIZE are illegal at a closed gate."""
    max_seeds: int | None = Field(default=None, ge=1)
    """Most seeds and fossils in one host; None is every slot."""
    min_training_epochs: int = Field(default=3, ge=0)
    """G2: least epochs in TRAINING."""
    min_gradient_health: float = Field(default=0.7, ge=0, le=1)
    """G2 and G5: least gradient health."""
    min_progress: float = 0.5
    """Strict G2: least gain of accuracy since germination, in points."""
    min_gradient_ratio: float = Field(default=0.1, ge=0)
    """Strict G2: least gradient ratio of seed to host."""
    min_blending_epochs: int = Field(default=4, ge=0)
    """Strict G3: least epochs in BLENDING."""
    min_contribution: float = 1.0
    """Strict G5: least counterfactual contribution, in points."""
    min_prune_age: int = Field(default=3, ge=0)
    """Least age in epochs at which PRUNE is legal."""
    embargo_epochs: int = Field(default=2, ge=1)
    """Epochs in EMBARGOED after a prune."""
    tempo_steps: tuple[int, int, int] = (2, 3, 5)
    """Epochs of the first ramp, by tempo."""
    speed_steps: tuple[int, int, int, int] = (0, 2, 3, 5)
    """Epochs of later ramps, by alpha speed."""
    alpha_targets: tuple[float, float, float] = (0.5, 0.7, 1.0)
    """Alphas to choose from."""


REFERENCE_LIFECYCLE = LifecycleConfig(
    min_training_epochs=10,
    min_blending_epochs=10,
    min_prune_age=5,
    embargo_epochs=5,
    tempo_steps=(3, 5, 8),
    speed_steps=(0, 3, 5, 8),
)
"""The constants for episodes of 150 steps."""

SCALED_LIFECYCLE = LifecycleConfig()
"""The constants for episodes of 60 steps."""
