"""The modules a slot can grow, as pure functions over stacked parameters.

A blueprint computes a *residual* r(x); how much of it enters the host (alpha, operator) is decided elsewhere. At birth
the residual of every blueprint is exactly zero. Axes: n modules, D channels, B samples, S tokens; in this order both a
map over channels and a map over tokens are one batched product of long rows, without a copy.

Every function gives its result and a *pullback*, which turns the gradient of the result into those of the input and the
parameters. They are written by hand because the products are so small that recording them would cost as much as they
do. `torch.func.vjp` gives pullbacks of the same form for modules that need not be fast.

Knows nothing about slots, stages, alpha or training.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.hosts.operations import ATTENTION, DEPTHWISE, LORA, MLP, MLP_SMALL, NORM

Pullback: TypeAlias = Callable[[Tensor], tuple[Tensor, Sequence[Tensor]]]
"""Gradient of a result [n, D, B, S] -> gradients of the input [n, D, B, S] and of each parameter."""

Apply: TypeAlias = Callable[[Tensor], tuple[Tensor, Pullback]]
"""Input [n, D, B, S], contiguous -> residual of the same shape, and its pullback."""

Residual: TypeAlias = Callable[[Sequence[Tensor]], Apply]
"""Parameters, each [n, *shape] -> what modules with them compute, also after the parameters were changed in place."""

Initialise: TypeAlias = Callable[[np.random.Generator], list[NDArray[np.float32]]]
"""Draws one module's parameters, in the order of its shapes."""


class Kernel(IntEnum):
    """The functions that `module_kernels` has for networks on the CPU."""

    NORM = 0
    LORA = 1
    MLP = 2
    MIXER = 3
    ATTENTION = 4


@dataclass(frozen=True)
class Blueprint:
    """One kind of module.

    Attributes:
        name: short name.
        index: its id among the policy's thirteen blueprints.
        shapes: shapes of its parameters.
        initialise: draws the parameters of one module.
        residual: what it adds.
        kernel: the compiled function that computes the same, and is used where it can be; None for none, as for a
            residual of your own.
    """

    name: str
    index: int
    shapes: tuple[tuple[int, ...], ...]
    initialise: Initialise
    residual: Residual
    kernel: Kernel | None = None

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

    def bind(self, parameters: Tensor) -> Callable[[Tensor], tuple[Tensor, "FlatPullback"]]:
        """What n modules compute, each on its own input.

        Args:
            parameters: [n, at least parameter_count] flat parameters; further columns are ignored. The modules keep
                reading them: a change in place changes the modules.

        Returns:
            The function from x [n, D, B, S], contiguous, to the residual of the same shape and its pullback.
        """
        parts = parameters[:, : self.parameter_count].split(self.sizes, dim=1)
        apply = self.residual([part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)])

        def run(x: Tensor) -> tuple[Tensor, FlatPullback]:
            residual, pull = apply(x)

            def pullback(gradient: Tensor) -> tuple[Tensor, Tensor]:
                of_input, of_parts = pull(gradient)
                return of_input, torch.cat([part.flatten(1) for part in of_parts], dim=1)

            return residual, pullback

        return run


FlatPullback: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gradient of a result [n, D, B, S] -> gradients of the input [n, D, B, S] and of the parameters [n, count]."""


def rows(x: Tensor) -> Tensor:
    """[n, D, B, S] as a matrix with a row for each channel, [n, D, B S]."""
    return x.view(x.shape[0], x.shape[1], -1)


def columns(x: Tensor) -> Tensor:
    """[n, D, B, S] as a matrix with a column for each token, [n, D B, S]."""
    return x.view(x.shape[0], -1, x.shape[3])


def _norm(channels: int) -> Blueprint:
    """Layer normalisation over channels behind tanh(scale), scale 0 at birth (Ba et al. 2016, eq. 4)."""

    def residual(parameters: Sequence[Tensor]) -> Apply:
        gain, shift, scale = parameters

        def apply(x: Tensor) -> tuple[Tensor, Pullback]:
            strength = torch.tanh(scale)
            centred = rows(x) - rows(x).mean(1, keepdim=True)
            inverse = torch.rsqrt(centred.square().mean(1, keepdim=True) + 1e-5)
            normal = centred.mul_(inverse)

            def pullback(gradient: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
                gradient = rows(gradient)
                of_gain, of_shift = (gradient * normal).sum(2), gradient.sum(2)
                of_strength = (gain * of_gain + shift * of_shift).sum(1, keepdim=True)
                of_normal = gradient * (gain * strength).unsqueeze(2)
                of_normal -= normal * (of_normal * normal).mean(1, keepdim=True) + of_normal.mean(1, keepdim=True)
                of_input = of_normal.mul_(inverse).view_as(x)
                return of_input, (strength * of_gain, strength * of_shift, (1 - strength.square()) * of_strength)

            result = torch.addcmul((shift * strength).unsqueeze(2), normal, (gain * strength).unsqueeze(2))
            return result.view_as(x), pullback

        return apply

    def initialise(_: np.random.Generator) -> list[NDArray[np.float32]]:
        return [np.ones(channels, np.float32), np.zeros(channels, np.float32), np.zeros(1, np.float32)]

    return Blueprint("norm", NORM, ((channels,), (channels,), (1,)), initialise, residual, Kernel.NORM)


def _lora(channels: int, rank: int) -> Blueprint:
    """A linear map of low rank, the outer factor zero at birth (Hu et al. 2021, eq. 3)."""

    def residual(parameters: Sequence[Tensor]) -> Apply:
        inner, outer = parameters

        def apply(x: Tensor) -> tuple[Tensor, Pullback]:
            narrow = torch.bmm(inner, rows(x))

            def pullback(gradient: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
                gradient = rows(gradient)
                of_narrow = torch.bmm(outer.mT, gradient)
                of_parameters = torch.bmm(of_narrow, rows(x).mT), torch.bmm(gradient, narrow.mT)
                return torch.bmm(inner.mT, of_narrow).view_as(x), of_parameters

            return torch.bmm(outer, narrow).view_as(x), pullback

        return apply

    def initialise(generator: np.random.Generator) -> list[NDArray[np.float32]]:
        return [_normal(generator, (rank, channels), channels), np.zeros((channels, rank), np.float32)]

    return Blueprint("lora", LORA, ((rank, channels), (channels, rank)), initialise, residual, Kernel.LORA)


def _mlp(name: str, index: int, channels: int, hidden: int) -> Blueprint:
    """Two linear maps with a ReLU between, the outer one zero at birth."""

    def residual(parameters: Sequence[Tensor]) -> Apply:
        inner, bias, outer = parameters

        def apply(x: Tensor) -> tuple[Tensor, Pullback]:
            hidden_rows = torch.baddbmm(bias.unsqueeze(2), inner, rows(x)).relu_()

            def pullback(gradient: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
                gradient = rows(gradient)
                of_hidden = through_relu(torch.bmm(outer.mT, gradient), hidden_rows)
                of_parameters = (
                    torch.bmm(of_hidden, rows(x).mT),
                    of_hidden.sum(2),
                    torch.bmm(gradient, hidden_rows.mT),
                )
                return torch.bmm(inner.mT, of_hidden).view_as(x), of_parameters

            return torch.bmm(outer, hidden_rows).view_as(x), pullback

        return apply

    def initialise(generator: np.random.Generator) -> list[NDArray[np.float32]]:
        inner = _normal(generator, (hidden, channels), channels / 2)
        return [inner, np.zeros(hidden, np.float32), np.zeros((channels, hidden), np.float32)]

    shapes: tuple[tuple[int, ...], ...] = ((hidden, channels), (hidden,), (channels, hidden))
    return Blueprint(name, index, shapes, initialise, residual, Kernel.MLP)


def _mixer(tokens: int) -> Blueprint:
    """A linear map over tokens, shared by the channels and zero at birth."""

    def residual(parameters: Sequence[Tensor]) -> Apply:
        (weight,) = parameters

        def apply(x: Tensor) -> tuple[Tensor, Pullback]:
            def pullback(gradient: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
                gradient = columns(gradient)
                return torch.bmm(gradient, weight).view_as(x), (torch.bmm(gradient.mT, columns(x)),)

            return torch.bmm(columns(x), weight.mT).view_as(x), pullback

        return apply

    def initialise(_: np.random.Generator) -> list[NDArray[np.float32]]:
        return [np.zeros((tokens, tokens), np.float32)]

    return Blueprint("mixer", DEPTHWISE, ((tokens, tokens),), initialise, residual, Kernel.MIXER)


def _attention(channels: int) -> Blueprint:
    """Single-head self-attention, the output map zero at birth (Vaswani et al. 2017, eq. 1)."""

    def residual(parameters: Sequence[Tensor]) -> Apply:
        query, key, value, output = parameters

        def apply(x: Tensor) -> tuple[Tensor, Pullback]:
            depth, samples = x.shape[1:3]
            scale = 1 / math.sqrt(depth)
            maps = torch.cat([query * scale, key, value], dim=1)
            packed = _by_sample(torch.bmm(maps, rows(x)).unflatten(2, x.shape[2:]))
            queries, keys, values = packed.split(depth, dim=1)
            weights = torch.softmax(torch.bmm(queries.mT, keys), dim=2)
            mixed = _by_channel(torch.bmm(values, weights.mT), samples)

            def pullback(gradient: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
                gradient = rows(gradient)
                of_mixed = _by_sample(torch.bmm(output.mT, gradient).view_as(x))
                of_weights = torch.bmm(of_mixed.mT, values)
                of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, 2, weights.dtype)
                of_packed = [torch.bmm(keys, of_scores.mT), torch.bmm(queries, of_scores), torch.bmm(of_mixed, weights)]
                of_rows = rows(_by_channel(torch.cat(of_packed, dim=1), samples))
                of_query, of_key, of_value = torch.bmm(of_rows, rows(x).mT).split(depth, dim=1)
                of_parameters = (of_query * scale, of_key, of_value, torch.bmm(gradient, rows(mixed).mT))
                return torch.bmm(maps.mT, of_rows).view_as(x), of_parameters

            return torch.bmm(output, rows(mixed)).view_as(x), pullback

        return apply

    def initialise(generator: np.random.Generator) -> list[NDArray[np.float32]]:
        square = (channels, channels)
        maps = [_normal(generator, square, channels) for _ in range(3)]
        return [*maps, np.zeros(square, np.float32)]

    return Blueprint("attention", ATTENTION, ((channels, channels),) * 4, initialise, residual, Kernel.ATTENTION)


def _by_sample(x: Tensor) -> Tensor:
    """[n, D, B, S] as a matrix for each sample, [n B, D, S]."""
    return x.transpose(1, 2).reshape(-1, x.shape[1], x.shape[3])


def _by_channel(x: Tensor, samples: int) -> Tensor:
    """The inverse of `_by_sample`, contiguous."""
    return x.unflatten(0, (-1, samples)).transpose(1, 2).contiguous()


def through_relu(gradient: Tensor, result: Tensor) -> Tensor:
    """The gradient of what a ReLU was applied to, from that of its result; of one shape."""
    return torch.ops.aten.threshold_backward(gradient, result, 0.0)


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
