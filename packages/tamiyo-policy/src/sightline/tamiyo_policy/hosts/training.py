"""Training and measuring a stack of growing networks on classification data, interval by interval.

Every network has its own draw of parameters, order of samples and noise in labels, all from its own seed, so that a
network's course does not depend on which others are in the stack. Knows nothing about stages, rewards or policies.
"""

from collections.abc import Mapping, Sequence
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
from sightline.tamiyo_policy.hosts.stacked.autograd import AutogradModel
from sightline.tamiyo_policy.hosts.stacked.model import StackedModel
from sightline.tamiyo_policy.hosts.stacked.routing import SeedSetting

_HOST_DRAW, _SAMPLE_ORDER, _LABEL_NOISE, _SEED_DRAW = range(4)


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
        _keep_freed_memory()
        adam = AdamConfig(learning_rate=config.learning_rate)
        self.model = _stack(host, blueprints, num_networks, channels, adam, torch.device(device), workers)
        self.data = data
        self.config = config
        self._inputs = torch.tensor(data.train.inputs, device=self.model.device)
        self._validation = self._samples_last(data.validation)
        self._seeds = [0] * num_networks
        self._labels = torch.zeros(num_networks, len(data.train), dtype=torch.int64, device=self.model.device)
        shape = (config.steps, config.minibatches, num_networks, config.batch_size)
        self._order = torch.zeros(shape, dtype=torch.int64, device=self.model.device)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each network."""
        return tuple(self._seeds)

    def reset(self, seeds: Sequence[int], families: Sequence[str]) -> None:
        """Draw fresh hosts and their orders of samples.

        Args:
            seeds: E non-negative integers; equal ones give equal hosts, orders and noise.
            families: E names of the host's families.

        Raises:
            ValueError: their number is not E.
        """
        self.restore(seeds)
        for network, (seed, family) in enumerate(zip(seeds, families, strict=True)):
            self.model.draw_host(network, family, np.random.default_rng([seed, _HOST_DRAW]))

    def restore(self, seeds: Sequence[int]) -> None:
        """Set the orders of samples and the noise that seeds give, leaving the parameters alone.

        Args:
            seeds: E non-negative integers.

        Raises:
            ValueError: their number is not E.
        """
        if len(seeds) != len(self._seeds):
            raise ValueError(f"{len(self._seeds)} networks need as many seeds, got {len(seeds)}")
        self._seeds = [int(seed) for seed in seeds]
        for network, seed in enumerate(self._seeds):
            labels, order = self._draw_samples(seed)
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
        order = self._order[step]
        batches = len(order)
        inputs = self._inputs[order].transpose(2, 3).contiguous()
        labels = self._labels.expand(batches, -1, -1).gather(2, order)
        return TrainingReport(*(part.cpu() for part in self.model.train(setting, frozen, inputs, labels)))

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
        tables[:, networks, chosen] = self.model.evaluate(setting, networks, shares, *self._validation)
        return tables[0], tables[1]

    def test_accuracy(self, setting: SeedSetting) -> NDArray[np.float64]:
        """Return [E] accuracies in percent on the test part, which only final reports may read.

        Args:
            setting: [E, K].
        """
        alpha = np.where(setting.straight_through, 0.0, setting.alpha).astype(np.float32)
        samples = self._samples_last(self.data.test)
        return self.model.evaluate(setting, np.arange(len(alpha)), alpha, *samples)[0]

    def _draw_samples(self, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return labels [N] and indices [T, M, B] of one network: passes over the data, each in a new order."""
        labels = self.data.train.labels.copy()
        count = len(labels)
        noise = np.random.default_rng([seed, _LABEL_NOISE])
        replaced = noise.random(count) < self.config.label_noise
        labels[replaced] = noise.integers(0, self.data.num_classes, int(replaced.sum()))
        shuffle = np.random.default_rng([seed, _SAMPLE_ORDER])
        shape = (self.config.steps, self.config.minibatches, self.config.batch_size)
        needed = int(np.prod(shape))
        passes = [shuffle.permutation(count) for _ in range(-(-needed // count))]
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
