"""Observations of any fixed size as rows of float32, [B, D], and what stands in which column.

Numbers stay as they are, choices become one-hot codes, images keep their pixels (a network with `InputShape.images`
reads them by convolution). Knows nothing about networks or environments.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sightline.tamiyo_policy.policy.records import ImageColumns
from sightline.tamiyo_policy.spaces.leaves import leaf_spaces, leaf_values

Floats = NDArray[np.float32]

_SMALLEST_IMAGE = 8  # sides of fewer pixels are read as plain numbers
_MOST_CHANNELS = 32


@dataclass(frozen=True)
class _Leaf:
    """One part of an observation: where its columns are, and how it becomes numbers."""

    path: str
    shape: tuple[int, ...]
    columns: slice
    sizes: NDArray[np.int64] | None
    """Numbers of choices of each element, for parts that become one-hot codes."""
    start: NDArray[np.int64] | None
    image: ImageColumns | None

    def rows(self, values: Any) -> Floats:
        """Return [B, columns] of a batch [B, ...]."""
        batch = np.asarray(values)
        if batch.shape[1:] != self.shape:
            raise ValueError(f"{self.path} must have shape [B, {list(self.shape)}], not {list(batch.shape)}")
        if self.sizes is None or self.start is None:
            return batch.reshape(len(batch), -1).astype(np.float32, copy=False)
        choices = batch.reshape(len(batch), -1).astype(np.int64, copy=False) - self.start
        if (choices < 0).any() or (choices >= self.sizes).any():
            row, element = np.argwhere((choices < 0) | (choices >= self.sizes))[0].tolist()
            low, high = self.start[element], self.start[element] + self.sizes[element] - 1
            raise ValueError(
                f"{self.path} goes from {low} to {high}, environment {row} says {choices[row, element] + low}"
            )
        codes = np.zeros((len(batch), self.columns.stop - self.columns.start), np.float32)
        codes[np.arange(len(batch))[:, None], choices + self._first] = 1.0
        return codes

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        """Which column is the first of each element's code."""
        assert self.sizes is not None
        return np.cumsum(self.sizes) - self.sizes


class ObservationEncoder:
    """How observations of one space become rows.

    Args:
        space: space of a single environment: `Box`, `Discrete`, `MultiDiscrete`, `MultiBinary`, and `Dict` and `Tuple`
            of such.

    Attributes:
        size: D, columns of a row.
        images: which columns are images: parts of dtype uint8 with two axes, or three of which the first or last is
            the channels, and sides of at least 8 pixels.
        continuous: bool [D], columns that may be standardised: numbers that are neither codes nor pixels.

    Raises:
        TypeError: a part has no fixed size; the message says which.
    """

    def __init__(self, space: gymnasium.Space[Any]) -> None:
        self._space = space
        self._leaves: list[_Leaf] = []
        at = 0
        for path, part in leaf_spaces(space, "observation"):
            leaf = _leaf(path, part, at)
            at = leaf.columns.stop
            self._leaves.append(leaf)
        self.size = at
        self.images = tuple(leaf.image for leaf in self._leaves if leaf.image is not None)
        self.continuous = np.concatenate(
            [np.full(leaf.columns.stop - leaf.columns.start, leaf.image is None and leaf.sizes is None)
             for leaf in self._leaves] or [np.zeros(0, np.bool_)]
        )  # fmt: skip

    def rows(self, observations: Any) -> Floats:
        """Return rows [B, D] of a batch as vector environments give it: every part [B, ...].

        Raises:
            ValueError: a part has another shape, or a choice is out of range; the message names both.
        """
        parts = leaf_values(self._space, observations)
        rows = [leaf.rows(values) for leaf, values in zip(self._leaves, parts, strict=True)]
        return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)

    def is_single(self, observation: Any) -> bool:
        """Return whether this is one observation without a batch axis."""
        value = next(leaf_values(self._space, observation))
        return np.ndim(value) == len(self._leaves[0].shape)

    def single_row(self, observation: Any) -> Floats:
        """Return the row [1, D] of one observation without a batch axis."""
        parts = leaf_values(self._space, observation)
        rows = [leaf.rows(np.asarray(value)[None]) for leaf, value in zip(self._leaves, parts, strict=True)]
        return np.concatenate(rows, axis=1)

    def chosen_rows(self, observations: Any, chosen: NDArray[np.int64]) -> Floats:
        """Return rows of some environments, from a batch or from an array [E] of single observations (`final_obs`)."""
        if isinstance(observations, np.ndarray) and observations.dtype == object:
            return np.concatenate([self.single_row(observations[index]) for index in chosen])
        return self.rows(observations)[chosen]


def _leaf(path: str, space: gymnasium.Space[Any], at: int) -> _Leaf:
    match space:
        case spaces.Box():
            columns = slice(at, at + int(np.prod(space.shape)))
            return _Leaf(path, space.shape, columns, None, None, _image(space, at))
        case spaces.MultiBinary():
            return _Leaf(path, space.shape, slice(at, at + int(np.prod(space.shape))), None, None, None)
        case spaces.Discrete() | spaces.MultiDiscrete():
            sizes = np.atleast_1d(space.n if isinstance(space, spaces.Discrete) else space.nvec.ravel()).astype(
                np.int64
            )
            start = np.atleast_1d(np.ravel(space.start)).astype(np.int64)
            return _Leaf(path, space.shape or (), slice(at, at + int(sizes.sum())), sizes, start, None)
    raise TypeError(
        f"{path} is {space!r:.200}, which has no fixed size: turn it into Box, Discrete, MultiDiscrete, MultiBinary, "
        "Dict or Tuple with gymnasium.wrappers.TransformObservation"
    )


def _image(space: spaces.Box, at: int) -> ImageColumns | None:
    """Return where the pixels are, if these are pixels."""
    shape = space.shape
    if space.dtype != np.uint8 or len(shape) not in (2, 3):
        return None
    if len(shape) == 2:
        shape = (*shape, 1)
    channels_last = shape[2] <= shape[0]
    height, width, channels = shape if channels_last else (shape[1], shape[2], shape[0])
    if min(height, width) < _SMALLEST_IMAGE or channels > _MOST_CHANNELS:
        return None
    return ImageColumns(at, height=height, width=width, channels=channels, channels_last=channels_last)
