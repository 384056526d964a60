"""The networks that seeds grow in: a protocol, and a small token network in five families.

A host is a set of pure functions over stacked flat parameters, one row for each network, cut into stages (stem, one
block before each slot, readout) so that the caller can insert seeds, and rows, between them. A stage is bound to
parameters once and then applied many times; it reads them anew each time. It gives its result and a pullback, which
turns the result's gradient into those of what went in; a host that need not be fast can take pullbacks from
`torch.func.vjp`. Axes: R networks, C input channels, D channels, B samples, S tokens.

Knows nothing about seeds, optimisers or episodes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.hosts.blueprints import columns, rows, through_relu
from sightline.tamiyo_policy.hosts.config import FAMILIES

StemPullback: TypeAlias = Callable[[Tensor], Tensor]
"""Gradient of the result -> gradient of the parameters [R, p]."""

StagePullback: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gradient of the result -> gradients of the hidden activations [R, D, B, S] and of the parameters [R, p]."""

Stem: TypeAlias = Callable[[Tensor], tuple[Tensor, StemPullback]]
"""Inputs [R, C, B, S] -> hidden activations [R, D, B, S], contiguous, and their pullback."""

Block: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, StagePullback]]
"""Hidden activations [R, D, B, S] and inputs [R, C, B, S] -> hidden activations, contiguous, and their pullback."""

Readout: TypeAlias = Callable[[Tensor], tuple[Tensor, StagePullback]]
"""Hidden activations [R, D, B, S] -> logits [R, classes, B] and their pullback."""


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

    def stem(self, parameters: Tensor) -> Stem:
        """The stem with parameters [R, p]."""
        ...

    def block(self, index: int, parameters: Tensor, constants: Tensor) -> Block:
        """A block with parameters [R, p] and constants [R, Q]."""
        ...

    def readout(self, parameters: Tensor) -> Readout:
        """The readout with parameters [R, p]."""
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
        """Q: linear, mixing, bypass, projection [D, C] and scale [K, D]."""
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
                [family in "CE", mixing, family == "D"],
                projection * (family == "D"),
                (10.0 ** (exponents * (family == "B"))).ravel(),
            ]
        )
        return HostDraw(parameters.astype(np.float32), trainable, constants.astype(np.float32))

    def stem(self, parameters: Tensor) -> Stem:
        """Embeds patches and adds the position.

        Args:
            parameters: [R, D (C + S)].
        """
        embedding, position = parameters.split([self.channels * self.input_channels, self.channels * self.tokens], 1)
        embedding = embedding.unflatten(1, (self.channels, -1))
        position = position.unflatten(1, (self.channels, 1, -1))

        def apply(inputs: Tensor) -> tuple[Tensor, StemPullback]:
            pixels = inputs.reshape(*inputs.shape[:2], -1)
            hidden = torch.bmm(embedding, pixels).unflatten(2, inputs.shape[2:])
            hidden += position

            def pullback(gradient: Tensor) -> Tensor:
                of_embedding = torch.bmm(rows(gradient), pixels.mT)
                return torch.cat([of_embedding.flatten(1), gradient.sum(2).flatten(1)], dim=1)

            return hidden, pullback

        return apply

    def block(self, index: int, parameters: Tensor, constants: Tensor) -> Block:
        """Mixes tokens, maps channels, and cuts off below zero, each as far as the family does.

        The family's positive scale is folded into map and bias, which a ReLU permits.

        Args:
            index: of the block.
            parameters: [R, S S + D D + D].
            constants: [R, Q].
        """
        mixer, channel_map, bias = parameters.split(self._block_sizes, dim=1)
        mixer, channel_map = mixer.unflatten(1, (self.tokens, -1)), channel_map.unflatten(1, (self.channels, -1))
        bias = bias.unsqueeze(2)
        linear, mixing, bypass, projection, scale = constants.split(
            [1, 1, 1, self.channels * self.input_channels, self.num_slots * self.channels], dim=1
        )
        scale = scale.narrow(1, index * self.channels, self.channels).unsqueeze(2)
        mixing_rows = mixing[:, 0].nonzero()[:, 0]
        bypassed = bypass[:, 0].nonzero()[:, 0] if index == self.num_slots - 1 else mixing_rows[:0]
        projection = projection.unflatten(1, (self.channels, -1)).index_select(0, bypassed)
        kept = linear.new_ones(len(linear), 1, 1, 1).index_fill_(0, bypassed, 0.0)
        # A block without ReLU is one whose ReLU cuts off at minus infinity.
        depth = torch.where(linear > 0, torch.inf, 0.0)[:, :, None, None]

        def apply(hidden: Tensor, inputs: Tensor) -> tuple[Tensor, StagePullback]:
            weight = channel_map * scale
            mixed = hidden * kept if len(mixing_rows) or len(bypassed) else hidden
            if len(mixing_rows):
                unmixed, mix = hidden.index_select(0, mixing_rows), mixer.index_select(0, mixing_rows)
                mixed.index_add_(0, mixing_rows, torch.bmm(columns(unmixed), mix.mT).view_as(unmixed))
            if len(bypassed):
                pixels = rows(inputs.index_select(0, bypassed))
                mixed.index_add_(0, bypassed, torch.bmm(projection, pixels).unflatten(2, hidden.shape[2:]))
            result = torch.baddbmm(bias * scale, weight, rows(mixed)).view_as(hidden).clamp_(min=-depth)

            def pullback(gradient: Tensor) -> tuple[Tensor, Tensor]:
                of_straight = rows(through_relu(gradient, result + depth))
                of_weight = torch.bmm(of_straight, rows(mixed).mT) * scale
                of_bias = of_straight.sum(2, keepdim=True) * scale
                of_hidden = torch.bmm(weight.mT, of_straight).view_as(hidden)
                if len(bypassed):
                    of_hidden *= kept
                of_mixer = torch.zeros(mixer.shape, device=mixer.device, dtype=mixer.dtype)
                if len(mixing_rows):
                    of_mixed = of_hidden.index_select(0, mixing_rows)
                    of_mixer.index_copy_(0, mixing_rows, torch.bmm(columns(of_mixed).mT, columns(unmixed)))
                    of_hidden.index_add_(0, mixing_rows, torch.bmm(columns(of_mixed), mix).view_as(of_mixed))
                return of_hidden, torch.cat([part.flatten(1) for part in (of_mixer, of_weight, of_bias)], dim=1)

            return result, pullback

        return apply

    def readout(self, parameters: Tensor) -> Readout:
        """Averages the tokens and maps channels to classes.

        Args:
            parameters: [R, classes (D + 1)].
        """
        weight, bias = parameters.split([self.num_classes * self.channels, self.num_classes], dim=1)
        weight, bias = weight.unflatten(1, (-1, self.channels)), bias.unsqueeze(2)

        def apply(hidden: Tensor) -> tuple[Tensor, StagePullback]:
            share = hidden.new_full((self.tokens, 1), 1 / self.tokens)  # faster than a mean over short rows
            pooled = torch.mm(hidden.view(-1, self.tokens), share).view(hidden.shape[:3])

            def pullback(gradient: Tensor) -> tuple[Tensor, Tensor]:
                of_parameters = [torch.bmm(gradient, pooled.mT).flatten(1), gradient.sum(2)]
                of_pooled = torch.bmm(weight.mT, gradient).div_(self.tokens)
                return of_pooled.unsqueeze(3).expand(hidden.shape).contiguous(), torch.cat(of_parameters, dim=1)

            return torch.baddbmm(bias, weight, pooled), pullback

        return apply


def _normal(generator: np.random.Generator, size: int, fan_in: float) -> NDArray[np.float64]:
    """Normal values of variance 1 / fan_in."""
    return generator.standard_normal(size) / math.sqrt(fan_in)
