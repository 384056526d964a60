"""Settings of the learner, importable without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sightline.tamiyo_policy.policy.config import NetworkConfig


class PPOConfig(BaseModel):
    """Settings of the update; the defaults suit tasks of some hundred thousand steps."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    learning_rate: float = Field(default=0.003, gt=0)
    """Step size of Adam."""
    gamma: float = Field(default=0.99, ge=0, le=1)
    """Discount per step."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """Weight of longer returns in advantages."""
    epochs: int = Field(default=4, ge=1)
    """Passes over a rollout."""
    minibatches: int = Field(default=4, ge=1)
    """Gradient steps per pass, each on other environments."""
    clip_range: float = Field(default=0.2, gt=0)
    """How far a ratio may move before its gradient is cut."""
    ratio: Literal["head", "joint"] = "head"
    """Clip each head's ratio, or their product."""
    entropy_coefficient: float = Field(default=0.01, ge=0)
    """Weight of the exact entropy, in nats."""
    value_coefficient: float = Field(default=0.5, ge=0)
    """Weight of the squared error of the critic."""
    forced_value_weight: float = Field(default=0.2, ge=0, le=1)
    """Critic's weight of steps without a choice."""
    auxiliary_coefficient: float = Field(default=0.05, ge=0)
    """Weight of the squared error of what is predicted for slots."""
    max_gradient_norm: float = Field(default=5.0, gt=0)
    """Longer gradients are shortened to this."""
    target_divergence: float | None = Field(default=None, gt=0)
    """A divergence above 1.5 x this ends the update before the step is taken."""
    scale_rewards: bool = False
    """Divide rewards by a running deviation of returns."""
    autocast: bool = False
    """Run the network in bfloat16 during gradient steps."""


class RecurrentPPOConfig(NetworkConfig):
    """Settings of the policy and its rollouts."""

    ppo: PPOConfig = PPOConfig()
    """Settings of the update."""
    num_steps: int = Field(default=64, ge=1)
    """Steps of each environment in a rollout."""
    epsilon_steps: int | None = Field(default=None, ge=1)
    """Environment steps in which epsilon falls linearly to 0; it stays without."""
    learning_rate_steps: int | None = Field(default=None, ge=1)
    """Environment steps in which the learning rate falls linearly to 0."""
    normalise_observations: bool = False
    """Standardise continuous features of observations by running moments."""
