"""A network together with the scale of the observations it was trained on, so that neither is used without the other.

Knows nothing about environments, rollouts or losses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.tamiyo_policy.policy.network import RecurrentActorCritic
from sightline.tamiyo_policy.policy.records import ActionOutput, PolicyInput
from sightline.tamiyo_policy.policy.recurrence import Hidden
from sightline.tamiyo_policy.ppo.normalisation import ObservationNormaliser


@dataclass(frozen=True)
class TrainedPolicy:
    """What acts, from observations as environments give them."""

    network: RecurrentActorCritic
    """The policy; it reads standardised observations, so use `act` rather than the network itself."""
    normaliser: ObservationNormaliser | None
    """What standardises observations before the network reads them; None where it was trained on plain ones."""

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def normalised(self, states: Tensor) -> Tensor:
        """Return observations [..., D] as the network reads them."""
        return states if self.normaliser is None else self.normaliser.normalise(states)

    def act(
        self,
        seen: PolicyInput,
        hidden: Hidden | None = None,
        *,
        episode_starts: Tensor | None = None,
        deterministic: bool,
        generator: torch.Generator | None = None,
        with_value: bool = True,
    ) -> ActionOutput:
        """Return what the policy does in one step of B environments.

        Args:
            seen: what is observed, not standardised, on the network's device.
            hidden: state before the step; None is the one in which episodes start.
            episode_starts: bool [B], True where the step is the first of its episode; None for nowhere.
            deterministic: the most probable choice of every head; else one drawn at random.
            generator: source of the draws, on the network's device; None is torch's default.
            with_value: whether the critic is asked; else the value is NaN.
        """
        return self.network.get_action(
            self.normalised(seen.states).unsqueeze(1),
            seen.categories,
            hidden=hidden,
            masks=seen.masks,
            episode_starts=None if episode_starts is None else episode_starts.unsqueeze(1),
            deterministic=deterministic,
            generator=generator,
            with_value=with_value,
        )
