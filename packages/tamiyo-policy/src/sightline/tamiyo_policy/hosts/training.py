"""Training and measuring a stack of growing networks on classification data, interval by interval.

Every network has its own instance, draw of parameters, order of samples and noise in labels, all from its own seed, so
that a network's course does not depend on which others are in the stack. Knows nothing about stages or rewards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.hosts.blueprints import Blueprint
from sightline.tamiyo_policy.hosts.config import AdamConfig, HostTrainingConfig
from sightline.tamiyo_policy.hosts.counterfactual import members
from sightline.tamiyo_policy.hosts.digits import ClassificationData, Split
from sightline.tamiyo_policy.hosts.hosts import Host, TokenHost
from sightline.tamiyo_policy.hosts.instances import Instance
from sightline.tamiyo_policy.hosts.stacked.autograd import AutogradModel
from sightline.tamiyo_policy.hosts.stacked.model import StackedModel
from sightline.tamiyo_policy.hosts.stacked.routing import SeedSetting

_HOST_DRAW, _SAMPLE_ORDER, _LABEL_NOISE, _SEED_DRAW = range(4)
_SUBSET = 5  # 4 is that of instances


class TrainingReport(NamedTuple):
    """What an interval of training did, on the CPU."""

    loss: Tensor
    """float32 [E], mean cross-entropy in nats."""
    host_norm: Tensor
    """float32 [E], mean gradient norm of the hosts."""
    seed_norm: Tensor
    """float32 [E, K], of the seeds; 0 where none learned."""


class StackedTraining:
    """E networks with their data.

    Attributes:
        model: the networks.
        data: what they learn.
        config: settings of the training.

    Args:
        workers: threads that share the networks among them, where there are compiled functions for these; torch's own
            operations should then use one thread (`torch.set_num_threads(1)`).

    Raises:
        ValueError: more workers than networks, or none.
        TypeError: instances alter hosts, and these are no `TokenHost`.
    """

    def __init__(
        self,
        data: ClassificationData,
        host: Host,
        blueprints: Mapping[int, Blueprint],
        num_networks: int,
        *,
        channels: int,
        config: HostTrainingConfig,
        device: torch.device | str = "cpu",
        workers: int = 1,
    ) -> None:
        if not 1 <= workers <= num_networks:
            raise ValueError(f"workers must be 1 to {num_networks}, the number of networks, got {workers}")
        if config.instances.alters_hosts and not isinstance(host, TokenHost):
            raise TypeError(f"instances with another depth or gain need a TokenHost, got {type(host).__name__}")
        _keep_freed_memory()
        adam = AdamConfig(learning_rate=config.learning_rate)
        self.model = _stack(host, blueprints, num_networks, channels, adam, torch.device(device), workers)
        self.data = data
        self.config = config
        self._inputs = torch.tensor(data.train.inputs, device=self.model.device)
        self._validation = self._samples_last(data.validation)
        self._seeds = [0] * num_networks
        self._instances = [config.instances.draw(0, host.num_slots)] * num_networks
        self._step = 0
        self._labels = torch.zeros(num_networks, len(data.train), dtype=torch.int64, device=self.model.device)
        shape = (config.steps, config.minibatches, num_networks, config.batch_size)
        self._order = torch.zeros(shape, dtype=torch.int64, device=self.model.device)

    @property
    def num_networks(self) -> int:
        """E."""
        return len(self._seeds)

    @property
    def num_slots(self) -> int:
        """K."""
        return self.model.host.num_slots

    @property
    def families(self) -> tuple[str, ...]:
        """Names of the kinds of host that can be drawn."""
        return self.model.host.families

    @property
    def num_classes(self) -> int:
        """Number of classes of the data."""
        return self.data.num_classes

    @property
    def prices(self) -> dict[int, int]:
        """Parameters of each module, without a gate's, by the blueprint's id."""
        return {index: module.parameter_count for index, module in self.model.blueprints.items()}

    def host_sizes(self) -> NDArray[np.int64]:
        """Return [E] int64, trained parameters of each host."""
        return self.model.host_sizes()

    def seed_sizes(self, blueprint: NDArray[np.int64], operator: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [E, K] int64, parameters of the module in each slot; see `StackedModel.seed_sizes`."""
        return self.model.seed_sizes(blueprint, operator)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each network."""
        return tuple(self._seeds)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instance of each network, drawn from its seed."""
        return tuple(self._instances)

    def allowances(self) -> NDArray[np.float64]:
        """Return [E], parameters that may be planted in each host in all; infinite where there is no budget."""
        return self.host_sizes() * np.array([instance.budget for instance in self._instances])

    def reset(self, seeds: Sequence[int], families: Sequence[str]) -> None:
        """Draw fresh hosts and their orders of samples.

        Args:
            seeds: E non-negative integers; equal ones give equal hosts, orders and noise.
            families: E names of the host's families.

        Raises:
            ValueError: their number is not E.
        """
        self.restore(seeds)
        host, alters = self.model.host, self.config.instances.alters_hosts
        for network, (seed, family) in enumerate(zip(seeds, families, strict=True)):
            drawn = host.draw(family, np.random.default_rng([seed, _HOST_DRAW]))
            if alters and isinstance(host, TokenHost):
                instance = self._instances[network]
                drawn = host.altered(drawn, depth=instance.depth, gain=instance.gain)
            self.model.put_host(network, drawn)

    def restore(self, seeds: Sequence[int], *, step: int = 0) -> None:
        """Set the instances, orders of samples and noise that seeds give, leaving the parameters alone.

        Args:
            seeds: E non-negative integers.
            step: number of the last interval, from 0, on which it depends which slots are severed.

        Raises:
            ValueError: their number is not E.
        """
        if len(seeds) != len(self._seeds):
            raise ValueError(f"{len(self._seeds)} networks need as many seeds, got {len(seeds)}")
        self._seeds, self._step = [int(seed) for seed in seeds], step
        self._instances = [self.config.instances.draw(seed, self.model.host.num_slots) for seed in self._seeds]
        for network, (seed, instance) in enumerate(zip(self._seeds, self._instances, strict=True)):
            labels, order = self._draw_samples(seed, instance)
            self._labels[network] = torch.from_numpy(labels).to(self.model.device)
            self._order[:, :, network] = torch.from_numpy(order).to(self.model.device)

    def plant(self, network: int, slot: int, blueprint: int, step: int) -> None:
        """Put a module into a slot; its draw depends on the network's seed, the slot and the step alone."""
        generator = np.random.default_rng([self._seeds[network], _SEED_DRAW, slot, step])
        self.model.plant(network, slot, blueprint, generator)

    @torch.inference_mode(mode=False)
    def interval(self, setting: SeedSetting, frozen: NDArray[np.bool_], step: int) -> TrainingReport:
        """Train every network for one interval, also when called in inference mode.

        Args:
            setting: [E, K].
            frozen: bool [E, K], modules that run but do not learn.
            step: number of the episode's interval, from 0.

        Raises:
            IndexError: the episode has no such step.
        """
        self._step = step
        found = self.model.train(self._connected(setting), frozen, *self.minibatches(step))
        return TrainingReport(*(part.cpu() for part in found))

    def minibatches(self, step: int) -> tuple[Tensor, Tensor]:
        """Return what networks are trained on in an interval: inputs [M, E, C, B, S] and labels int64 [M, E, B].

        Raises:
            IndexError: the episode has no such step.
        """
        order = self._order[step]
        inputs = self._inputs[order].transpose(2, 3).contiguous()
        return inputs, self._labels.expand(len(order), -1, -1).gather(2, order)

    def severed(self, step: int) -> NDArray[np.bool_]:
        """Return bool [E, K], slots that are without any effect or gradient at a step."""
        share = step / self.config.steps
        return np.stack([instance.severed[int(share >= instance.drift_at)] for instance in self._instances])

    def measure(
        self, setting: SeedSetting, wanted: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Measure coalitions of seeds on the validation part, each seed at its alpha or off.

        Args:
            setting: [E, K]; seeds that pass straight through are off.
            wanted: bool [E, 2^K].

        Returns:
            Accuracies in percent and mean cross-entropies in nats, [E, 2^K] float64, NaN where not wanted.
        """
        alpha = np.where(setting.straight_through, 0.0, setting.alpha).astype(np.float32)
        networks, chosen = np.nonzero(wanted)
        tables = np.full((2, *wanted.shape), np.nan)
        shares = alpha[networks] * members(alpha.shape[1])[chosen]
        found = self.model.evaluate(self._connected(setting), networks, shares, *self._validation)
        tables[:, networks, chosen] = found
        return tables[0], tables[1]

    def test_accuracy(self, setting: SeedSetting) -> NDArray[np.float64]:
        """Return [E] accuracies in percent on the test part, which only final reports may read.

        Args:
            setting: [E, K].
        """
        alpha = np.where(setting.straight_through, 0.0, setting.alpha).astype(np.float32)
        samples = self._samples_last(self.data.test)
        return self.model.evaluate(self._connected(setting), np.arange(len(alpha)), alpha, *samples)[0]

    def _connected(self, setting: SeedSetting) -> SeedSetting:
        """Return the setting without the modules in slots that are severed at this step."""
        severed = self.severed(self._step)
        return replace(setting, blueprint=np.where(severed, -1, setting.blueprint)) if severed.any() else setting

    def _draw_samples(self, seed: int, instance: Instance) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return labels [N] and indices [T, M, B] of one network: passes over its data, each in a new order."""
        labels = self.data.train.labels.copy()
        noise = np.random.default_rng([seed, _LABEL_NOISE])
        replaced = noise.random(len(labels)) < instance.label_noise
        labels[replaced] = noise.integers(0, self.data.num_classes, int(replaced.sum()))
        count = max(1, round(instance.train_share * len(labels)))
        there = np.arange(count)
        if count < len(labels):
            there = np.random.default_rng([seed, _SUBSET]).permutation(len(labels))[:count]
        shuffle = np.random.default_rng([seed, _SAMPLE_ORDER])
        shape = (self.config.steps, self.config.minibatches, self.config.batch_size)
        needed = int(np.prod(shape))
        passes = [there[shuffle.permutation(count)] for _ in range(-(-needed // count))]
        return labels, np.concatenate(passes)[:needed].reshape(shape)

    def _samples_last(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return inputs [C, B, S] and labels [B] on the device."""
        inputs = torch.tensor(split.inputs, device=self.model.device).transpose(0, 1).contiguous()
        return inputs, torch.tensor(split.labels, device=self.model.device)


def _stack(
    host: Host,
    blueprints: Mapping[int, Blueprint],
    num_networks: int,
    channels: int,
    adam: AdamConfig,
    device: torch.device,
    workers: int,
) -> StackedModel:
    """Return networks that compiled functions compute if there are such and numba is installed, else torch."""
    if device.type == "cpu" and find_spec("numba"):
        # numba is an extra, and takes a second to import.
        from sightline.tamiyo_policy.hosts.compiled.model import CompiledModel, can_compile

        if type(host) is TokenHost and can_compile(blueprints):
            return CompiledModel(host, blueprints, num_networks, channels=channels, adam=adam, workers=workers)
    return AutogradModel(host, blueprints, num_networks, channels=channels, adam=adam, device=device)


def _keep_freed_memory() -> None:
    """Let the C library's allocator keep up to 64 MB of freed memory.

    Above a limit, glibc gives freed memory back and must be given fresh pages for the next block. The limit is twice
    the largest block freed so far, of those below 32 MB; activations, which come and go with every operation, are
    larger than it is at first.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)
