"""E host networks with K seeds each as stacked tensors: forward, backward and Adam as batched operations.

Every network has its own parameters, optimiser state and step counts, and is computed independently of the others; a
stack of E equals E stacks of one up to rounding. Axes: E networks, K slots, R rows, C input channels, D channels,
B samples, S tokens.

Knows nothing about data, episodes, stages or rewards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.hosts.blending import blend
from sightline.tamiyo_policy.hosts.blueprints import Blueprint
from sightline.tamiyo_policy.hosts.config import AdamConfig
from sightline.tamiyo_policy.hosts.hosts import Host
from sightline.tamiyo_policy.hosts.routing import SeedSetting, SlotRoute, evaluation_routes, training_routes
from sightline.tamiyo_policy.hosts.slots import Operator
from sightline.tamiyo_policy.hosts.stacked_adam import AdamState, adam_step

# Samples evaluated at once, and above which number of measurements the second: a pass should fit a core's cache.
_EVALUATED_AT_ONCE = 100, 50
_MANY_ROWS = 150


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

    @torch.inference_mode()
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
        routes = training_routes(setting, self.device)
        # The modules that run, one after the other: packed for all minibatches, and put back afterwards.
        place = (
            torch.cat([route.modules for route in routes]),
            torch.cat([torch.full_like(route.modules, slot) for slot, route in enumerate(routes)]),
        )
        seeds, adam = (
            self.seed_parameters[place],
            AdamState(*(getattr(self.seed_adam, field.name)[place] for field in fields(AdamState))),
        )
        gradient = torch.zeros_like(seeds)
        counts = [len(route.modules) for route in routes]
        forward = self._bind(None, routes, seeds.split(counts), gradient.split(counts))
        learning = ~torch.from_numpy(frozen).to(self.device)[place]
        every = torch.ones(len(self.host_parameters), dtype=torch.bool, device=self.device)
        seed_norm = torch.zeros(self.seed_parameters.shape[:2], device=self.device)
        sums: list[list[Tensor]] = []
        for batch, target in zip(inputs, labels, strict=True):
            logits, pullback = forward(batch)
            loss, of_logits = _cross_entropy(logits, target)
            of_host = pullback(of_logits).mul_(self.trainable)
            host_norm = adam_step(self.host_parameters, of_host, self.host_adam, every, self._adam)
            sums.append([loss, host_norm])
            if len(seeds):
                seed_norm[place] += adam_step(seeds, gradient, adam, learning, self._adam) / len(inputs)
        self.seed_parameters[place] = seeds
        for field in fields(AdamState):
            getattr(self.seed_adam, field.name)[place] = getattr(adam, field.name)
        loss, host_norm = (torch.stack(values).mean(0) for values in zip(*sums, strict=True))
        return loss, host_norm, seed_norm

    @torch.inference_mode()
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
        start, routes, wanted = evaluation_routes(setting, networks, alpha, self.device)
        seeds = [self.seed_parameters[:, slot].index_select(0, route.modules) for slot, route in enumerate(routes)]
        forward = self._bind(start, routes, seeds, None)
        size = _EVALUATED_AT_ONCE[len(networks) > _MANY_ROWS]
        correct, loss = [], []
        for chunk, target in zip(inputs.split(size, dim=1), labels.split(size), strict=True):
            logits, _ = forward(chunk.unsqueeze(0))
            scores = logits.transpose(1, 2).contiguous()
            correct.append((scores.argmax(2) == target).sum(1))
            own = target.expand(len(scores), -1).unsqueeze(2)
            loss.append((scores.logsumexp(2) - scores.gather(2, own).squeeze(2)).sum(1))
        totals = torch.stack([torch.stack(correct).sum(0).double(), torch.stack(loss).double().sum(0)])
        accuracy, nats = (totals[:, wanted] / len(labels)).cpu().numpy()
        return 100.0 * accuracy, nats

    def _bind(
        self,
        start: Tensor | None,
        routes: list[SlotRoute],
        seeds: Sequence[Tensor],
        gradients: Sequence[Tensor] | None,
    ) -> Callable[[Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]]:
        """The forward pass along routes.

        Args:
            start: networks of the first rows; None where row r is network r, which a pullback needs.
            routes: one for each slot.
            seeds: parameters of each route's modules, [n, W].
            gradients: where a pullback puts the gradients of these, [n, W]; None if there is to be none.

        Returns:
            The function from inputs [E or 1, C, B, S] to logits [R, classes, B] and their pullback, which gives the
            gradient of the host parameters [E, P]. Parameters may be changed in place between calls.
        """
        stages = self.host_parameters.split(self.host.stage_sizes, dim=1)
        stem = self.host.stem(_pick(stages[0], start))
        networks = [start, *[route.networks for route in routes]]
        blocks = [
            self.host.block(slot, _pick(stages[slot + 1], rows), _pick(self.constants, rows))
            for slot, rows in enumerate(networks[:-1])
        ]
        readout = self.host.readout(_pick(stages[-1], networks[-1]))
        places = [None] * len(routes) if gradients is None else gradients
        slots = [self._grow(*item) for item in zip(routes, seeds, places, strict=True)]
        rows = len(self.host_parameters) if start is None else len(start)

        def forward(inputs: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            hidden, stem_back = stem(inputs.expand(rows, -1, -1, -1))
            backs = []
            for block, slot in zip(blocks, slots, strict=True):
                hidden, block_back = block(hidden, inputs.expand(len(hidden), -1, -1, -1))
                hidden, slot_back = slot(hidden)
                backs.append((block_back, slot_back))
            logits, readout_back = readout(hidden)

            def pullback(gradient: Tensor) -> Tensor:
                gradient, of_stage = readout_back(gradient)
                of_host = [of_stage]
                for block_back, slot_back in reversed(backs):
                    gradient, of_stage = block_back(slot_back(gradient))
                    of_host.append(of_stage)
                of_host.append(stem_back(gradient))
                return torch.cat(of_host[::-1], dim=1)

            return logits, pullback

        return forward

    def _grow(self, route: SlotRoute, seeds: Tensor, place: Tensor | None) -> "_Slot":
        """What the modules of a slot, parameters [n, W], make of rows; the parameters' gradients go to `place`."""
        if not len(route.rows):
            return lambda hidden: (_pick(hidden, route.parents), _unchanged)
        counts = [count for _, count in route.groups]
        modules = [self.blueprints[index] for index, _ in route.groups]
        bound = [module.bind(part) for module, part in zip(modules, seeds.split(counts), strict=True)]
        gates = seeds[:, -self._gate_size :]
        through = route.straight_through

        def slot(hidden: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            x = hidden.index_select(0, route.inputs)
            applied = [apply(part) for apply, part in zip(bound, x.split(counts), strict=True)]
            residual = torch.cat([part for part, _ in applied])
            blended = []
            for operator, at in route.operators:
                part, back = blend(operator, *(tensor.index_select(0, at) for tensor in (residual, x, gates)))
                blended.append((at, part, back))
            residual = _put_in(residual, [part for _, part, _ in blended], route.order).mul_(route.alpha)
            if through is not None:
                residual.index_fill_(0, through, 0.0)

            def pullback(gradient: Tensor) -> Tensor:
                assert place is not None
                of_residual = gradient.index_select(0, route.rows).mul_(route.alpha)
                of_blended = [back(of_residual.index_select(0, at)) for at, _, back in blended]
                of_residual = _put_in(of_residual, [of_part for of_part, _, _ in of_blended], route.order)
                of_inputs = []
                parts = zip(modules, applied, of_residual.split(counts), place.split(counts), strict=True)
                for module, (_, back), part, rows in parts:
                    of_x, rows[:, : module.parameter_count] = back(part)
                    of_inputs.append(of_x)
                of_input = torch.cat(of_inputs)
                for (at, _, _), (_, of_x, of_gate) in zip(blended, of_blended, strict=True):
                    of_input.index_add_(0, at, of_x)
                    place[:, -self._gate_size :].index_copy_(0, at, of_gate)
                if through is not None:
                    of_input.index_fill_(0, through, 0.0)
                return gradient.index_add_(0, route.inputs, of_input)

            return _pick(hidden, route.parents).index_add(0, route.rows, residual), pullback

        return slot

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


_Slot: TypeAlias = Callable[[Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]]
"""Rows before a slot -> rows after it, and the function from their gradient to that of the rows before."""

_PARAMETERS = ("host_parameters", "trainable", "constants", "seed_parameters")


def _put_in(residual: Tensor, parts: Sequence[Tensor], order: Tensor) -> Tensor:
    """The rows of a residual with some of them replaced, which takes half as long as `index_copy_`."""
    return torch.cat([residual, *parts]).index_select(0, order) if parts else residual


def _pick(tensor: Tensor, rows: Tensor | None) -> Tensor:
    """The rows of a tensor, all of them for None."""
    return tensor if rows is None else tensor.index_select(0, rows)


def _cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy in nats of logits [E, classes, B] and labels [E, B], [E], and the gradient of its sum."""
    log_probabilities = logits.log_softmax(1)
    own = labels.unsqueeze(1)
    loss = -log_probabilities.gather(1, own).mean((1, 2))
    gradient = log_probabilities.exp_()
    gradient.scatter_add_(1, own, torch.full_like(gradient[:, :1], -1.0))
    return loss, gradient.div_(labels.shape[1])


def _unchanged(gradient: Tensor) -> Tensor:
    return gradient
