"""What a policy of the growth experiment is made of, as it stands in configuration files and beside saved weights."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from sightline.tamiyo_policy.growth.observation import ObservationLayout
from sightline.tamiyo_policy.hosts.operations import NUM_BLUEPRINTS
from sightline.tamiyo_policy.policy.config import ValueMode
from sightline.tamiyo_policy.policy.network import FactoredRecurrentActorCritic


class PolicyConfig(BaseModel):
    """What a policy is made of; weights fit only a policy with the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slot_names: tuple[str, ...] = Field(
        ("r0c0", "r0c1", "r0c2"), min_length=1, description="Slots in the order of the slot head's choices."
    )
    layout: Literal["v114", "v116"] = Field("v116", description="Observation layout, which gives the state's size.")
    state_dim: int | None = Field(None, ge=1, description="Size of another observation; None for that of the layout.")
    hidden_dim: int = Field(128, ge=2, description="Units of the LSTM.")
    value_mode: ValueMode = Field("state", description="What the critic estimates.")
    condition_sub_heads: bool = Field(False, description="Whether sub-heads know the operation and the chosen slot.")
    recurrent: bool = Field(True, description="False takes the memory away, as a control.")
    epsilon: float = Field(0.0, ge=0, lt=1, description="Share of the uniform distribution over legal choices.")
    num_blueprints: int = Field(NUM_BLUEPRINTS, ge=1, description="Size of the blueprint head, noop included.")
    seed: int = Field(0, ge=0, description="Seed of the initial weights.")

    @field_validator("slot_names")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError(f"slot names must differ: {names!r}")
        return names

    def make_network(self) -> FactoredRecurrentActorCritic:
        """The network with its initial weights, on the CPU; the same for the same configuration."""
        layout = ObservationLayout.named(self.layout, len(self.slot_names))
        per_slot = sum(feature.size for feature in layout.slot)
        return FactoredRecurrentActorCritic(
            layout.dimension if self.state_dim is None else self.state_dim,
            len(self.slot_names),
            hidden_dim=self.hidden_dim,
            value_mode=self.value_mode,
            condition_sub_heads=self.condition_sub_heads,
            slot_feature_dim=per_slot if self.state_dim is None else 0,
            recurrent=self.recurrent,
            epsilon=self.epsilon,
            num_blueprints=self.num_blueprints,
            generator=torch.Generator().manual_seed(self.seed),
        )
