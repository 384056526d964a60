"""Any action space of fixed size as heads of a factored one, and choices of heads back as actions.

A continuous action is cut into a grid: with a few choices for each dimension and one head each, discrete policies do as
well as Gaussian ones (Tang and Agrawal 2020), and keep masks and the exact entropy. Knows nothing about policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.spaces.leaves import assemble, leaf_spaces

Choices = NDArray[np.int64]


@dataclass(frozen=True)
class _Leaf:
    """One part of an action: a head for each of its elements."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    sizes: tuple[int, ...]
    start: NDArray[Any]
    """What choice 0 stands for, by head."""
    step: NDArray[Any]
    """What the next choice is more, by head."""

    is_number: bool = False
    """Whether the part of a single action is a plain number and no array."""

    def single(self, choices: Choices) -> Any:
        """Return the part of the first action."""
        values = self.values(choices)
        return values[0] if self.is_number else values[0, ...]

    def values(self, choices: Choices) -> NDArray[Any]:
        """Return parts of actions [B, ...] for choices [B, heads]."""
        values = self.start + self.step * choices
        if values.dtype.kind == "f" and self.dtype.kind in "iu":
            values = np.rint(values)
        return values.astype(self.dtype, copy=False).reshape(len(choices), *self.shape)


class ActionCodec:
    """How choices of heads become actions of a space.

    Args:
        space: space of a single environment: `Discrete`, `MultiDiscrete`, `MultiBinary`, bounded `Box`, and `Dict` and
            `Tuple` of such.
        bins: number of values, at equal distances, that each dimension of a `Box` can take; at least 2.
        heads: the environment's own description of its actions, which are then taken as they are; None for one head
            for each element: `"action"` if there is only one and it is `Discrete`, else `"action_0"`, `"action_1"`, ...

    Attributes:
        heads: the factored space.

    Raises:
        TypeError: a part has no fixed size.
        ValueError: a Box is not bounded, or the environment's own heads do not fit the space.
    """

    def __init__(
        self, space: gymnasium.Space[Any], *, bins: int = 11, heads: FactoredActionSpace | None = None
    ) -> None:
        self._space = space
        self._leaves = [_leaf(path, part, bins) for path, part in leaf_spaces(space, "action")]
        sizes = tuple(size for leaf in self._leaves for size in leaf.sizes)
        if heads is None:
            single = isinstance(space, spaces.Discrete)
            names = ("action",) if single else tuple(f"action_{index}" for index in range(len(sizes)))
            heads = FactoredActionSpace.independent(names, sizes)
        elif heads.sizes != sizes:
            raise ValueError(f"factored_action_space has heads of {heads.sizes!r} choices, the action space {sizes!r}")
        self.heads = heads
        bounds = np.cumsum([0, *(len(leaf.sizes) for leaf in self._leaves)]).tolist()
        self._columns = [slice(*pair) for pair in pairwise(bounds)]

    def taken(self, choices: Choices) -> Any:
        """Return a batch of actions as vector environments take it: every part [B, ...].

        Args:
            choices: [B, H], of the heads in their order.
        """
        return assemble(self._space, iter([leaf.values(part) for leaf, part in self._parts(choices)]))

    def single(self, choices: Choices) -> Any:
        """Return the action of one environment, without a batch axis, for choices [1, H]."""
        return assemble(self._space, iter([leaf.single(part) for leaf, part in self._parts(choices)]))

    def _parts(self, choices: Choices) -> list[tuple[_Leaf, Choices]]:
        return [(leaf, choices[:, columns]) for leaf, columns in zip(self._leaves, self._columns, strict=True)]


def _leaf(path: str, space: gymnasium.Space[Any], bins: int) -> _Leaf:
    match space:
        case spaces.Discrete():
            return _Leaf((), np.dtype(np.int64), (int(space.n),), np.array([space.start]), np.ones(1, np.int64), True)
        case spaces.MultiDiscrete():
            sizes = tuple(int(size) for size in space.nvec.ravel())
            return _Leaf(space.shape, np.dtype(np.int64), sizes, space.start.ravel(), np.ones(len(sizes), np.int64))
        case spaces.MultiBinary():
            count = int(np.prod(space.shape))
            return _Leaf(
                space.shape, np.dtype(np.int8), (2,) * count, np.zeros(count, np.int8), np.ones(count, np.int8)
            )
        case spaces.Box():
            low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
            if not (np.isfinite(low) & np.isfinite(high)).all():
                raise ValueError(
                    f"{path} is {space!r:.200}, which has no bounds to cut into {bins} values: bound it with "
                    "gymnasium.wrappers.TransformAction"
                )
            sizes = np.full(len(low), bins)
            if np.issubdtype(space.dtype, np.integer):
                sizes = np.minimum(sizes, high - low + 1).astype(np.int64)
            step = (high - low) / np.maximum(sizes - 1, 1)
            return _Leaf(space.shape, np.dtype(space.dtype), tuple(sizes.tolist()), low, step)
    raise TypeError(
        f"{path} is {space!r:.200}, which has no fixed number of choices: turn it into Discrete, MultiDiscrete, "
        "MultiBinary, Box, Dict or Tuple with gymnasium.wrappers.TransformAction"
    )
