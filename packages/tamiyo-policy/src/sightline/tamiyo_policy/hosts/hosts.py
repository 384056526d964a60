"""The networks that seeds grow in: a protocol, and a small token network in five families.

A host is a set of pure differentiable functions over stacked flat parameters, one row for each network, cut into stages
(stem, one block before each slot, readout) so that the caller can insert seeds, and rows, between them. Axes:
R networks, C input channels, D channels, B samples, S tokens.

Knows nothing about seeds, gradients, optimisers or episodes.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.hosts.blueprints import columns, rows
from sightline.tamiyo_policy.hosts.config import FAMILIES


@dataclass(frozen=True)
class HostDraw:
    """One freshly drawn host."""

    parameters: NDArray[np.float32]
    """[P] float32, the stages' parameters one after the other."""
    trainable: NDArray[np.bool_]
    """[P] bool; the others stay as they were drawn and do not count as parameters."""
    constants: NDArray[np.float32]
    """[Q] float32, what is fixed by the family and the draw."""


@runtime_checkable
class Host(Protocol):
    """What growth needs of a host network."""

    @property
    def families(self) -> tuple[str, ...]:
        """Names of the kinds of host that can be drawn."""
        ...

    @property
    def num_slots(self) -> int:
        """K, the number of blocks; a slot follows each."""
        ...

    @property
    def stage_sizes(self) -> tuple[int, ...]:
        """Number of parameters of the stem, of each block, and of the readout: K + 2 values that sum to P."""
        ...

    @property
    def constant_size(self) -> int:
        """Q."""
        ...

    def draw(self, family: str, generator: np.random.Generator) -> HostDraw:
        """Draw a host of one family."""
        ...

    def stem(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Turn inputs [R, C, B, S] into hidden activations [R, D, B, S], with parameters [R, p]."""
        ...

    def block(self, index: int, parameters: Tensor, constants: Tensor, hidden: Tensor, inputs: Tensor) -> Tensor:
        """Turn hidden activations [R, D, B, S] into the next, with parameters [R, p] and constants [R, Q]."""
        ...

    def readout(self, parameters: Tensor, hidden: Tensor) -> Tensor:
        """Turn hidden activations [R, D, B, S] into logits [R, classes, B], with parameters [R, p]."""
        ...


@dataclass(frozen=True)
class TokenHost:
    """Patch embedding plus position, K blocks of channel maps with a slot after each, mean pool, linear readout.

    A block is relu(W (x + M x) + b) with an optional token mixer M. What a network lacks depends on its family, which
    no observation shows:

    - A has no token mixer: only a seed that mixes tokens lets it see more than one patch at a time.
    - B multiplies each channel by 10^u, u uniform in [-1.2, 1.2], after each block: complete but badly scaled.
    - C has no ReLU: it is linear in the pixels.
    - D lacks the token mixer, and its last block reads a fixed random projection of the pixels and nothing of what
      came before: only a seed in the last slot has any effect, or any gradient.
    - E has neither token mixer nor ReLU: it has two needs.
    """

    input_channels: int = 4
    """C."""
    tokens: int = 16
    """S."""
    num_classes: int = 10
    """Number of classes."""
    channels: int = 8
    """D."""
    num_slots: int = 3
    """K."""

    @property
    def families(self) -> tuple[str, ...]:
        """Names of the kinds of host that can be drawn."""
        return FAMILIES

    @property
    def stage_sizes(self) -> tuple[int, ...]:
        """Number of parameters of the stem, of each block, and of the readout."""
        stem = self.channels * (self.input_channels + self.tokens)
        readout = self.num_classes * (self.channels + 1)
        return (stem, *[sum(self._block_sizes)] * self.num_slots, readout)

    @property
    def _block_sizes(self) -> list[int]:
        """Elements of a block's token mixer, channel map and bias."""
        return [self.tokens**2, self.channels**2, self.channels]

    @property
    def constant_size(self) -> int:
        """Q: linear, mixing, bypass, projection [D, C] and scale [K, D]."""
        return 3 + self.channels * (self.input_channels + self.num_slots)

    def draw(self, family: str, generator: np.random.Generator) -> HostDraw:
        """Draw a host of one family.

        Args:
            family: one of `FAMILIES`.
            generator: source of the draw, which advances it; the parameters that families share are drawn first, so
                that they are equal for equal generators.

        Returns:
            Parameters, which of them train, and the family's constants.

        Raises:
            ValueError: for an unknown family.
        """
        if family not in FAMILIES:
            raise ValueError(f"unknown host family {family[:40]!r}; it is one of {FAMILIES}")
        depth = self.channels
        stem = _normal(generator, depth * self.input_channels, self.input_channels)
        position = 0.5 * _normal(generator, depth * self.tokens, 1)
        maps = [_normal(generator, depth**2, depth / 2) for _ in range(self.num_slots)]
        readout = _normal(generator, self.num_classes * depth, depth)
        mixers = [0.2 * _normal(generator, self.tokens**2, self.tokens) for _ in range(self.num_slots)]
        exponents = generator.uniform(-1.2, 1.2, (self.num_slots, depth))
        projection = _normal(generator, depth * self.input_channels, self.input_channels)

        mixing = family in "BC"
        blocks = [
            part
            for mixer, channel_map in zip(mixers, maps, strict=True)
            for part in (mixer * mixing, channel_map, np.zeros(depth))
        ]
        parameters = np.concatenate([stem, position, *blocks, readout, np.zeros(self.num_classes)])
        trainable = np.ones(parameters.shape, np.bool_)
        if not mixing:
            for start in np.cumsum(self.stage_sizes)[: self.num_slots]:
                trainable[start : start + self.tokens**2] = False
        constants = np.concatenate(
            [
                [family in "CE", mixing, family == "D"],
                projection * (family == "D"),
                (10.0 ** (exponents * (family == "B"))).ravel(),
            ]
        )
        return HostDraw(parameters.astype(np.float32), trainable, constants.astype(np.float32))

    def altered(self, drawn: HostDraw, *, depth: int, gain: float) -> HostDraw:
        """Return a draw in which the last blocks only hand on what they get, and the maps of the others are scaled.

        Such a block is relu(x), or x in a linear host: its map is the identity, and nothing of it trains or counts.

        Args:
            drawn: host from `draw`.
            depth: blocks that learn, 1 to K.
            gain: factor of their first channel maps.
        """
        parameters, trainable, constants = drawn.parameters.copy(), drawn.trainable.copy(), drawn.constants.copy()
        sizes = self._block_sizes
        starts = np.cumsum(self.stage_sizes)[: self.num_slots]
        for index, start in enumerate(starts.tolist()):
            at = start + sizes[0]
            if index < depth:
                parameters[at : at + sizes[1]] *= gain
                continue
            parameters[start : start + sum(sizes)] = 0.0
            parameters[at : at + sizes[1]] = np.eye(self.channels).ravel()
            trainable[start : start + sum(sizes)] = False
            scale = self.constant_size - (self.num_slots - index) * self.channels
            constants[scale : scale + self.channels] = 1.0
        return HostDraw(parameters, trainable, constants)

    def stem(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Embed patches and add the position.

        Args:
            parameters: [R, D (C + S)].
            inputs: [R, C, B, S].

        Returns:
            Hidden activations [R, D, B, S].
        """
        embedding, position = parameters.split([self.channels * self.input_channels, self.channels * self.tokens], 1)
        embedded = torch.bmm(embedding.unflatten(1, (self.channels, -1)), rows(inputs))
        return embedded.unflatten(2, inputs.shape[2:]) + position.unflatten(1, (self.channels, 1, -1))

    def block(self, index: int, parameters: Tensor, constants: Tensor, hidden: Tensor, inputs: Tensor) -> Tensor:
        """Mix tokens, map channels, and cut off below zero, each as far as the family does.

        Args:
            index: number of the block.
            parameters: [R, S S + D D + D].
            constants: [R, Q].
            hidden: [R, D, B, S].
            inputs: [R, C, B, S].

        Returns:
            Hidden activations [R, D, B, S].
        """
        mixer, channel_map, bias = parameters.split(self._block_sizes, dim=1)
        linear, mixing, bypass, projection, scale = constants.split(
            [1, 1, 1, self.channels * self.input_channels, self.num_slots * self.channels], dim=1
        )
        mixes = mixing[:, 0].nonzero()[:, 0]
        if len(mixes):
            mix = mixer.index_select(0, mixes).unflatten(1, (self.tokens, -1))
            unmixed = hidden.index_select(0, mixes)
            hidden = hidden.index_add(0, mixes, torch.bmm(columns(unmixed), mix.mT).view_as(unmixed))
        if index == self.num_slots - 1 and bool(bypass.any()):
            pixels = torch.bmm(projection.unflatten(1, (self.channels, -1)), rows(inputs)).view_as(hidden)
            hidden = torch.where(bypass[:, :, None, None] > 0, pixels, hidden)
        # The family's scale is positive and can go before the ReLU, into the map, which is smaller than what it makes.
        scale = scale.narrow(1, index * self.channels, self.channels).unsqueeze(2)
        channel_map = channel_map.unflatten(1, (self.channels, -1)) * scale
        mapped = torch.baddbmm(bias.unsqueeze(2) * scale, channel_map, rows(hidden))
        return torch.where(linear.unsqueeze(2) > 0, mapped, mapped.relu()).view_as(hidden)

    def readout(self, parameters: Tensor, hidden: Tensor) -> Tensor:
        """Average the tokens and map channels to classes.

        Args:
            parameters: [R, classes (D + 1)].
            hidden: [R, D, B, S].

        Returns:
            Logits [R, classes, B].
        """
        weight, bias = parameters.split([self.num_classes * self.channels, self.num_classes], dim=1)
        return torch.baddbmm(bias.unsqueeze(2), weight.unflatten(1, (-1, self.channels)), hidden.mean(3))


def _normal(generator: np.random.Generator, size: int, fan_in: float) -> NDArray[np.float64]:
    """Return normal values of variance 1 / fan_in."""
    return generator.standard_normal(size) / math.sqrt(fan_in)
