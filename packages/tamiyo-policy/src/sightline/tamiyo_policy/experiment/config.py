"""Settings of a policy's training, importable without torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from sightline.tamiyo_policy.hosts.config import FAMILIES
from sightline.tamiyo_policy.ppo.config import PPOConfig, RecurrentPPOConfig


class GrowthTrainingConfig(BaseModel):
    """How long a policy learns to grow networks, and with what."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rounds: int = Field(default=28, ge=1)
    """Rounds; in each, one whole episode is played in every environment and one update follows."""
    checkpoint_every: int = Field(default=3, ge=1)
    """Rounds between checkpoints; the last round always ends with one."""
    families: tuple[str, ...] = Field(default=FAMILIES, min_length=1)
    """Families of the hosts that are drawn."""
    copies: int = Field(default=5, ge=1)
    """Environments that play the same episode, each rewarded for doing better than the others; 1 for plain rewards.
    What a host can reach depends on its family at least as much as on what is done, and no critic can see a family."""
    caution: float = 8.0
    """Amount taken at first from the logits of PRUNE and SET_ALPHA_TARGET. A policy that begins with all legal
    operations alike undoes what it plants before that can be of use, and then learns to plant nothing."""
    policy: RecurrentPPOConfig = RecurrentPPOConfig(
        num_steps=60,
        hidden_dim=128,
        normalise_observations=True,
        ppo=PPOConfig(
            learning_rate=1e-3,
            gamma=0.995,
            gae_lambda=0.9,
            epochs=8,
            minibatches=5,
            entropy_coefficient=0.005,
            target_divergence=0.015,
        ),
    )
    """The learner; its `num_steps` must be the length of an episode."""
