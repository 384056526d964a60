"""The recurrent actor-critic with the growth experiment's heads, made from two numbers."""

from __future__ import annotations

import torch

from sightline.tamiyo_policy.compat.config import PolicyConfig
from sightline.tamiyo_policy.growth.action_space import growth_action_space
from sightline.tamiyo_policy.growth.observation import ObservationLayout
from sightline.tamiyo_policy.hosts.operations import NUM_BLUEPRINTS
from sightline.tamiyo_policy.policy.config import NetworkConfig
from sightline.tamiyo_policy.policy.network import RecurrentActorCritic
from sightline.tamiyo_policy.policy.records import InputShape


class FactoredRecurrentActorCritic(RecurrentActorCritic):
    """`RecurrentActorCritic` with the heads of `growth_action_space`; its categories are blueprint indices.

    Args:
        state_dim: D, features of an observation.
        num_slots: K.
        config: what the network is made of.
        slot_feature_dim: number of features of each slot at the end of the observation; 0 for none.
        num_blueprints: size of the blueprint head, and how many may stand in a slot.
        generator: source of the initial weights; None is torch's default.

    Raises:
        ValueError: the arguments contradict each other.
    """

    def __init__(
        self,
        state_dim: int,
        num_slots: int,
        config: NetworkConfig = NetworkConfig(hidden_dim=128),  # noqa: B008 - immutable
        *,
        slot_feature_dim: int = 0,
        num_blueprints: int = NUM_BLUEPRINTS,
        generator: torch.Generator | None = None,
    ) -> None:
        inputs = InputShape(state_dim, num_slots, num_blueprints, slot_feature_dim)
        super().__init__(inputs, growth_action_space(num_slots, num_blueprints), config, generator=generator)

    @classmethod
    def from_config(cls, config: PolicyConfig) -> FactoredRecurrentActorCritic:
        """Return the network with its initial weights, on the CPU; the same for the same configuration."""
        layout = ObservationLayout.named(config.layout, len(config.slot_names))
        per_slot = sum(feature.size for feature in layout.slot)
        return cls(
            layout.dimension if config.state_dim is None else config.state_dim,
            len(config.slot_names),
            config,
            slot_feature_dim=per_slot if config.state_dim is None else 0,
            num_blueprints=config.num_blueprints,
            generator=torch.Generator().manual_seed(config.seed),
        )
