"""E host networks with K seeds each as stacked tensors: forward, backward and Adam as batched operations.

Every network has its own parameters, optimiser state and step counts, and is computed independently of the others; a
stack of E equals E stacks of one up to rounding. Axes: E networks, K slots, R rows, C input channels, D channels,
S tokens, B samples.

Knows nothing about data, episodes, stages or rewards.
"""

import copy
from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sightline.tamiyo_policy.adam import AdamConfig, AdamState, adam_step
from sightline.tamiyo_policy.blueprints import Blueprint
from sightline.tamiyo_policy.hosts import Host
from sightline.tamiyo_policy.routing import SeedSetting, SlotRoute, evaluation_routes, training_routes
from sightline.tamiyo_policy.slots import Operator

# Samples evaluated at once: what a pass touches should fit a core's cache.
EVALUATION_CHUNK = 100


class _StopAt(torch.autograd.Function):
    """The identity, which stops the gradient of some rows. Not even NaN gets through."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return x.view_as(x)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return gradients[0].index_fill(0, rows, 0.0), None


class _StraightThrough(torch.autograd.Function):
    """Nothing forward and the whole gradient backward, in some rows; the identity in the others."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: Tensor) -> Tensor:
        return x.index_fill(0, rows, 0.0)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class StackedModel:
    """The parameters of E hosts and of the modules in their slots.

    Attributes:
        host: the functions of the hosts.
        blueprints: modules by id.
        host_parameters: [E, P].
        trainable: [E, P] bool, host parameters that are trained and counted.
        constants: [E, Q].
        seed_parameters: [E, K, W]; a module's parameters come first, the gate's D + 1 last.
        host_adam: of the hosts.
        seed_adam: of the seeds.
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

    def rows(self, part: slice) -> "StackedModel":
        """Some of the networks as a stack of their own that shares their memory; what one changes, both have.

        Args:
            part: consecutive networks.
        """
        view = copy.copy(self)
        for name in _PARAMETERS:
            setattr(view, name, getattr(self, name)[part])
        view.host_adam, view.seed_adam = self.host_adam.rows(part), self.seed_adam.rows(part)
        return view

    def draw_host(self, network: int, family: str, generator: np.random.Generator) -> None:
        """Replace one network by a fresh host with empty slots.

        Args:
            network: its row.
            family: one of the host's families.
            generator: advanced by the draw.
        """
        drawn = self.host.draw(family, generator)
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
            slot: of the network.
            blueprint: id of the module.
            generator: advanced by the draw.

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
        """[E] int64, trained parameters of each host."""
        return self.trainable.sum(1).cpu().numpy()

    def seed_sizes(self, blueprint: NDArray[np.int64], operator: NDArray[np.int64]) -> NDArray[np.int64]:
        """[E, K] int64, parameters of the module in each slot with its gate, 0 where there is none.

        Args:
            blueprint: [E, K] ids, -1 for none.
            operator: [E, K], an `Operator` each.
        """
        table = np.zeros(max(self.blueprints) + 1, np.int64)
        for index, module in self.blueprints.items():
            table[index] = module.parameter_count
        counted = table[np.maximum(blueprint, 0)] + self._gate_size * (operator == Operator.GATE)
        return np.where(blueprint >= 0, counted, 0)

    def train(
        self, setting: SeedSetting, frozen: NDArray[np.bool_], inputs: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take one Adam step per minibatch, in every network.

        Args:
            setting: [E, K], constant over the minibatches.
            frozen: bool [E, K], modules that run but do not learn.
            inputs: [M, E, C, S, B], M minibatches.
            labels: [M, E, B] int64.

        Returns:
            Means over the minibatches: cross-entropy [E] in nats, gradient norms of hosts [E] and of seeds [E, K].
        """
        routes = training_routes(setting, self.device)
        learning = (setting.blueprint >= 0) & (setting.straight_through | (setting.alpha > 0)) & ~frozen
        active = torch.from_numpy(learning).to(self.device)
        every = torch.ones(len(self.host_parameters), dtype=torch.bool, device=self.device)
        sums: list[list[Tensor]] = []
        for batch, target in zip(inputs, labels, strict=True):
            # Copies, because another thread may be updating its rows of the same memory.
            host = self.host_parameters.clone().requires_grad_()
            seeds = self.seed_parameters.clone().requires_grad_()
            logits = self._forward(host, seeds, None, routes, batch)
            loss = functional.cross_entropy(logits, target, reduction="none").mean(1)
            host_gradient, seed_gradient = torch.autograd.grad(loss.sum(), [host, seeds], materialize_grads=True)
            host_norm = adam_step(
                self.host_parameters, host_gradient.mul_(self.trainable), self.host_adam, every, self._adam
            )
            seed_norm = adam_step(self.seed_parameters, seed_gradient, self.seed_adam, active, self._adam)
            sums.append([loss.detach(), host_norm, seed_norm])
        loss, host_norm, seed_norm = (torch.stack(values).mean(0) for values in zip(*sums, strict=True))
        return loss, host_norm, seed_norm

    @torch.no_grad()
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
            inputs: [C, S, B].
            labels: [B] int64.

        Returns:
            [N] accuracies in percent and [N] mean cross-entropies in nats, both float64.
        """
        start, routes, wanted = evaluation_routes(setting, networks, alpha, self.device)
        correct, loss = [], []
        for chunk, target in zip(inputs.split(EVALUATION_CHUNK, dim=-1), labels.split(EVALUATION_CHUNK), strict=True):
            logits = self._forward(
                self.host_parameters, self.seed_parameters, start, routes, chunk.contiguous().unsqueeze(0)
            )
            correct.append((logits.argmax(1) == target).sum(1))
            targets = target.expand(len(logits), -1)
            loss.append(functional.cross_entropy(logits, targets, reduction="none").sum(1))
        totals = torch.stack([torch.stack(correct).sum(0).double(), torch.stack(loss).double().sum(0)])
        accuracy, nats = (totals[:, wanted] / len(labels)).cpu().numpy()
        return 100.0 * accuracy, nats

    def _forward(
        self, host: Tensor, seeds: Tensor, start: Tensor | None, routes: list[SlotRoute], inputs: Tensor
    ) -> Tensor:
        """Logits [R, classes, B] of inputs [E or 1, C, S, B]; `start` are the networks of the first rows."""
        stages = host.split(self.host.stage_sizes, dim=1)
        slots = seeds.unbind(1)
        networks = start
        rows = len(host) if start is None else len(start)
        hidden = self.host.stem(_pick(stages[0], networks), inputs.expand(rows, -1, -1, -1))
        for slot, route in enumerate(routes):
            hidden = self.host.block(
                slot,
                _pick(stages[slot + 1], networks),
                _pick(self.constants, networks),
                hidden,
                inputs.expand(len(hidden), -1, -1, -1),
            )
            residual = self._residual(route, slots[slot], hidden) if len(route.rows) else None
            hidden = _pick(hidden, route.parents)
            if residual is not None:
                hidden = hidden.index_add(0, route.rows, residual)
            networks = route.networks
        return self.host.readout(_pick(stages[-1], networks), hidden)

    def _residual(self, route: SlotRoute, seeds: Tensor, hidden: Tensor) -> Tensor:
        """What the modules of one slot add to their rows, [n, D, S, B]."""
        x = hidden.index_select(0, route.inputs)
        if route.straight_through is not None:
            x = _StopAt.apply(x, route.straight_through)
        parameters = seeds.index_select(0, route.modules)
        counts = [count for _, count in route.groups]
        parts = zip(route.groups, parameters.split(counts), x.split(counts), strict=True)
        residual = torch.cat([self.blueprints[index].apply(rows, part) for (index, _), rows, part in parts])
        for operator, positions in route.operators:
            picked = (_pick(tensor, positions) for tensor in (residual, x, parameters))
            blended = self._operate(operator, *picked)
            residual = residual.index_copy(0, positions, blended)
        if route.straight_through is None:
            return residual * route.alpha
        return _StraightThrough.apply(residual * route.alpha, route.straight_through)

    def _operate(self, operator: Operator, residual: Tensor, x: Tensor, parameters: Tensor) -> Tensor:
        """The residual as an operator blends it: h tanh(r) for MULTIPLY, g(h) r for GATE, g learned per sample."""
        if operator == Operator.MULTIPLY:
            return x * torch.tanh(residual)
        weight, bias = parameters[:, -self._gate_size :].split([self._gate_size - 1, 1], dim=1)
        gate = torch.sigmoid(torch.einsum("nd,ndb->nb", weight, x.mean(2)) + bias)
        return gate[:, None, None, :] * residual

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of all tensors by name."""
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


_PARAMETERS = ("host_parameters", "trainable", "constants", "seed_parameters")


def _pick(tensor: Tensor, rows: Tensor | None) -> Tensor:
    """The rows of a tensor, all of them for None."""
    return tensor if rows is None else tensor.index_select(0, rows)
