"""What a policy of the growth experiment is made of, as it stands in configuration files and beside saved weights."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from sightline.tamiyo_policy.hosts.operations import NUM_BLUEPRINTS
from sightline.tamiyo_policy.policy.config import NetworkConfig


class PolicyConfig(NetworkConfig):
    """What a policy is made of; weights fit only a policy with the same."""

    slot_names: tuple[str, ...] = Field(default=("r0c0", "r0c1", "r0c2"), min_length=1)
    """Slots in the order of the slot head's choices."""
    layout: Literal["v114", "v116"] = "v116"
    """Observation layout, which gives the state's size."""
    state_dim: int | None = Field(default=None, ge=1)
    """Size of another observation; None for that of the layout."""
    hidden_dim: int = Field(default=128, ge=2)
    """Units of the LSTM."""
    num_blueprints: int = Field(default=NUM_BLUEPRINTS, ge=1)
    """Size of the blueprint head, noop included."""
    seed: int = Field(default=0, ge=0)
    """Seed of the initial weights."""

    @field_validator("slot_names")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError(f"slot names must differ: {names!r}")
        return names
