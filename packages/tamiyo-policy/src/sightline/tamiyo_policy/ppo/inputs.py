"""What an environment returns, as what a policy network reads; one object for rollouts, predictions and evaluations.

A row of a network's input holds, if asked for, the previous reward and the previous action as one-hot codes, and then
the observation. Knows nothing about networks or learning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.policy.records import ImageColumns, InputShape, PolicyInput
from sightline.tamiyo_policy.ppo.config import RecurrentPPOConfig
from sightline.tamiyo_policy.spaces.actions import ActionCodec
from sightline.tamiyo_policy.spaces.masks import Flags, MaskReader
from sightline.tamiyo_policy.spaces.observations import ObservationEncoder


class LastStep(NamedTuple):
    """What was done before the observation that is read."""

    actions: Tensor
    """int64 [B, H], choices of the heads, -1 where an episode begins."""
    rewards: Tensor
    """float [B], 0 where an episode begins."""

    @classmethod
    def none(cls, batch: int, heads: int, device: torch.device) -> LastStep:
        """Return what stands before the first steps of episodes."""
        return cls(torch.full((batch, heads), -1, device=device), torch.zeros(batch, device=device))

    def forgotten(self, starts: Tensor) -> LastStep:
        """Return it without what lies before episodes that start, bool [B]."""
        return LastStep(self.actions.masked_fill(starts[:, None], -1), self.rewards.masked_fill(starts, 0.0))


class InputReader:
    """Reads observations and information of environments of one kind.

    Args:
        environment: gives spaces and what it says about itself: `factored_action_space`, `continuous_features`,
            `num_slots`, `num_categories`, `slot_feature_dim`.
        config: which extra inputs there are, and into how many values continuous actions are cut.
        device: device of the tensors.

    Attributes:
        shape: what the network is told about its input.
        continuous: bool [D], columns that may be standardised.
        codec: heads and actions.

    Raises:
        TypeError: a space has a part of no fixed size.
        ValueError: an action space has no bounds.
    """

    def __init__(self, environment: VectorEnv[Any, Any, Any], config: RecurrentPPOConfig, device: torch.device) -> None:
        self.observations = ObservationEncoder(environment.single_observation_space)
        self.codec = ActionCodec(
            environment.single_action_space,
            bins=config.action_bins,
            heads=getattr(environment, "factored_action_space", None),
        )
        self._config, self._device = config, device
        self._masks = MaskReader(self.codec.heads, environment)
        codes = sum(self.codec.heads.sizes) if config.previous_action else 0
        extra = codes + config.previous_reward
        self._shows_last = extra > 0
        self.shape = InputShape(
            extra + self.observations.size,
            slots=int(getattr(environment, "num_slots", 0)),
            categories=int(getattr(environment, "num_categories", 0)),
            slot_features=int(getattr(environment, "slot_feature_dim", 0)),
            images=tuple(_moved(image, extra) for image in self.observations.images),
        )
        told = getattr(environment, "continuous_features", None)
        observed = torch.as_tensor(self.observations.continuous if told is None else told, dtype=torch.bool)
        before = torch.tensor([True] * config.previous_reward + [False] * codes, dtype=torch.bool)
        self.continuous = torch.cat([before, observed])

    @property
    def heads(self) -> int:
        """Number of heads of an action."""
        return len(self.codec.heads.names)

    def read(
        self, observations: Any, information: Mapping[str, Any], last: LastStep, starts: Flags, ended: Flags
    ) -> PolicyInput:
        """Return what the policy sees of E environments.

        Args:
            observations: a batch as vector environments give it.
            information: the environments', with masks and categories if they have any.
            last: what was done before.
            starts: [E], where an episode begins, so that nothing was done before.
            ended: [E], where an episode has ended and the next action will be ignored.
        """
        masks = self._masks.read(information, ended)
        if self._shows_last:
            last = last.forgotten(torch.from_numpy(starts).to(self._device))
        return self.put_together(self.observations.rows(observations), last, information.get("categories"), masks)

    def read_last(
        self, observations: Any, information: Mapping[str, Any], last: LastStep, chosen: NDArray[np.int64]
    ) -> PolicyInput:
        """Return what the policy sees of the last states of some episodes, [len(chosen)], from `final_obs`.

        Args:
            observations: `final_obs`: a batch, or an array [E] of single observations.
            information: `final_info`.
            last: the step just taken, of all E environments.
            chosen: numbers of the environments.
        """
        rows = torch.from_numpy(chosen).to(self._device)
        before = LastStep(last.actions[rows], last.rewards[rows])
        categories = information.get("categories")
        return self.put_together(
            self.observations.chosen_rows(observations, chosen),
            before,
            None if categories is None else categories[chosen],
            self._masks.told(information, chosen),
        )

    def told(self, information: Mapping[str, Any]) -> dict[str, Flags] | None:
        """Return the masks that are in an environment's information, see `MaskReader.told`."""
        return self._masks.told(information)

    def split(self, masks: Any) -> dict[str, Flags]:
        """Return masks by head, see `MaskReader.split`."""
        return self._masks.split(masks)

    def put_together(
        self, rows: NDArray[np.float32], last: LastStep, categories: Any, masks: Mapping[str, Flags] | None
    ) -> PolicyInput:
        """Return tensors on the device, the previous step before the observation [B, D]."""
        states = torch.from_numpy(rows).to(self._device)
        parts = []
        if self._config.previous_reward:
            parts.append(last.rewards[:, None].float())
        if self._config.previous_action:
            for size, column in zip(self.codec.heads.sizes, last.actions.unbind(1), strict=True):
                parts.append((column[:, None] == torch.arange(size, device=self._device)).float())
        return PolicyInput(
            states=torch.cat([*parts, states], dim=1) if parts else states,
            categories=None if categories is None else torch.as_tensor(categories, device=self._device),
            masks=None
            if masks is None
            else {name: torch.as_tensor(each).to(self._device) for name, each in masks.items()},
        )


def _moved(image: ImageColumns, by: int) -> ImageColumns:
    return ImageColumns(
        image.start + by,
        height=image.height,
        width=image.width,
        channels=image.channels,
        channels_last=image.channels_last,
    )
