"""The modules a slot can grow, as pure functions over stacked parameters.

A blueprint computes a *residual* r(x); how much of it enters the host (alpha, operator) is decided elsewhere. At birth
the residual of every blueprint is exactly zero. Axes: n modules, D channels, S tokens, B samples. Samples are the
innermost axis because small matrix products over a long last axis are several times faster on a CPU.

Knows nothing about slots, stages, alpha or training.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NOOP = 0
ATTENTION = 2
NORM = 3
DEPTHWISE = 4
LORA = 8
MLP_SMALL = 10
MLP = 11

Residual: TypeAlias = Callable[[Sequence[Tensor], Tensor], Tensor]
"""(parameters, each [n, *shape]; x [n, D, S, B]) -> residual [n, D, S, B]."""

Initialise: TypeAlias = Callable[[np.random.Generator], list[NDArray[np.float32]]]
"""Draws one module's parameters, in the order of its shapes."""


@dataclass(frozen=True)
class Blueprint:
    """One kind of module.

    Attributes:
        name: short name.
        index: its id among the policy's thirteen blueprints.
        shapes: shapes of its parameters.
        initialise: draws the parameters of one module.
        residual: what it adds.
    """

    name: str
    index: int
    shapes: tuple[tuple[int, ...], ...]
    initialise: Initialise
    residual: Residual

    @property
    def sizes(self) -> list[int]:
        """Number of elements of each parameter."""
        return [math.prod(shape) for shape in self.shapes]

    @property
    def parameter_count(self) -> int:
        """Number of parameters."""
        return sum(self.sizes)

    def draw(self, generator: np.random.Generator) -> NDArray[np.float32]:
        """One module's parameters, flat.

        Args:
            generator: advanced by the draw.

        Returns:
            [parameter_count] float32.
        """
        return np.concatenate([np.asarray(part, np.float32).ravel() for part in self.initialise(generator)])

    def apply(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The residual of n modules, each on its own input.

        Args:
            parameters: [n, at least parameter_count] flat parameters; further columns are ignored.
            x: [n, D, S, B].

        Returns:
            [n, D, S, B].
        """
        parts = parameters.narrow(1, 0, self.parameter_count).split(self.sizes, dim=1)
        return self.residual([part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)], x)


def channel_linear(weight: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear map over channels, the same for every token and sample.

    Args:
        weight: [n, O, D].
        x: [n, D, S, B].
        bias: [n, O], if any.

    Returns:
        [n, O, S, B].
    """
    flat = x.reshape(x.shape[0], x.shape[1], -1)
    product = torch.bmm(weight, flat) if bias is None else torch.baddbmm(bias.unsqueeze(2), weight, flat)
    return product.view(x.shape[0], -1, *x.shape[2:])


def token_mix(weight: Tensor, x: Tensor) -> Tensor:
    """A linear map over tokens, the same for every channel and sample.

    Args:
        weight: [n, S, S].
        x: [n, D, S, B].

    Returns:
        [n, D, S, B].
    """
    count, channels, tokens, samples = x.shape
    shared = weight.unsqueeze(1).expand(-1, channels, -1, -1).reshape(count * channels, tokens, tokens)
    return torch.bmm(shared, x.reshape(count * channels, tokens, samples)).view(x.shape)


def _norm(channels: int) -> Blueprint:
    """Layer normalisation over channels behind tanh(scale), scale 0 at birth (Ba et al. 2016, eq. 4)."""

    def residual(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        gain, shift, scale = parameters
        centred = x - x.mean(1, keepdim=True)
        normal = centred * torch.rsqrt(centred.square().mean(1, keepdim=True) + 1e-5)
        strength = torch.tanh(scale)
        return normal * (gain * strength)[:, :, None, None] + (shift * strength)[:, :, None, None]

    def initialise(_: np.random.Generator) -> list[NDArray[np.float32]]:
        return [np.ones(channels, np.float32), np.zeros(channels, np.float32), np.zeros(1, np.float32)]

    return Blueprint("norm", NORM, ((channels,), (channels,), (1,)), initialise, residual)


def _lora(channels: int, rank: int) -> Blueprint:
    """A linear map of low rank, the outer factor zero at birth (Hu et al. 2021, eq. 3)."""

    def residual(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        inner, outer = parameters
        return channel_linear(outer, channel_linear(inner, x))

    def initialise(generator: np.random.Generator) -> list[NDArray[np.float32]]:
        return [_normal(generator, (rank, channels), channels), np.zeros((channels, rank), np.float32)]

    return Blueprint("lora", LORA, ((rank, channels), (channels, rank)), initialise, residual)


def _mlp(name: str, index: int, channels: int, hidden: int) -> Blueprint:
    """Two linear maps with a ReLU between, the outer one zero at birth."""

    def residual(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        inner, bias, outer = parameters
        return channel_linear(outer, channel_linear(inner, x, bias).relu_())

    def initialise(generator: np.random.Generator) -> list[NDArray[np.float32]]:
        inner = _normal(generator, (hidden, channels), channels / 2)
        return [inner, np.zeros(hidden, np.float32), np.zeros((channels, hidden), np.float32)]

    shapes: tuple[tuple[int, ...], ...] = ((hidden, channels), (hidden,), (channels, hidden))
    return Blueprint(name, index, shapes, initialise, residual)


def _mixer(tokens: int) -> Blueprint:
    """A linear map over tokens, shared by the channels and zero at birth."""

    def residual(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        return token_mix(parameters[0], x)

    def initialise(_: np.random.Generator) -> list[NDArray[np.float32]]:
        return [np.zeros((tokens, tokens), np.float32)]

    return Blueprint("mixer", DEPTHWISE, ((tokens, tokens),), initialise, residual)


def _attention(channels: int) -> Blueprint:
    """Single-head self-attention, the output map zero at birth (Vaswani et al. 2017, eq. 1)."""

    def residual(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        query, key, value, output = parameters
        count, depth, tokens, samples = x.shape
        packed = channel_linear(torch.cat([query / math.sqrt(depth), key, value], dim=1), x)
        # bmm falls back to one product at a time unless its operands, and its gradient, are contiguous.
        rows = packed.permute(0, 3, 2, 1).contiguous().view(count * samples, tokens, 3 * depth)
        queries, keys, values = rows.split(depth, dim=2)
        weights = torch.softmax(torch.bmm(queries, keys.transpose(1, 2)), dim=2)
        mixed = torch.bmm(weights, values)
        if mixed.requires_grad:
            mixed.register_hook(Tensor.contiguous)
        mixed = mixed.view(count, samples, tokens, depth).permute(0, 3, 2, 1)
        return channel_linear(output, mixed)

    def initialise(generator: np.random.Generator) -> list[NDArray[np.float32]]:
        square = (channels, channels)
        maps = [_normal(generator, square, channels) for _ in range(3)]
        return [*maps, np.zeros(square, np.float32)]

    return Blueprint("attention", ATTENTION, ((channels, channels),) * 4, initialise, residual)


def _normal(generator: np.random.Generator, shape: tuple[int, ...], fan_in: float) -> NDArray[np.float32]:
    """Normal values of variance 1 / fan_in."""
    return (generator.standard_normal(shape) / math.sqrt(fan_in)).astype(np.float32)


def token_blueprints(channels: int = 8, tokens: int = 16) -> dict[int, Blueprint]:
    """The six modules for hosts that work on tokens, keyed by their id among the policy's thirteen.

    Sizes for 8 channels and 16 tokens: norm 17, lora (rank 2) 32, mixer 256, attention 256, mlp (2x) 272,
    wide mlp (4x) 544 parameters. The mixer has the id of the depthwise convolution, the thirteen's other map over
    positions that channels do not share in.

    Args:
        channels: D.
        tokens: S.

    Returns:
        Blueprints by id; `NOOP` is absent because it can never be grown.
    """
    modules = [
        _attention(channels),
        _norm(channels),
        _mixer(tokens),
        _lora(channels, rank=2),
        _mlp("mlp2x", MLP_SMALL, channels, 2 * channels),
        _mlp("wide4x", MLP, channels, 4 * channels),
    ]
    return {module.index: module for module in modules}
