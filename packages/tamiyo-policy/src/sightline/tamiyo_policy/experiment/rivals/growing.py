"""Four published rules of which hidden units to add where: Net2Net, GradMax, Firefly and AutoGrow.

Each is reduced to what it says about new units, in layers that add to what they read. A layer's place is 2 k for the
channels and 2 k + 1 for the tokens of slot k. Axes: N inputs and outputs of a layer, U units, M positions.

- Net2Net (Chen, Goodfellow and Shlens 2016) keeps the function and looks at nothing: an empty layer gets a unit that
  adds nothing (deeper), else a unit drawn at random is copied (wider).
- GradMax (Evci et al. 2022) keeps the function: weights in are zero, and weights out are those for which the gradient
  of the weights in is the largest, by singular vectors.
- Firefly (Wu et al. 2020) takes small changes by how much they lower the loss to first order: random new units, with
  the weights out that lower it most, and splits of a unit into two that read a little to either side.
- AutoGrow (Wen et al. 2020) adds random modules at a steady pace, to one slot after another, and no more to a slot in
  which accuracy did not rise.

Nothing here knows about networks, schedules or rent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sightline.tamiyo_policy.experiment.rivals.units import Units, no_units, random_units, rectified

NOISE: Final = 0.01
"""Length of what Net2Net's copies differ by, as a share of the weights in; alike, they would stay alike for ever."""
LENGTH: Final = 1.0
"""Length of the weights out of a unit by GradMax, and on average by AutoGrow."""
STEP: Final = 0.1
"""Firefly's epsilon: length of the weights out of a new unit, and of what a split moves the weights in by."""
CANDIDATES: Final = 32
"""New units that Firefly draws for each layer."""
DIRECTIONS: Final = 8
"""Directions in which Firefly tries to split each unit."""
LEAST_RISE: Final = 0.5
"""Points of accuracy by which a slot must have risen for AutoGrow to go on with it."""


@dataclass(frozen=True)
class Sight:
    """What a rule may look at when a network grows."""

    layers: Sequence[Units]
    """2 K layers by place."""
    inputs: Sequence[Tensor]
    """[N, M] for each place, what its layer reads on the samples that are next to be trained on."""
    gradients: Sequence[Tensor]
    """[N, M] for each place, gradient of the mean loss by what its layer adds; 0 in a severed slot."""
    accuracy: float
    """Percent of the validation part."""
    left: float
    """Parameters that may be added now."""
    generator: np.random.Generator
    """Source of all draws, the network's own."""


Grow: TypeAlias = Callable[[Sight], list[Units]]
"""Returns the layers after growing, by place; their further parameters are at most `left`."""

RivalName = Literal["Net2Net", "GradMax", "Firefly", "AutoGrow"]


def begin(name: RivalName) -> Grow:
    """Return the rule of one network, with a memory of its own."""
    rules: dict[RivalName, Callable[[], Grow]] = {
        "Net2Net": lambda: net2net,
        "GradMax": lambda: gradmax,
        "Firefly": lambda: firefly,
        "AutoGrow": autogrow,
    }
    return rules[name]()


def net2net(sight: Sight) -> list[Units]:
    """Put a unit into every empty layer, in random order, then copy units at random, until nothing more is paid for."""
    layers, left = list(sight.layers), sight.left
    for place in sight.generator.permutation(len(layers)).tolist():
        if not len(layers[place]) and layers[place].price <= left:
            layers[place] = random_units(1, layers[place].inner.shape[1], sight.generator)
            left -= layers[place].price
    while True:
        units = [(at, unit) for at, layer in enumerate(layers) if layer.price <= left for unit in range(len(layer))]
        if not units:
            return layers
        place, unit = units[sight.generator.integers(len(units))]
        layers[place] = wider(layers[place], unit, sight.generator)
        left -= layers[place].price


def wider(units: Units, unit: int, generator: np.random.Generator, *, noise: float = NOISE) -> Units:
    """Return a layer with one unit twice, each time with half of its weights out.

    Args:
        units: layer with at least one unit.
        unit: number of the unit.
        generator: source of the noise, which advances it.
        noise: length of what is added to the copy's weights in, as a share of theirs; 0 keeps the function.
    """
    outer = units.outer.clone()
    outer[:, unit] /= 2
    direction = random_units(1, outer.shape[0], generator).inner
    copy = Units(
        units.inner[[unit]] + noise * units.inner[unit].norm() * direction, units.bias[[unit]], outer[:, [unit]]
    )
    return replace(units, outer=outer).joined(copy)


def gradmax(sight: Sight) -> list[Units]:
    """Add the units with the largest squared gradient per parameter, wherever they are."""
    found = [
        gradmax_units(*pair, count=len(pair[0])) for pair in zip(sight.inputs, sight.gradients, strict=True)
    ]  # as many as there are directions
    layers = list(sight.layers)
    offers = [
        (float(value) ** 2 / units.price, place, at)
        for place, (units, norms) in enumerate(found)
        for at, value in enumerate(norms)
    ]
    for place, at in _bought(offers, layers, sight.left):
        layers[place] = layers[place].joined(found[place][0].chosen(torch.tensor([at])))
    return layers


def gradmax_units(x: Tensor, gradient: Tensor, *, count: int) -> tuple[Units, Tensor]:
    """Return units with weights in of zero, whose gradient is the largest possible, and the lengths of theirs.

    The gradient of the weights in (with bias) of a unit with weights out c is c' G [x, 1]', as its activation has slope
    1 at 0. Over orthogonal c of a given length the lengths are the largest for the first left singular vectors.

    Args:
        x: [N, M], what the layer reads.
        gradient: G [N, M], of the loss by what the layer adds.
        count: units, at most N.

    Returns:
        The units, and lengths of the gradients of their weights in and biases, descending [count].
    """
    ones = torch.ones(1, x.shape[1])
    left, values, _ = torch.linalg.svd(gradient @ torch.cat([x, ones]).T, full_matrices=False)
    units = Units(torch.zeros(count, len(x)), torch.zeros(count), LENGTH * left[:, :count])
    return units, LENGTH * values[:count]


def firefly(sight: Sight) -> list[Units]:
    """Make the small changes that lower the loss most for each parameter, to first order."""
    layers = list(sight.layers)
    offers, changes = [], {}
    for place, (layer, x, gradient) in enumerate(zip(sight.layers, sight.inputs, sight.gradients, strict=True)):
        new, gains = firefly_units(x, gradient, sight.generator)
        halves, of_splits = firefly_splits(layer, x, gradient, sight.generator)
        for at, gain in enumerate([*of_splits.tolist(), *gains.tolist()]):
            offers.append((gain / layer.price, place, at))
        changes[place] = new, halves
    taken = _bought(offers, layers, sight.left)
    for place, (new, halves) in changes.items():
        mine = [at for where, at in taken if where == place]
        count = len(layers[place])
        split = torch.zeros(count, dtype=torch.bool)
        split[[at for at in mine if at < count]] = True
        added = torch.tensor([at - count for at in mine if at >= count], dtype=torch.int64)
        kept = layers[place].chosen(~split)
        layers[place] = kept.joined(halves[0].chosen(split)).joined(halves[1].chosen(split)).joined(new.chosen(added))
    return layers


def firefly_units(x: Tensor, gradient: Tensor, generator: np.random.Generator) -> tuple[Units, Tensor]:
    """Return new units that read random directions, and by how much each lowers the loss for each length of step.

    Weights out of length e change the loss by e c' G relu(a x)' to first order. The best c of length 1 is minus that
    product's direction, which is what Firefly's own descent on c finds to first order.

    Args:
        x: [N, M], what the layer reads.
        gradient: G [N, M], of the loss by what the layer adds.
        generator: source of the directions, which advances it.

    Returns:
        `CANDIDATES` units, and their gains in nats [CANDIDATES].
    """
    units = random_units(CANDIDATES, len(x), generator)
    slope = gradient @ units.activations(x).T
    gain = slope.norm(dim=0)
    return replace(units, outer=-STEP * slope / gain.clamp(min=1e-12)), gain


def firefly_splits(
    units: Units, x: Tensor, gradient: Tensor, generator: np.random.Generator
) -> tuple[tuple[Units, Units], Tensor]:
    """Return each unit split in the best of some directions, and by how much that lowers the loss for each step.

    Halves read a step to either side, so that their sum differs from the unit only near its kink; the derivative at a
    step of 0 vanishes, and the gain is that of the step as it is made, over its length.

    Args:
        units: U units.
        x: [N, M], what the layer reads.
        gradient: [N, M], of the loss by what the layer adds.
        generator: source of the directions, which advances it.

    Returns:
        Both halves of all units, and gains in nats [U], negative where a split raises the loss.
    """
    count, size = units.inner.shape
    directions = STEP * random_units(DIRECTIONS * count, size, generator).inner.view(DIRECTIONS, count, size)
    weight = units.outer.T @ gradient  # [U, M], slope of the loss by what a unit passes on
    before = units.inner @ x + units.bias[:, None]
    moved = directions @ x  # [DIRECTIONS, U, M]
    change = (rectified(before + moved) + rectified(before - moved)) / 2 - rectified(before)
    gain, best = (-(change * weight).sum(2) / STEP).max(0)
    chosen = directions[best, torch.arange(count)]
    halves = (Units(units.inner + side * chosen, units.bias, units.outer / 2) for side in (1, -1))
    return (next(halves), next(halves)), gain


def autogrow() -> Grow:
    """Return the rule that adds random modules to one slot after another, until no slot's last one was of use.

    A module is a unit over tokens and as many over channels as cost no more, at least one. What the authors found best
    is done: modules come at a steady pace, before the network has converged, and are random on both sides.
    """
    stopped: set[int] = set()
    last: tuple[int, float] | None = None

    def grow(sight: Sight) -> list[Units]:
        nonlocal last
        layers, slots = list(sight.layers), len(sight.layers) // 2
        if last is not None and sight.accuracy - last[1] < LEAST_RISE:
            stopped.add(last[0])
        after = -1 if last is None else last[0]
        order = [slot % slots for slot in range(after + 1, after + 1 + slots) if slot % slots not in stopped]
        channels, tokens = layers[:2]
        counts = max(1, tokens.price // channels.price), 1
        price = counts[0] * channels.price + tokens.price
        last = None
        if order and price <= sight.left:
            last = order[0], sight.accuracy
            for place, count in zip((2 * order[0], 2 * order[0] + 1), counts, strict=True):
                size = layers[place].inner.shape[1]
                units = random_units(count, size, sight.generator)
                outer = LENGTH * random_units(count, size, sight.generator).inner.T
                layers[place] = layers[place].joined(replace(units, outer=outer))
        return layers

    return grow


def grown_parameters(layers: Sequence[Units]) -> int:
    """Return the parameters of all layers."""
    return sum(layer.parameter_count for layer in layers)


def empty_layers(channels: int, tokens: int, slots: int) -> list[Units]:
    """Return 2 K layers without units, by place."""
    return [no_units(size) for _ in range(slots) for size in (channels, tokens)]


def _bought(offers: Sequence[tuple[float, int, int]], layers: Sequence[Units], left: float) -> list[tuple[int, int]]:
    """Return place and number of the best offers that are of use and together paid for, the best first.

    Args:
        offers: gain per parameter, place, and number within the place.
        layers: layers by place; each offer costs one unit.
        left: parameters.
    """
    taken = []
    for gain, place, at in sorted(offers, key=lambda offer: -offer[0]):
        if gain > 0 and layers[place].price <= left:
            taken.append((place, at))
            left -= layers[place].price
    return taken
