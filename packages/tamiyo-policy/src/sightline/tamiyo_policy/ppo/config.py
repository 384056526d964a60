"""Settings of the learner, importable without torch."""

from __future__ import annotations

import difflib
from typing import Any, Literal

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
    previous_action: bool = False
    """Show the policy what it did last."""
    previous_reward: bool = False
    """Show the policy what it got for that."""
    action_bins: int = Field(default=11, ge=2)
    """Values at equal distances that each dimension of a continuous action can take."""

    @classmethod
    def from_settings(cls, **settings: Any) -> RecurrentPPOConfig:
        """Return a configuration from settings of both kinds by their names, `learning_rate` beside `num_steps`.

        Args:
            settings: fields of this class and of `PPOConfig`; all others keep their defaults.

        Raises:
            TypeError: a name is none of them.
            ValueError: a value is out of range.
        """
        known = [*cls.model_fields, *PPOConfig.model_fields]
        for name in settings:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise TypeError(f"there is no setting {name!r}" + (f": did you mean {near[0]!r}?" if near else ""))
        update = {name: value for name, value in settings.items() if name in PPOConfig.model_fields}
        own = {name: value for name, value in settings.items() if name not in update}
        if update:
            own["ppo"] = {**dict(own.get("ppo", PPOConfig())), **update}
        return cls.model_validate(own)
