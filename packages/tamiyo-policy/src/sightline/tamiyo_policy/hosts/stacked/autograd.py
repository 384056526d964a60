"""Stacked hosts as batched torch operations, on any device, with gradients from autograd: the reference.

A stack of E equals E stacks of one up to rounding. Axes: E networks, K slots, R rows, C input channels, D channels,
B samples, S tokens.
"""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.hosts.stacked.adam import AdamState, adam_step
from sightline.tamiyo_policy.hosts.stacked.blending import blend, hide
from sightline.tamiyo_policy.hosts.stacked.model import StackedModel
from sightline.tamiyo_policy.hosts.stacked.routing import SeedSetting, SlotRoute, evaluation_routes, training_routes

# Samples evaluated at once, and above which number of measurements the second: a pass should fit a core's cache.
_EVALUATED_AT_ONCE = 100, 50
_MANY_ROWS = 150


class AutogradModel(StackedModel):
    """Stacked hosts of any kind, with modules of any kind, on any device."""

    @torch.inference_mode(mode=False)
    def train(
        self, setting: SeedSetting, frozen: NDArray[np.bool_], inputs: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take one Adam step per minibatch; see `StackedModel.train`."""
        routes = training_routes(setting, self.device)
        # The modules that run, one after the other: packed for all minibatches, and put back afterwards.
        place = (
            torch.cat([route.modules for route in routes]),
            torch.cat([torch.full_like(route.modules, slot) for slot, route in enumerate(routes)]),
        )
        # Gradients reach the leaves, and the steps of Adam the tensors whose memory these share.
        packed = self.seed_parameters[place]
        hosts, seeds = self.host_parameters.detach().requires_grad_(), packed.detach().requires_grad_()
        adam = AdamState(*(getattr(self.seed_adam, field.name)[place] for field in fields(AdamState)))
        counts = [len(route.modules) for route in routes]
        learning = ~torch.from_numpy(frozen).to(self.device)[place]
        every = torch.ones(len(hosts), dtype=torch.bool, device=self.device)
        seed_norm = torch.zeros(self.seed_parameters.shape[:2], device=self.device)
        sums: list[list[Tensor]] = []
        for batch, target in zip(inputs, labels, strict=True):
            with torch.enable_grad():
                logits = self._forward(None, routes, hosts, seeds.split(counts), batch)
                loss = torch.nn.functional.cross_entropy(logits, target, reduction="none").mean(1)
                of_hosts, of_seeds = torch.autograd.grad(loss.sum(), [hosts, seeds], materialize_grads=True)
            host_norm = adam_step(self.host_parameters, of_hosts * self.trainable, self.host_adam, every, self._adam)
            sums.append([loss.detach(), host_norm])
            seed_norm[place] += adam_step(packed, of_seeds, adam, learning, self._adam) / len(inputs)
        self.seed_parameters[place] = packed
        for field in fields(AdamState):
            getattr(self.seed_adam, field.name)[place] = getattr(adam, field.name)
        mean_loss, host_norm = (torch.stack(values).mean(0) for values in zip(*sums, strict=True))
        return mean_loss, host_norm, seed_norm

    @torch.inference_mode()
    def evaluate(
        self,
        setting: SeedSetting,
        networks: NDArray[np.int64],
        alpha: NDArray[np.float32],
        inputs: Tensor,
        labels: Tensor,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Measure networks under given alphas; see `StackedModel.evaluate`."""
        start, routes, wanted = evaluation_routes(setting, networks, alpha, self.device)
        seeds = [self.seed_parameters[:, slot].index_select(0, route.modules) for slot, route in enumerate(routes)]
        size = _EVALUATED_AT_ONCE[len(networks) > _MANY_ROWS]
        correct, loss = [], []
        for chunk, target in zip(inputs.split(size, dim=1), labels.split(size), strict=True):
            logits = self._forward(start, routes, self.host_parameters, seeds, chunk.unsqueeze(0))
            scores = logits.transpose(1, 2).contiguous()
            correct.append((scores.argmax(2) == target).sum(1))
            own = target.expand(len(scores), -1).unsqueeze(2)
            loss.append((scores.logsumexp(2) - scores.gather(2, own).squeeze(2)).sum(1))
        totals = torch.stack([torch.stack(correct).sum(0).double(), torch.stack(loss).double().sum(0)])
        accuracy, nats = (totals[:, wanted] / len(labels)).cpu().numpy()
        return 100.0 * accuracy, nats

    def _forward(
        self,
        start: Tensor | None,
        routes: Sequence[SlotRoute],
        hosts: Tensor,
        seeds: Sequence[Tensor],
        inputs: Tensor,
    ) -> Tensor:
        """Return logits [R, classes, B].

        Args:
            start: networks of the first rows; None where row r is network r.
            routes: one for each slot.
            hosts: [E, P].
            seeds: parameters of each route's modules, [n, W].
            inputs: [E or 1, C, B, S].
        """
        stem, *blocks, readout = hosts.split(self.host.stage_sizes, dim=1)
        rows = len(hosts) if start is None else len(start)
        hidden = self.host.stem(_pick(stem, start), inputs.expand(rows, -1, -1, -1))
        networks = start
        for slot, (block, route, grown) in enumerate(zip(blocks, routes, seeds, strict=True)):
            of_block, constants = _pick(block, networks), _pick(self.constants, networks)
            hidden = self.host.block(slot, of_block, constants, hidden, inputs.expand(len(hidden), -1, -1, -1))
            hidden = self._grow(route, grown, hidden)
            networks = route.networks
        return self.host.readout(_pick(readout, networks), hidden)

    def _grow(self, route: SlotRoute, seeds: Tensor, hidden: Tensor) -> Tensor:
        """Return the rows behind a slot, from those before it [., D, B, S] and its modules' parameters [n, W]."""
        before = _pick(hidden, route.parents)
        if not len(route.rows):
            return before
        x = hidden.index_select(0, route.inputs)
        if route.straight_through is not None:
            x = torch.where(route.straight_through, x.detach(), x)
        counts = [count for _, count in route.groups]
        parts = zip(route.groups, seeds.split(counts), x.split(counts), strict=True)
        residual = torch.cat([self.blueprints[index].apply(own, part) for (index, _), own, part in parts])
        for operator, at in route.operators:
            read = (tensor.index_select(0, at) for tensor in (residual, x, seeds[:, -self._gate_size :]))
            residual = residual.index_copy(0, at, blend(operator, *read))
        residual = residual * route.alpha
        if route.straight_through is not None:
            residual = torch.where(route.straight_through, hide(residual), residual)
        return before.index_add(0, route.rows, residual)


def _pick(tensor: Tensor, rows: Tensor | None) -> Tensor:
    """Return the rows of a tensor, all of them for None."""
    return tensor if rows is None else tensor.index_select(0, rows)
