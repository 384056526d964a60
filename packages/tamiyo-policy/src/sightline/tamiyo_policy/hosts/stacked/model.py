"""E host networks with K seeds each as stacked tensors: their parameters, and what any way to compute them offers.

Every network has its own parameters, optimiser state and step counts, and is computed independently of the others.
Axes: E networks, K slots, C input channels, D channels, B samples, S tokens.

Knows nothing about data, episodes, stages or rewards, nor about how a network is computed.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.hosts.blueprints import Blueprint
from sightline.tamiyo_policy.hosts.config import AdamConfig
from sightline.tamiyo_policy.hosts.hosts import Host, HostDraw
from sightline.tamiyo_policy.hosts.slots import Operator
from sightline.tamiyo_policy.hosts.stacked.adam import AdamState
from sightline.tamiyo_policy.hosts.stacked.routing import SeedSetting

_PARAMETERS = ("host_parameters", "trainable", "constants", "seed_parameters")


class StackedModel(ABC):
    """The parameters of E hosts and of the modules in their slots; subclasses train and measure them.

    Attributes:
        host: the functions of the hosts.
        blueprints: modules by id.
        host_parameters: [E, P].
        trainable: [E, P] bool, host parameters that are trained and counted.
        constants: [E, Q].
        seed_parameters: [E, K, W]; a module's parameters come first, the gate's D + 1 last.
        host_adam: moments of the hosts.
        seed_adam: moments of the seeds.
    """

    def __init__(
        self,
        host: Host,
        blueprints: Mapping[int, Blueprint],
        num_networks: int,
        *,
        channels: int,
        adam: AdamConfig | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.host = host
        self.blueprints = dict(blueprints)
        self.device = torch.device(device)
        self._adam = adam or AdamConfig()
        self._gate_size = channels + 1
        width = max(module.parameter_count for module in blueprints.values()) + self._gate_size
        count = sum(host.stage_sizes)
        self.host_parameters = torch.zeros(num_networks, count, device=self.device)
        self.trainable = torch.zeros(num_networks, count, dtype=torch.bool, device=self.device)
        self.constants = torch.zeros(num_networks, host.constant_size, device=self.device)
        self.seed_parameters = torch.zeros(num_networks, host.num_slots, width, device=self.device)
        self.host_adam = AdamState.zeros(self.host_parameters)
        self.seed_adam = AdamState.zeros(self.seed_parameters)

    def draw_host(self, network: int, family: str, generator: np.random.Generator) -> None:
        """Replace one network by a fresh host of one family, see `put_host`; the generator advances."""
        self.put_host(network, self.host.draw(family, generator))

    def put_host(self, network: int, drawn: HostDraw) -> None:
        """Replace one network by a host with empty slots.

        Args:
            network: its row.
            drawn: what the host's `draw` gave.
        """
        self.host_parameters[network] = torch.from_numpy(drawn.parameters).to(self.device)
        self.trainable[network] = torch.from_numpy(drawn.trainable).to(self.device)
        self.constants[network] = torch.from_numpy(drawn.constants).to(self.device)
        self.seed_parameters[network] = 0.0
        for moments in (self.host_adam, self.seed_adam):
            moments.mean[network], moments.square[network], moments.steps[network] = 0.0, 0.0, 0.0

    def plant(self, network: int, slot: int, blueprint: int, generator: np.random.Generator) -> None:
        """Put a module as it is at birth into a slot, without a past in the optimiser.

        Args:
            network: row of the network.
            slot: number of the slot.
            blueprint: id of the module.
            generator: source of the draw, which advances it.

        Raises:
            ValueError: for an id that is not among the blueprints.
        """
        if blueprint not in self.blueprints:
            raise ValueError(f"blueprint {blueprint} cannot be grown here; it is one of {sorted(self.blueprints)}")
        drawn = torch.from_numpy(self.blueprints[blueprint].draw(generator)).to(self.device)
        self.seed_parameters[network, slot] = 0.0
        self.seed_parameters[network, slot, : len(drawn)] = drawn
        for moments in (self.seed_adam.mean, self.seed_adam.square, self.seed_adam.steps):
            moments[network, slot] = 0.0

    def host_sizes(self) -> NDArray[np.int64]:
        """Return [E] int64, trained parameters of each host."""
        return self.trainable.sum(1).cpu().numpy()

    def seed_sizes(self, blueprint: NDArray[np.int64], operator: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [E, K] int64, parameters of the module in each slot with its gate, 0 where there is none.

        Args:
            blueprint: [E, K] ids, -1 for none.
            operator: [E, K], an `Operator` each.
        """
        table = np.zeros(max(self.blueprints) + 1, np.int64)
        for index, module in self.blueprints.items():
            table[index] = module.parameter_count
        counted = table[np.maximum(blueprint, 0)] + self._gate_size * (operator == Operator.GATE)
        return np.where(blueprint >= 0, counted, 0)

    @abstractmethod
    def train(
        self, setting: SeedSetting, frozen: NDArray[np.bool_], inputs: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take one Adam step per minibatch, in every network.

        Args:
            setting: [E, K], constant over the minibatches.
            frozen: bool [E, K], modules that run but do not learn.
            inputs: [M, E, C, B, S], M minibatches.
            labels: [M, E, B] int64.

        Returns:
            Means over the minibatches: cross-entropy [E] in nats, gradient norms of hosts [E] and of seeds [E, K].
        """

    @abstractmethod
    def evaluate(
        self,
        setting: SeedSetting,
        networks: NDArray[np.int64],
        alpha: NDArray[np.float32],
        inputs: Tensor,
        labels: Tensor,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Measure networks under given alphas on the same samples. Nothing of the model changes.

        Args:
            setting: [E, K]; its alphas are ignored.
            networks: [N] int64, network of each measurement.
            alpha: [N, K] float32, alphas of each measurement.
            inputs: [C, B, S].
            labels: [B] int64.

        Returns:
            [N] accuracies in percent and [N] mean cross-entropies in nats, both float64.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of all tensors by name."""
        tensors = {name: getattr(self, name).clone() for name in _PARAMETERS}
        for name in ("host_adam", "seed_adam"):
            state: AdamState = getattr(self, name)
            tensors |= {f"{name}.{field.name}": getattr(state, field.name).clone() for field in fields(state)}
        return tensors

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave.

        Raises:
            ValueError: a tensor is missing, unknown or of another shape; the model is unchanged then.
        """
        mine = {name: tensor.shape for name, tensor in self.state_dict().items()}
        if mine != (theirs := {name: tensor.shape for name, tensor in tensors.items()}):
            raise ValueError(
                f"the saved networks differ from these in {sorted(set(mine.items()) ^ set(theirs.items()))}"
            )
        for name, tensor in tensors.items():
            owner, _, field = name.rpartition(".")
            target = getattr(getattr(self, owner) if owner else self, field)
            target.copy_(tensor)
