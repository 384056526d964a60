"""Hidden units that a slot can hold any number of, over channels and over tokens, as one module of a stack.

A layer of units adds outer relu(inner x + bias) to what it reads. Unused units are zeros and stay so: they add nothing,
and no gradient reaches them. Axes: n modules, D channels, B samples, S tokens; a layer has N inputs and outputs (D or
S), U units and M positions.

Knows nothing about which units are worth adding, nor about training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sightline.tamiyo_policy.hosts.blueprints import Blueprint, columns, rows
from sightline.tamiyo_policy.hosts.operations import NUM_BLUEPRINTS

UNITS = NUM_BLUEPRINTS
"""Id of a module of units, beyond the thirteen that policies know."""


@dataclass(frozen=True)
class Units:
    """The hidden units of one layer."""

    inner: Tensor
    """[U, N]."""
    bias: Tensor
    """[U]."""
    outer: Tensor
    """[N, U]."""

    def __len__(self) -> int:
        return len(self.bias)

    @property
    def price(self) -> int:
        """Parameters of one unit."""
        return unit_price(self.inner.shape[1])

    @property
    def parameter_count(self) -> int:
        """Number of parameters."""
        return len(self) * self.price

    def activations(self, x: Tensor) -> Tensor:
        """Return what the units pass on, [U, M], of an input [N, M]."""
        return rectified(torch.addmm(self.bias[:, None], self.inner, x))

    def added(self, x: Tensor) -> Tensor:
        """Return what the layer adds to its input [N, M], of the same shape."""
        return self.outer @ self.activations(x)

    def chosen(self, places: Tensor) -> Units:
        """Return some of the units, int64 [U'] or bool [U]."""
        return Units(self.inner[places], self.bias[places], self.outer[:, places])

    def joined(self, other: Units) -> Units:
        """Return the units of both layers in one."""
        return Units(
            torch.cat([self.inner, other.inner]),
            torch.cat([self.bias, other.bias]),
            torch.cat([self.outer, other.outer], dim=1),
        )


def unit_price(inputs: int) -> int:
    """Return the parameters of a unit with so many inputs: one weight in and out for each, and a bias."""
    return 2 * inputs + 1


def no_units(inputs: int) -> Units:
    """Return a layer without units."""
    return Units(torch.zeros(0, inputs), torch.zeros(0), torch.zeros(inputs, 0))


def random_units(count: int, inputs: int, generator: np.random.Generator) -> Units:
    """Return units that read random directions of length 1 and add nothing yet.

    Args:
        count: U.
        inputs: N.
        generator: source of the draw, which advances it.
    """
    drawn = generator.standard_normal((count, inputs))
    inner = torch.from_numpy(drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).float()
    return Units(inner, torch.zeros(count), torch.zeros(inputs, count))


def rectified(x: Tensor) -> Tensor:
    """Return max(x, 0) with derivative 1 at 0, so that a unit whose weights in are zero can learn them."""
    return torch.where(x >= 0, x, 0.0)


def units_blueprint(channels: int, tokens: int, capacity: tuple[int, int]) -> Blueprint:
    """Return the module of a slot: a layer of units over channels beside one over tokens, both empty at birth.

    Args:
        channels: D.
        tokens: S.
        capacity: room for units in each of the two, at least 1.
    """
    shapes = tuple(
        shape
        for inputs, count in zip((channels, tokens), capacity, strict=True)
        for shape in ((count, inputs), (count,), (inputs, count))
    )
    return Blueprint("units", UNITS, shapes, lambda _: [np.zeros(shape, np.float32) for shape in shapes], _residual)


def as_layers(parameters: Tensor, module: Blueprint) -> list[Units]:
    """Return the two layers of a module, unused units too, as copies of its flat parameters [at least W]."""
    flat = parameters[: module.parameter_count].split(module.sizes)
    parts = [part.reshape(shape).clone() for part, shape in zip(flat, module.shapes, strict=True)]
    return [Units(*parts[:3]), Units(*parts[3:])]


def as_parameters(layers: Sequence[Units], module: Blueprint) -> Tensor:
    """Return flat parameters [W] of a module with these two layers; the room that is left is zeros.

    Raises:
        ValueError: a layer has more units than there is room for.
    """
    parts = [part for layer in layers for part in (layer.inner, layer.bias, layer.outer)]
    flat = []
    for part, shape in zip(parts, module.shapes, strict=True):
        if any(size > room for size, room in zip(part.shape, shape, strict=True)):
            raise ValueError(f"a layer of shape {tuple(part.shape)} has no room in one of {shape}")
        filled = torch.zeros(shape)
        filled[tuple(slice(size) for size in part.shape)] = part
        flat.append(filled.ravel())
    return torch.cat(flat)


def as_positions(x: Tensor) -> list[Tensor]:
    """Return [D, B, S] as each of the two layers reads it: channels [D, B S] and tokens [S, D B]."""
    return [x.reshape(len(x), -1), x.reshape(-1, x.shape[2]).T]


def _residual(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    inner, bias, outer = parameters[:3]
    over_channels = torch.bmm(outer, rectified(torch.baddbmm(bias.unsqueeze(2), inner, rows(x)))).view_as(x)
    inner, bias, outer = parameters[3:]
    hidden = rectified(torch.baddbmm(bias.unsqueeze(1), columns(x), inner.mT))
    return over_channels + torch.bmm(hidden, outer.mT).view_as(x)
