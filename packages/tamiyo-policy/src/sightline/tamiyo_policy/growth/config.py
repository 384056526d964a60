"""The rules of a growth environment and of the gardener, importable without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sightline.tamiyo_policy.hosts.config import HostTrainingConfig, LifecycleConfig


class RewardConfig(BaseModel):
    """The reward of a growth environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rent: float = Field(default=5.0, ge=0)
    """Points of score that ln(1 + seeds' parameters / host's) costs."""
    scale: float = Field(default=10.0, gt=0)
    """Points of score that make a reward of 1."""
    stage_shaping: float = Field(default=0.0, ge=0)
    """Weight of the potential of seeds' stages; 0 for none."""
    loss_shaping: float = Field(default=0.0, ge=0)
    """Weight of minus the validation loss as a potential; 0 for none."""
    gamma: float = Field(default=0.99, gt=0, le=1)
    """Discount of the shaping; must be that of the learner."""
    final_validations: int = Field(default=3, ge=1, le=5)
    """Validations whose mean accuracy is scored at the end."""


class ShapedRewardConfig(BaseModel):
    """The constants of the SHAPED reward that depend on the length of an episode and on the learner."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    gamma: float = Field(default=0.99, gt=0, le=1)
    """Discount of the shaping; must be that of the learner."""
    early_epochs: int = Field(default=4, ge=1)
    """Seeds germinated before this epoch earn less, at least 0.4."""
    min_prune_age: int = Field(default=3, ge=0)
    """PRUNE of a younger seed costs 0.3 for every missing epoch."""
    full_holding_epochs: int = Field(default=5, ge=1)
    """Epochs in HOLDING after which FOSSILIZE pays in full."""
    clean_progress: bool = True
    """Whether progress leaves out what the host gained without seeds."""


class GovernorConfig(BaseModel):
    """When the governor panics, and what a panic costs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    window: int = Field(default=20, ge=1)
    """Good losses that are remembered."""
    min_history: int = Field(default=10, ge=1)
    """Losses needed before a statistical panic."""
    absolute_loss: float = Field(default=12.0, gt=0)
    """Loss in nats that a statistical panic must exceed."""
    deviations: float = Field(default=6.0, gt=0)
    """Standard deviations above the mean that it must exceed."""
    mean_ratio: float = Field(default=3.0, gt=1)
    """Multiple of the mean that it must exceed."""
    consecutive: int = Field(default=3, ge=1)
    """Anomalous losses in a row that make a statistical panic."""
    learned_share: float = Field(default=0.6, gt=0, lt=1)
    """Mean loss below this share of chance: a host that knew."""
    chance_margin: float = Field(default=0.065, gt=0, lt=1)
    """Relative distance to chance: a host that forgot it all."""
    penalty: float = Field(default=-10.0, le=0)
    """Reward of the transition to blame."""
    snapshot_every: int = Field(default=5, ge=1)
    """Epochs after which a healthy host is remembered again."""


class HeuristicConfig(BaseModel):
    """When the heuristic germinates, prunes and fossilises."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rotation: tuple[int, ...] = Field(min_length=1)
    """Blueprint ids, germinated in this order."""
    min_epoch: int = Field(default=5, ge=0)
    """First epoch at which a seed may be germinated."""
    plateau_epochs: int = Field(default=3, ge=1)
    """Validations in a row without progress that ask for a seed."""
    prune_below: float = -2.0
    """Contribution in points below which a seed is pruned early."""
    prune_after: int = Field(default=5, ge=0)
    """Least age in epochs of a seed that is pruned early."""
    fossilize_above: float = 0.5
    """Contribution in points above which a held seed becomes permanent."""
    embargo_epochs: int = Field(default=5, ge=0)
    """Epochs after a prune without germination."""
    penalty: float = Field(default=2.0, ge=0)
    """Penalty that a blueprint gets whenever a seed of it is pruned."""
    penalty_decay: float = Field(default=0.5, ge=0, le=1)
    """What is left of a penalty after an epoch."""
    skip_penalty: float = Field(default=3.0, gt=0)
    """Blueprints with a penalty from here on are passed over."""


class GrowthConfig(BaseModel):
    """The rules of a growth environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    training: HostTrainingConfig = HostTrainingConfig()
    """How hosts are trained, and for how many steps."""
    lifecycle: LifecycleConfig = LifecycleConfig()
    """The rules of a seed's life."""
    reward_mode: Literal["score", "shaped"] = "score"
    """Change of the score, or the SHAPED reward."""
    reward: RewardConfig = RewardConfig()
    """Score, and the reward of mode 'score'."""
    shaped: ShapedRewardConfig = ShapedRewardConfig()
    """The reward of mode 'shaped'."""
    governor: GovernorConfig = GovernorConfig()
    """When a host is rolled back, and what that costs."""
    layout: Literal["v114", "v116"] = "v116"
    """Version of what the policy is shown: v116, or v114 with stability and without age."""
    reference_parameters: float | None = Field(default=None, gt=0)
    """Parameters by which rent is measured; None for those of each host, so that the same module costs a small host
    more than a large one."""
