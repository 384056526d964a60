"""Hosts that grow hidden units by a published rule while they train, on the same draws as every other method.

Every slot holds a module of units from the beginning, which adds nothing while it has none. When it grows, the
optimiser forgets its past. Nothing is rolled back. Axes: E networks, K slots, D channels, B samples, S tokens,
M minibatches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from sightline.tamiyo_policy.experiment.records import Episode, GrowthRecord
from sightline.tamiyo_policy.experiment.rivals.growing import (
    Grow,
    RivalName,
    Sight,
    begin,
    empty_layers,
    grown_parameters,
)
from sightline.tamiyo_policy.experiment.rivals.units import (
    UNITS,
    Units,
    as_layers,
    as_parameters,
    as_positions,
    unit_price,
    units_blueprint,
)
from sightline.tamiyo_policy.growth.config import GrowthConfig
from sightline.tamiyo_policy.growth.rewards import growth_score, reference_sizes
from sightline.tamiyo_policy.growth.topologies import topology_setting
from sightline.tamiyo_policy.hosts.digits import ClassificationData
from sightline.tamiyo_policy.hosts.hosts import TokenHost
from sightline.tamiyo_policy.hosts.operations import NOOP
from sightline.tamiyo_policy.hosts.training import StackedTraining

EVENTS: Final = 6
"""Times at which a rule adds units, evenly spaced."""
PACES: Final = 12
"""Times in an episode, evenly spaced, at which AutoGrow may add a module."""
_DRAWS = 7  # after the streams that hosts, samples and instances draw from


@dataclass(frozen=True)
class Rival:
    """A published rule and how it is used."""

    name: RivalName
    """Whose rule."""
    until: float = 0.5
    """Share of the episode over which growth is spread; 0 for all of it before the first step. AutoGrow has a pace of
    its own."""
    parameters: float | None = None
    """Parameters to grow to at most; None for as many as the host has. The instance's budget is a bound as well."""


class _Network:
    """One network's units, and the rule by which they become more."""

    def __init__(self, rival: Rival, episode: Episode, layers: list[Units], target: float, steps: int) -> None:
        self.layers = layers
        self.target = target
        self.shares = timetable(rival, steps)
        self.generator = np.random.default_rng([episode.seed, _DRAWS])
        self._grow: Grow = begin(rival.name)

    def grow(
        self, training: StackedTraining, network: int, step: int, signals: tuple[Tensor, Tensor], accuracy: float
    ) -> None:
        """Add units, and write them into the network's row of the stack, where they have no past."""
        model, module = training.model, training.model.blueprints[UNITS]
        counts = [len(layer) for layer in self.layers]
        held = [layer for slot in model.seed_parameters[network] for layer in as_layers(slot, module)]
        self.layers = [layer.chosen(torch.arange(count)) for layer, count in zip(held, counts, strict=True)]
        inputs, gradients = ([view for slot in signal[network] for view in as_positions(slot)] for signal in signals)
        left = self.shares[step] * self.target - grown_parameters(self.layers)
        self.layers = self._grow(Sight(self.layers, inputs, gradients, accuracy, left, self.generator))
        for slot in range(model.host.num_slots):
            pair = slice(2 * slot, 2 * slot + 2)
            if [len(layer) for layer in self.layers[pair]] == counts[pair]:
                continue
            model.seed_parameters[network, slot, : module.parameter_count] = as_parameters(self.layers[pair], module)
            for moments in (model.seed_adam.mean, model.seed_adam.square, model.seed_adam.steps):
                moments[network, slot] = 0.0


def timetable(rival: Rival, steps: int) -> dict[int, float]:
    """Return the steps before which a network may grow, each with the share of its parameters it may have then."""
    if rival.name == "AutoGrow":
        return {step * steps // PACES: 1.0 for step in range(PACES)}
    return {int(event * rival.until * steps / EVENTS): (event + 1) / EVENTS for event in range(EVENTS)}


def train_rivals(
    rivals: Sequence[tuple[Rival, Episode]],
    data: ClassificationData,
    host: TokenHost,
    *,
    config: GrowthConfig,
    read_test: bool = False,
) -> list[GrowthRecord]:
    """Train a stack of hosts that grow by published rules; seeds' lives and the governor have no part in it.

    Args:
        rivals: rule and episode of each network.
        data: what the networks learn.
        host: what they are before they grow.
        config: training and reward.
        read_test: whether the test part is read at the end; for final reports only.

    Returns:
        A record for each network, in order; in its topology a slot with units has the id `UNITS`.
    """
    episodes = [episode for _, episode in rivals]
    networks, training = _drawn(rivals, data, host, config)
    steps, count = config.training.steps, len(rivals)
    setting = topology_setting(np.full((count, host.num_slots), UNITS))
    frozen = np.zeros((count, host.num_slots), np.bool_)
    last = []
    for step in range(steps):
        if growing := [number for number, network in enumerate(networks) if step in network.shares]:
            signals, accuracy = slot_signals(training, step), _accuracy(training)
            for number in growing:
                networks[number].grow(training, number, step, signals, float(accuracy[number]))
        training.interval(setting, frozen, step)
        if step >= steps - config.reward.final_validations:
            last.append(_accuracy(training))
    accuracy = np.mean(last, axis=0)
    parameters = np.array([grown_parameters(network.layers) for network in networks])
    reference = reference_sizes(training.model.host_sizes(), config.reference_parameters)
    test = training.test_accuracy(setting) if read_test else np.full(count, np.nan)
    score, test_score = (
        growth_score(torch.from_numpy(values), torch.from_numpy(parameters), reference, rent=config.reward.rent)
        for values in (accuracy, test)
    )
    return [
        GrowthRecord(
            family=episode.family,
            seed=episode.seed,
            score=float(score[row]),
            accuracy=float(accuracy[row]),
            parameters=float(parameters[row]),
            test_score=float(test_score[row]) if read_test else None,
            test_accuracy=float(test[row]) if read_test else None,
            topology=_topology(networks[row].layers),
        )
        for row, episode in enumerate(episodes)
    ]


def slot_signals(training: StackedTraining, step: int) -> tuple[Tensor, Tensor]:
    """Return what every slot reads and the gradient by what it adds, on the samples of an interval.

    Args:
        training: networks whose slots hold units; unchanged.
        step: number of the interval, from 0.

    Returns:
        Inputs and gradients of each network's mean cross-entropy, [E, K, D, M B, S] each; in a severed slot the
        gradient is 0.
    """
    model, host = training.model, training.model.host
    inputs, labels = (part.transpose(0, 1) for part in training.minibatches(step))
    inputs, labels = inputs.transpose(1, 2).flatten(2, 3), labels.flatten(1)  # [E, C, M B, S] and [E, M B]
    connected = torch.from_numpy(~training.severed(step)).float()[:, :, None, None, None]
    stem, *blocks, readout = model.host_parameters.split(host.stage_sizes, dim=1)
    read, pushes = [], []
    with torch.inference_mode(mode=False), torch.enable_grad():
        hidden = host.stem(stem, inputs)
        for slot, block in enumerate(blocks):
            hidden = host.block(slot, block, model.constants, hidden, inputs)
            read.append(hidden.detach())
            pushes.append(torch.zeros_like(hidden, requires_grad=True))
            added = model.blueprints[UNITS].apply(model.seed_parameters[:, slot], hidden.contiguous())
            hidden = hidden + connected[:, slot] * (added + pushes[-1])
        loss = torch.nn.functional.cross_entropy(host.readout(readout, hidden), labels, reduction="none").mean(1)
        gradients = torch.autograd.grad(loss.sum(), pushes)
    return torch.stack(read, 1), torch.stack(gradients, 1)


def _drawn(
    rivals: Sequence[tuple[Rival, Episode]], data: ClassificationData, host: TokenHost, config: GrowthConfig
) -> tuple[list[_Network], StackedTraining]:
    """Return the networks as they are born, with room for all units that any of them may grow in one layer."""
    sizes = host.channels, data.tokens
    episodes = [episode for _, episode in rivals]

    def stack(most: float) -> StackedTraining:
        room = [max(1, int(most // unit_price(size))) for size in sizes]
        module = units_blueprint(*sizes, (room[0], room[1]))
        found = StackedTraining(
            data, host, {UNITS: module}, len(rivals), channels=host.channels, config=config.training
        )
        found.reset([episode.seed for episode in episodes], [episode.family for episode in episodes])
        return found

    first = stack(0)
    own, allowed = first.model.host_sizes().tolist(), first.allowances().tolist()
    targets = [
        min(size if rival.parameters is None else rival.parameters, allowance)
        for (rival, _), size, allowance in zip(rivals, own, allowed, strict=True)
    ]
    networks = [
        _Network(rival, episode, empty_layers(*sizes, host.num_slots), target, config.training.steps)
        for (rival, episode), target in zip(rivals, targets, strict=True)
    ]
    return networks, stack(max(targets))


def _accuracy(training: StackedTraining) -> np.ndarray:
    """Return [E] accuracies in percent on the validation part."""
    count, slots = len(training.seeds), training.model.host.num_slots
    whole = np.zeros((count, 2**slots), np.bool_)
    whole[:, -1] = True
    return training.measure(topology_setting(np.full((count, slots), UNITS)), whole)[0][:, -1]


def _topology(layers: Sequence[Units]) -> tuple[int, ...]:
    pairs = zip(layers[::2], layers[1::2], strict=True)
    return tuple(UNITS if len(channels) + len(tokens) else NOOP for channels, tokens in pairs)
