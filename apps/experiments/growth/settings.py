"""The settings of the growth experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from lab.settings import WorkerSettings
from sightline.tamiyo_policy import GrowthConfig, GrowthTrainingConfig
from sightline.tamiyo_policy.growth import GovernorConfig, HeuristicConfig, RewardConfig
from sightline.tamiyo_policy.hosts import ATTENTION, DEPTHWISE, LORA, MLP_SMALL, NORM, LifecycleConfig


class GrowthSettings(WorkerSettings):
    """Train policies that grow networks while these train, and compare them with everything that does not learn to."""

    SMOKE: ClassVar[Mapping[str, Any]] = {
        "growth": {
            "training": {"steps": 8, "minibatches": 1, "batch_size": 16},
            "lifecycle": {"mask_closed_gates": True, "auto_forward": ["G1", "G2", "G3"], "min_training_epochs": 1},
        },
        "environments": 5,
        "training": {"rounds": 2, "policy": {"num_steps": 8, "hidden_dim": 32, "ppo": {"minibatches": 2}}},
        "training_seeds": (0, 1),
        "evaluation_episodes": 10,
        "mode_episodes": 5,
        "stack": 10,
        "search_steps": 1,
        "search_episodes": 1,
        "finalists": 3,
        "finalist_episodes": 5,
    }
    growth: GrowthConfig = GrowthConfig(
        lifecycle=LifecycleConfig(mask_closed_gates=True, auto_forward=frozenset({"G1", "G2", "G3"})),
        reward=RewardConfig(gamma=0.995),
        governor=GovernorConfig(penalty=-2.0),
        reference_parameters=466.0,
    )
    """The rules of growing, the same for all methods: seeds advance by themselves when their gate opens, and what is
    left to decide is what to plant where and when, and what to keep. In a YAML file, give its parts in full."""
    environments: int = Field(default=25, ge=1)
    """Hosts that grow side by side in training; with `training.copies` of each, five episodes, one of each family."""
    training: GrowthTrainingConfig = GrowthTrainingConfig()
    """The learner."""
    training_seeds: tuple[int, ...] = Field(default=(0, 1, 2, 3, 4), min_length=1)
    """One policy is trained, and evaluated on all episodes, for each."""
    control_seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Training seeds of each policy that is a control."""
    memoryless: bool = True
    """Also train a policy without memory, with the same learner."""
    joint_ratio: bool = True
    """Also train a policy with one ratio for all heads of an action, in place of one for each head that mattered."""

    evaluation_episodes: int = Field(default=200, ge=2)
    """Episodes that every method plays, with the same hosts and data."""
    mode_episodes: int = Field(default=10, ge=0)
    """The first of them are also played with the most probable actions in place of drawn ones; 0 for none."""
    stack: int = Field(default=100, ge=1)
    """Episodes played at once in evaluation."""

    search_steps: int = Field(default=15, ge=1)
    """Length of the episodes in which the search for the best fixed topology tries every topology there is."""
    search_episodes: int = Field(default=5, ge=1)
    """Episodes per topology in the search; fewer than there are families would leave some out."""
    finalists: int = Field(default=10, ge=1)
    """Topologies that are tried again, in episodes of full length."""
    finalist_episodes: int = Field(default=10, ge=1)
    """Episodes for each of these."""
    larger_host: bool = True
    """Also train hosts that have from the beginning as many parameters as the learned policy grows to on average."""

    heuristic: HeuristicConfig = HeuristicConfig(
        rotation=(DEPTHWISE, NORM, MLP_SMALL, LORA, ATTENTION), embargo_epochs=2, prune_after=3
    )
    """The careful gardener."""
    greedy_above: float = 1.0
    """Contribution in points above which the greedy counterfactual rule keeps a seed."""
    plateau_epochs: int = Field(default=3, ge=1)
    """Validations without progress after which the fixed schedule plants the next seed."""

    def identity(self) -> dict[str, Any]:
        """Return what a run is known by."""
        identity = super().identity()
        identity["growth"]["lifecycle"]["auto_forward"].sort()  # a set, whose order differs between processes
        return identity

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        if self.search_steps > self.growth.training.steps:
            raise ValueError(f"search_steps must be at most {self.growth.training.steps}, the length of an episode")
        if self.training.policy.num_steps != self.growth.training.steps:
            raise ValueError("training.policy.num_steps must be growth.training.steps: a rollout is one episode")
        if self.environments < self.training.policy.ppo.minibatches:
            raise ValueError("environments must be at least training.policy.ppo.minibatches")
        if self.environments % self.training.copies:
            raise ValueError(f"environments must be a multiple of training.copies, which is {self.training.copies}")
        return self
