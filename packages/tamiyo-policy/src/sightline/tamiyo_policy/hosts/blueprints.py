"""The modules a slot can grow, as pure differentiable functions over stacked parameters.

A blueprint computes a *residual* r(x); how much of it enters the host (alpha, operator) is decided elsewhere. At birth
the residual of every blueprint is exactly zero. Axes: n modules, D channels, B samples, S tokens; in this order both a
map over channels and a map over tokens are one batched product of long rows, without a copy.

Knows nothing about slots, stages, alpha, training or how gradients are taken.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.hosts.operations import ATTENTION, DEPTHWISE, LORA, MLP, MLP_SMALL, NORM

Residual: TypeAlias = Callable[[Sequence[Tensor], Tensor], Tensor]
"""Parameters, each [n, *shape], and input [n, D, B, S], contiguous -> residual of the input's shape."""

Initialise: TypeAlias = Callable[[np.random.Generator], list[NDArray[np.float32]]]
"""Draws one module's parameters, in the order of its shapes."""


@dataclass(frozen=True)
class Blueprint:
    """One kind of module."""

    name: str
    """Short name."""
    index: int
    """Its id among the policy's thirteen blueprints."""
    shapes: tuple[tuple[int, ...], ...]
    """Shapes of its parameters."""
    initialise: Initialise
    """Draws the parameters of one module."""
    residual: Residual
    """What it adds."""

    @property
    def sizes(self) -> list[int]:
        """Number of elements of each parameter."""
        return [math.prod(shape) for shape in self.shapes]

    @property
    def parameter_count(self) -> int:
        """Number of parameters."""
        return sum(self.sizes)

    def draw(self, generator: np.random.Generator) -> NDArray[np.float32]:
        """Draw one module's parameters, flat.

        Args:
            generator: source of the draw, which advances it.

        Returns:
            [parameter_count] float32.
        """
        return np.concatenate([np.asarray(part, np.float32).ravel() for part in self.initialise(generator)])

    def apply(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return what n modules add, each on its own input.

        Args:
            parameters: [n, at least parameter_count] flat parameters; further columns are ignored.
            x: [n, D, B, S], contiguous.

        Returns:
            The residual [n, D, B, S].
        """
        parts = parameters[:, : self.parameter_count].split(self.sizes, dim=1)
        return self.residual([part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)], x)


def rows(x: Tensor) -> Tensor:
    """Return [n, D, B, S] as a matrix with a row for each channel, [n, D, B S]."""
    return x.reshape(x.shape[0], x.shape[1], -1)


def columns(x: Tensor) -> Tensor:
    """Return [n, D, B, S] as a matrix with a column for each token, [n, D B, S]."""
    return x.reshape(x.shape[0], -1, x.shape[3])


def norm(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return layer normalisation over channels times tanh(scale), scale 0 at birth (Ba et al. 2016, eq. 4)."""
    gain, shift, scale = (part.unsqueeze(2) for part in parameters)
    centred = rows(x) - rows(x).mean(1, keepdim=True)
    normal = centred * torch.rsqrt(centred.square().mean(1, keepdim=True) + 1e-5)
    strength = torch.tanh(scale)
    return torch.addcmul(shift * strength, normal, gain * strength).view_as(x)


def lora(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return a linear map of low rank, the outer factor zero at birth (Hu et al. 2021, eq. 3)."""
    inner, outer = parameters
    return torch.bmm(outer, torch.bmm(inner, rows(x))).view_as(x)


def mlp(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return two linear maps with a ReLU between, the outer one zero at birth."""
    inner, bias, outer = parameters
    return torch.bmm(outer, torch.baddbmm(bias.unsqueeze(2), inner, rows(x)).relu()).view_as(x)


def mixer(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return a linear map over tokens, shared by the channels and zero at birth."""
    (weight,) = parameters
    return torch.bmm(columns(x), weight.mT).view_as(x)


def attention(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return single-head self-attention, the output map zero at birth (Vaswani et al. 2017, eq. 1)."""
    query, key, value, output = parameters
    depth, samples = x.shape[1:3]
    maps = torch.cat([query / math.sqrt(depth), key, value], dim=1)
    packed = torch.bmm(maps, rows(x)).unflatten(2, x.shape[2:])  # [n, 3 D, B, S]
    queries, keys, values = packed.transpose(1, 2).reshape(-1, 3 * depth, x.shape[3]).split(depth, dim=1)
    weights = torch.softmax(torch.bmm(queries.mT, keys), dim=2)
    mixed = torch.bmm(values, weights.mT).unflatten(0, (-1, samples)).transpose(1, 2)
    return torch.bmm(output, rows(mixed)).view_as(x)


def token_blueprints(channels: int = 8, tokens: int = 16) -> dict[int, Blueprint]:
    """Return the six modules for hosts that work on tokens, keyed by their id among the policy's thirteen.

    Sizes for 8 channels and 16 tokens: norm 17, lora (rank 2) 32, mixer 256, attention 256, mlp (2x) 272,
    wide mlp (4x) 544 parameters. The mixer has the id of the depthwise convolution, the thirteen's other map over
    positions that channels do not share in.

    Args:
        channels: D.
        tokens: S.

    Returns:
        Blueprints by id; `NOOP` is absent because it can never be grown.
    """
    square = (channels, channels)
    modules = [
        _blueprint("attention", ATTENTION, attention, (square,) * 4, {0: channels, 1: channels, 2: channels}),
        Blueprint("norm", NORM, ((channels,), (channels,), (1,)), lambda _: _unit_norm(channels), norm),
        _blueprint("mixer", DEPTHWISE, mixer, ((tokens, tokens),), {}),
        _blueprint("lora", LORA, lora, ((2, channels), (channels, 2)), {0: channels}),
    ]
    for name, index, hidden in (("mlp2x", MLP_SMALL, 2 * channels), ("wide4x", MLP, 4 * channels)):
        shapes = ((hidden, channels), (hidden,), (channels, hidden))
        modules.append(_blueprint(name, index, mlp, shapes, {0: channels / 2}))
    return {module.index: module for module in modules}


def _blueprint(
    name: str, index: int, residual: Residual, shapes: tuple[tuple[int, ...], ...], fans: dict[int, float]
) -> Blueprint:
    """Return a blueprint whose parameters are normal of variance 1 / fan where there is a fan, else zero."""

    def initialise(generator: np.random.Generator) -> list[NDArray[np.float32]]:
        return [
            (generator.standard_normal(shape) / math.sqrt(fans[at])).astype(np.float32)
            if at in fans
            else np.zeros(shape, np.float32)
            for at, shape in enumerate(shapes)
        ]

    return Blueprint(name, index, shapes, initialise, residual)


def _unit_norm(channels: int) -> list[NDArray[np.float32]]:
    return [np.ones(channels, np.float32), np.zeros(channels, np.float32), np.zeros(1, np.float32)]
