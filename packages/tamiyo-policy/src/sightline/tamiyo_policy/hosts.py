"""The networks that seeds grow in: a protocol, and a small token network in five families.

A host is a set of pure functions over stacked flat parameters, one row for each network, cut into stages (stem, one
block before each slot, readout) so that the caller can insert seeds, and rows, between them. Axes: R networks,
C input channels, D channels, S tokens, B samples.

Knows nothing about seeds, optimisers or episodes.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.blueprints import channel_linear, token_mix

FAMILIES = ("A", "B", "C", "D", "E")


@dataclass(frozen=True)
class HostDraw:
    """One freshly drawn host.

    Attributes:
        parameters: [P] float32, the stages' parameters one after the other.
        trainable: [P] bool; the others stay as they were drawn and do not count as parameters.
        constants: [Q] float32, what is fixed by the family and the draw.
    """

    parameters: NDArray[np.float32]
    trainable: NDArray[np.bool_]
    constants: NDArray[np.float32]


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
        """[R, p] and [R, C, S, B] -> [R, D, S, B]."""
        ...

    def block(self, index: int, parameters: Tensor, constants: Tensor, hidden: Tensor, inputs: Tensor) -> Tensor:
        """[R, p], [R, Q], [R, D, S, B] and [R, C, S, B] -> [R, D, S, B]."""
        ...

    def readout(self, parameters: Tensor, hidden: Tensor) -> Tensor:
        """[R, p] and [R, D, S, B] -> logits [R, classes, B]."""
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

    Attributes:
        input_channels: C.
        tokens: S.
        num_classes: number of classes.
        channels: D.
        num_slots: K.
    """

    input_channels: int = 4
    tokens: int = 16
    num_classes: int = 10
    channels: int = 8
    num_slots: int = 3

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
        """Q: lower bound of the activation, mixing, bypass, projection [D, C] and scale [K, D]."""
        return 3 + self.channels * (self.input_channels + self.num_slots)

    def draw(self, family: str, generator: np.random.Generator) -> HostDraw:
        """Draw a host of one family.

        Args:
            family: one of `FAMILIES`.
            generator: advanced by the draw; the parameters that families share are drawn first, so that they are
                equal for equal generators.

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
                [-math.inf if family in "CE" else 0.0, mixing, family == "D"],
                projection * (family == "D"),
                (10.0 ** (exponents * (family == "B"))).ravel(),
            ]
        )
        return HostDraw(parameters.astype(np.float32), trainable, constants.astype(np.float32))

    def stem(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Embed patches and add the position.

        Args:
            parameters: [R, D (C + S)].
            inputs: [R, C, S, B].

        Returns:
            [R, D, S, B].
        """
        embedding, position = parameters.split([self.channels * self.input_channels, self.channels * self.tokens], 1)
        embedded = channel_linear(embedding.reshape(-1, self.channels, self.input_channels), inputs)
        return embedded + position.reshape(-1, self.channels, self.tokens, 1)

    def block(self, index: int, parameters: Tensor, constants: Tensor, hidden: Tensor, inputs: Tensor) -> Tensor:
        """Mix tokens, map channels, and cut off below the family's bound.

        The family's positive scale is folded into map and bias, which a ReLU permits.

        Args:
            index: of the block.
            parameters: [R, S S + D D + D].
            constants: [R, Q].
            hidden: [R, D, S, B], what the slot before gave.
            inputs: [R, C, S, B], read by family D's last block.

        Returns:
            [R, D, S, B].
        """
        mixer, channel_map, bias = parameters.split(self._block_sizes, dim=1)
        bound, mixing, bypass, projection, scale = constants.split(
            [1, 1, 1, self.channels * self.input_channels, self.num_slots * self.channels], dim=1
        )
        if index == self.num_slots - 1 and len(rows := bypass[:, 0].nonzero()[:, 0]):
            weight = projection.index_select(0, rows).reshape(-1, self.channels, self.input_channels)
            hidden = hidden.index_copy(0, rows, channel_linear(weight, inputs.index_select(0, rows)))
        if len(rows := mixing[:, 0].nonzero()[:, 0]):
            weight = mixer.index_select(0, rows).reshape(-1, self.tokens, self.tokens)
            hidden = hidden.index_add(0, rows, token_mix(weight, hidden.index_select(0, rows)))
        scale = scale.narrow(1, index * self.channels, self.channels)
        weight = channel_map.reshape(-1, self.channels, self.channels) * scale[:, :, None]
        return _LowerBound.apply(channel_linear(weight, hidden, bias * scale), bound[:, :, None, None])

    def readout(self, parameters: Tensor, hidden: Tensor) -> Tensor:
        """Average the tokens and map channels to classes.

        Args:
            parameters: [R, classes (D + 1)].
            hidden: [R, D, S, B].

        Returns:
            Logits [R, classes, B].
        """
        weight, bias = parameters.split([self.num_classes * self.channels, self.num_classes], dim=1)
        weight = weight.reshape(-1, self.num_classes, self.channels)
        return (weight @ hidden.mean(dim=2)) + bias.unsqueeze(2)


class _LowerBound(torch.autograd.Function):
    """max(x, bound); its backward pass is half the work of that of `torch.clamp`, as the bound needs no gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, bound: Tensor) -> Tensor:
        result = torch.maximum(x, bound)
        ctx.save_for_backward(result, bound)
        return result

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None]:
        result, bound = ctx.saved_tensors
        return gradients[0] * (result > bound), None


def _normal(generator: np.random.Generator, size: int, fan_in: float) -> NDArray[np.float64]:
    """Normal values of variance 1 / fan_in."""
    return generator.standard_normal(size) / math.sqrt(fan_in)
