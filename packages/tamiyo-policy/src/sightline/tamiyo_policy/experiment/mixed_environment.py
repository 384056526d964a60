"""Hosts of different shapes and data side by side, with the face of one growth environment. Knows no policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor

from sightline.tamiyo_policy.growth.config import GrowthConfig
from sightline.tamiyo_policy.growth.environment import GrowthEnvironment
from sightline.tamiyo_policy.growth.observation import ObservationLayout
from sightline.tamiyo_policy.growth.records import GrowthInfo, GrowthObservation, GrowthStep
from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace


class Growing(Protocol):
    """What training needs of a growth environment."""

    @property
    def config(self) -> GrowthConfig:
        """The rules."""
        ...

    @property
    def num_envs(self) -> int:
        """E."""
        ...

    @property
    def num_slots(self) -> int:
        """K."""
        ...

    @property
    def action_space(self) -> FactoredActionSpace:
        """The eight heads."""
        ...

    @property
    def layout(self) -> ObservationLayout:
        """The columns of observations."""
        ...

    def reset(self, seeds: Sequence[int], families: Sequence[str]) -> GrowthObservation:
        """Begin E episodes."""
        ...

    def step(self, actions: Tensor) -> GrowthStep:
        """Execute one action in every host."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that the future depends on."""
        ...

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue where `state_dict` was taken."""
        ...


BuildEnvironment = Callable[[int, int], GrowthEnvironment]
"""Seed of an episode and a number of hosts -> an environment of so many, of the shape and data that the seed draws."""


class MixedEnvironment:
    """Growth environments one after the other, made anew at every reset, one for each run of equal seeds.

    Args:
        build: makes them; all must have the same slots, layout, rules and length of episodes.
        num_envs: E, hosts in all.
    """

    def __init__(self, build: BuildEnvironment, num_envs: int) -> None:
        self._build = build
        self._seeds: list[int] = []
        self._parts: list[GrowthEnvironment] = []
        example = build(0, 1)
        self.config, self.action_space, self.layout = example.config, example.action_space, example.layout
        self.num_envs, self.num_slots = num_envs, example.num_slots

    def reset(self, seeds: Sequence[int], families: Sequence[str]) -> GrowthObservation:
        """Begin E episodes with fresh hosts; see `GrowthEnvironment.reset`.

        Raises:
            ValueError: the number of seeds or families is not E, or a family does not exist.
        """
        if len(seeds) != self.num_envs or len(families) != self.num_envs:
            raise ValueError(f"{self.num_envs} hosts need as many seeds and families: {len(seeds)}, {len(families)}")
        self._make(seeds)
        at, seen = 0, []
        for part in self._parts:
            rows = slice(at, at + part.num_envs)
            seen.append(part.reset(seeds[rows], families[rows]))
            at = rows.stop
        return _observations(seen)

    def step(self, actions: Tensor) -> GrowthStep:
        """Execute one action in every host and train all hosts for one interval; see `GrowthEnvironment.step`."""
        shares = actions.split([part.num_envs for part in self._parts])
        taken = [part.step(share) for part, share in zip(self._parts, shares, strict=True)]
        return GrowthStep(
            _observations([step.observation for step in taken]),
            *(torch.cat(column) for column in zip(*(step[1:4] for step in taken), strict=True)),
            GrowthInfo(*(torch.cat(column) for column in zip(*(step.info for step in taken), strict=True))),
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that the future depends on, as tensors by name."""
        states = [part.state_dict() for part in self._parts]
        parts = {f"{at}/{name}": tensor for at, state in enumerate(states) for name, tensor in state.items()}
        return parts | {"seeds": torch.tensor(self._seeds, dtype=torch.int64)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue where `state_dict` was taken, with the same `build` and number of hosts.

        Raises:
            ValueError: the state is of another number of hosts, or of other environments.
        """
        seeds = tensors["seeds"].tolist()
        if len(seeds) not in (0, self.num_envs):
            raise ValueError(f"the saved environment has {len(seeds)} hosts, this one {self.num_envs}")
        self._make(seeds)
        for at, part in enumerate(self._parts):
            start = f"{at}/"
            part.load_state_dict({key.removeprefix(start): tensors[key] for key in tensors if key.startswith(start)})

    def _make(self, seeds: Sequence[int]) -> None:
        self._seeds = list(seeds)
        self._parts = [self._build(seed, len(list(run))) for seed, run in groupby(self._seeds)]


def _observations(parts: Sequence[GrowthObservation]) -> GrowthObservation:
    masks = {name: torch.cat([part.masks[name] for part in parts]) for name in parts[0].masks}
    features, blueprints = (torch.cat(column) for column in zip(*(part[:2] for part in parts), strict=True))
    return GrowthObservation(features, blueprints, masks)
