"""A stack of token hosts on the CPU, computed by compiled functions, one network after the other.

What a stack computes is said in `stacked.autograd`, with operations over all networks at once that run on any device.
Here a network does not meet the others, so that what becomes of it is the same to the last bit in any stack.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.hosts.blueprints import Blueprint, Residual, attention, lora, mixer, mlp, norm
from sightline.tamiyo_policy.hosts.compiled.kernels import (
    Array,
    Index,
    adam_step,
    add_scaled,
    block,
    block_back,
    clear,
    compiled,
    copy,
    cross_entropy,
    inlined,
    readout,
    readout_back,
    samples_last,
    stem,
    stem_back,
    times,
)
from sightline.tamiyo_policy.hosts.compiled.module_kernels import Kernel, blend, blend_back, grow, grow_back, saved_rows
from sightline.tamiyo_policy.hosts.config import AdamConfig
from sightline.tamiyo_policy.hosts.hosts import TokenHost
from sightline.tamiyo_policy.hosts.stacked.model import StackedModel
from sightline.tamiyo_policy.hosts.stacked.routing import SeedSetting

_KERNELS: Mapping[Residual, Kernel] = {
    norm: Kernel.NORM,
    lora: Kernel.LORA,
    mlp: Kernel.MLP,
    mixer: Kernel.MIXER,
    attention: Kernel.ATTENTION,
}
"""The kernel that computes the same as a module's function."""

_EVALUATED_AT_ONCE = 64
_ZERO, _ONE, _LEARNS = np.float32(0.0), np.float32(1.0), np.bool_(True)


class _Stack(NamedTuple):
    """Parameters of hosts [E, P], or of seeds [E K, W], with moments of the same shape and steps [E] or [E K]."""

    parameters: Array
    mean: Array
    square: Array
    steps: Array


class _Slots(NamedTuple):
    """What slots [E, K] hold: kernel of a module or -1, its hidden units, operator, and whether it passes through."""

    kernel: Index
    units: Index
    operator: Index
    through: NDArray[np.bool_]


class _Scratch(NamedTuple):
    """Memory for one pass of one network over B samples, n = S B."""

    pixels: Array  # [C, n]
    hidden: Array  # [K + 1, D, n], before each block, and at the end
    mixed: Array  # [K, D, n], what channel maps read
    result: Array  # [K, D, n], of blocks
    residual: Array  # [K, D, n], of modules
    saved: Array  # [K, rows, n], of modules
    share: Array  # [K, D + 1, B], of gates
    pooled: Array  # [D, B]
    logits: Array  # [classes, B]
    gradients: Array  # [4, D, n]
    work: Array  # [rows, n]


def can_compile(blueprints: Mapping[int, Blueprint]) -> bool:
    """Return whether there are compiled functions for all modules."""
    return all(module.residual in _KERNELS for module in blueprints.values())


class CompiledModel(StackedModel):
    """Stacked token hosts on the CPU, with modules for which `can_compile` holds.

    Args:
        workers: threads that share the networks among them.
    """

    host: TokenHost

    def __init__(
        self,
        host: TokenHost,
        blueprints: Mapping[int, Blueprint],
        num_networks: int,
        *,
        channels: int,
        adam: AdamConfig | None = None,
        workers: int = 1,
    ) -> None:
        super().__init__(host, blueprints, num_networks, channels=channels, adam=adam)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="growth") if workers > 1 else None
        self._memory = threading.local()
        # By id; the last entries are those of -1.
        self._kernels, self._units = np.full(max(blueprints) + 2, -1), np.zeros(max(blueprints) + 2, np.int64)
        for index, module in blueprints.items():
            self._kernels[index], self._units[index] = _KERNELS[module.residual], module.shapes[0][0]

    def train(
        self, setting: SeedSetting, frozen: NDArray[np.bool_], inputs: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take one Adam step per minibatch; see `StackedModel.train`.

        Raises:
            ValueError: a setting, samples or labels that are not for these networks.
        """
        batches, networks, samples = labels.shape
        self._check(inputs.flatten(0, 1), labels.flatten(0, 1))
        if (networks, frozen.shape) != (len(self.host_parameters), setting.alpha.shape):
            raise ValueError(f"samples of {networks} networks, slots {frozen.shape}, setting {setting.alpha.shape}")
        found = np.zeros((networks, 3 + frozen.shape[1]))
        hosts, seeds, adam = self.host_adam, self.seed_adam, self._adam
        of_hosts = self.host_parameters, hosts.mean, hosts.square, hosts.steps
        of_seeds = self.seed_parameters, seeds.mean, seeds.square, seeds.steps
        arguments = (
            _Stack(*(tensor.numpy() for tensor in of_hosts)),
            _Stack(*(tensor.flatten(0, 1).numpy() for tensor in of_seeds)),
            self.trainable.numpy(),
            self.constants.numpy(),
            self._slots(setting),
            setting.alpha,
            frozen,
            inputs.contiguous().numpy(),
            labels.contiguous().numpy(),
            (adam.learning_rate, adam.beta1, adam.beta2, adam.epsilon, adam.max_norm),
        )
        self._for_each(setting, lambda network: _train(network, *arguments, self._scratch(samples), found))
        means = torch.from_numpy((found / batches).astype(np.float32))
        return means[:, 0] / samples, means[:, 2], means[:, 3:]

    def evaluate(
        self,
        setting: SeedSetting,
        networks: NDArray[np.int64],
        alpha: NDArray[np.float32],
        inputs: Tensor,
        labels: Tensor,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Measure networks under given alphas; see `StackedModel.evaluate`.

        Raises:
            ValueError: a setting, networks, samples or labels that are not for these networks.
        """
        self._check(inputs[None], labels[None])
        if len(networks) and not 0 <= networks.min() <= networks.max() < len(self.host_parameters):
            raise ValueError(f"networks must lie in [0, {len(self.host_parameters)})")
        if alpha.shape != (len(networks), self.host.num_slots):
            raise ValueError(f"alphas must be [{len(networks)}, {self.host.num_slots}], got {list(alpha.shape)}")
        order = np.lexsort((*alpha.T[::-1], networks))
        bounds = np.searchsorted(networks[order], np.arange(len(self.host_parameters) + 1))
        count = len(labels)
        size = -(-count // -(-count // _EVALUATED_AT_ONCE))
        whole = count - count % size
        parts = [slice(whole), slice(whole, count)][: 1 + (whole < count)]
        samples = [(inputs[:, part].contiguous().numpy(), labels[part].numpy()) for part in parts]
        found, sorted_alpha = np.zeros((len(networks), 2)), alpha[order]
        arguments = (
            self.host_parameters.numpy(),
            self.seed_parameters.flatten(0, 1).numpy(),
            self.constants.numpy(),
            self._slots(setting),
        )

        def evaluate(network: int) -> None:
            rows = slice(bounds[network], bounds[network + 1])
            for pixels, target in samples:
                scratch = self._scratch(min(size, len(target)))
                _evaluate(network, *arguments, sorted_alpha[rows], pixels, target, scratch, found[rows])

        self._for_each(setting, evaluate)
        loss, correct = np.empty_like(found.T)
        loss[order], correct[order] = found.T
        return 100.0 * correct / count, loss / count

    def _for_each(self, setting: SeedSetting, work: Callable[[int], None]) -> None:
        """Work on every network, first on those with most modules, so that no worker is left with them at the end."""
        networks = np.argsort((setting.blueprint < 0).sum(1)).tolist()
        list((self._pool.map if self._pool else map)(work, networks))

    def _check(self, inputs: Tensor, labels: Tensor) -> None:
        """Refuse what compiled functions, which look at no bounds, would read or write memory at random for."""
        host = self.host
        shape = len(labels), host.input_channels, labels.shape[1], host.tokens
        if inputs.shape != shape or (inputs.dtype, labels.dtype) != (torch.float32, torch.int64):
            raise ValueError(
                f"inputs must be float32 and labels int64, of shapes {list(shape)} and {list(labels.shape)}; "
                f"got {inputs.dtype} and {labels.dtype}, {list(inputs.shape)}"
            )
        if labels.numel() == 0 or labels.min() < 0 or labels.max() >= host.num_classes:
            raise ValueError(f"labels must lie in [0, {host.num_classes}), and there must be some")

    def _slots(self, setting: SeedSetting) -> _Slots:
        at = setting.blueprint
        if at.shape != self.seed_parameters.shape[:2] or ((self._kernels[at] < 0) & (at != -1)).any():
            raise ValueError(f"a setting must be {list(self.seed_parameters.shape[:2])}, of {sorted(self.blueprints)}")
        return _Slots(self._kernels[at], self._units[at], setting.operator, setting.straight_through)

    def _scratch(self, samples: int) -> _Scratch:
        """Return this thread's memory for a pass over B samples, kept because new memory costs as much as a pass."""
        if not hasattr(self._memory, "scratch"):
            self._memory.scratch = {}
        known: dict[int, _Scratch] = self._memory.scratch
        if samples not in known:
            host = self.host
            slots, depth, long = host.num_slots, host.channels, host.tokens * samples
            rows = saved_rows(depth, host.tokens, int(self._units.max()))
            shapes = [
                (host.input_channels, long),
                (slots + 1, depth, long),
                *[(slots, depth, long)] * 3,
                (slots, rows, long),
                (slots, depth + 1, samples),
                (depth, samples),
                (host.num_classes, samples),
                (4, depth, long),
                (rows, long),
            ]
            known[samples] = _Scratch(*(np.zeros(shape, np.float32) for shape in shapes))
        return known[samples]


@inlined
def _layout(scratch: _Scratch) -> tuple[int, int, int, int, int]:
    """Return samples, tokens, and where constants of scale, block parameters, and those of the next block begin."""
    _, depth, long = scratch.result.shape
    channels, samples = scratch.pixels.shape[0], scratch.pooled.shape[1]
    tokens = long // samples
    scale_at, block_at = 3 + depth * channels, depth * (channels + tokens)
    return samples, tokens, scale_at, block_at, tokens * tokens + depth * (depth + 1)


@inlined
def _activations(scratch: _Scratch, constants: Array, k: int, runs: bool) -> tuple[bool, Array, Array, Array]:
    """Return whether block k reads pixels only, and hidden, mixed and result, which are one if nothing is between."""
    bypassed = k == scratch.result.shape[0] - 1 and constants[2] > _ZERO
    hidden = scratch.hidden[k]
    mixed = scratch.mixed[k] if bypassed or constants[1] > _ZERO else hidden
    return bypassed, hidden, mixed, scratch.result[k] if runs else scratch.hidden[k + 1]


@inlined
def _forward_slot(
    scratch: _Scratch, slots: _Slots, parameters: Array, e: int, k: int, alpha: float, tokens: int
) -> None:
    """Set what is hidden after slot k, with that share of its module."""
    x, residual, saved = scratch.result[k], scratch.residual[k], scratch.saved[k]
    grow(slots.kernel[e, k], parameters, x, residual, saved, saved[: slots.units[e, k]], tokens)
    blend(slots.operator[e, k], alpha, parameters, x, residual, scratch.share[k], scratch.hidden[k + 1])


@compiled
def _train(
    e: int,
    hosts: _Stack,
    seeds: _Stack,
    trainable: NDArray[np.bool_],
    constants: Array,
    slots: _Slots,
    alpha: Array,
    frozen: NDArray[np.bool_],
    inputs: Array,
    labels: Index,
    adam: tuple[float, float, float, float, float],
    scratch: _Scratch,
    found: NDArray[np.float64],
) -> None:
    """Train network e in place; add its loss, correct answers and norms of host and seeds to `found` [E, 3 + K]."""
    count, depth, _ = scratch.result.shape
    samples, tokens, first_scale, first_block, per_block = _layout(scratch)
    readout_at = first_block + count * per_block
    parameters, fixed, logits = hosts.parameters[e], constants[e], scratch.logits
    of_hosts = np.empty((1, parameters.shape[0]), np.float32)
    of_seeds = np.empty((count, seeds.parameters.shape[1]), np.float32)
    of_host, of_x, of_residual = of_hosts[0], scratch.gradients[2], scratch.gradients[3]
    runs = np.empty(count, np.bool_)
    for k in range(count):
        runs[k] = slots.kernel[e, k] >= 0 and (slots.through[e, k] or alpha[e, k] > _ZERO)
    for m in range(inputs.shape[0]):
        samples_last(scratch.pixels, inputs[m, e])
        stem(parameters, scratch.pixels, scratch.hidden[0], samples)
        for k in range(count):
            block_at, scale_at = first_block + k * per_block, first_scale + k * depth
            bypassed, hidden, mixed, x = _activations(scratch, fixed, k, runs[k])
            block(block_at, parameters, scale_at, fixed, bypassed, scratch.pixels, hidden, mixed, x, tokens)
            if runs[k]:
                _forward_slot(scratch, slots, seeds.parameters[e * count + k], e, k, alpha[e, k], tokens)
                if slots.through[e, k]:
                    copy(scratch.hidden[k + 1], x)
        readout(readout_at, parameters, scratch.hidden[count], scratch.pooled, logits)
        cross_entropy(logits, labels[m, e], found[e])
        times(logits, _ONE / np.float32(samples))
        clear(of_hosts)
        clear(of_seeds)
        gradient, other = scratch.gradients[0], scratch.gradients[1]
        readout_back(readout_at, parameters, of_host, logits, gradient, scratch.pooled)
        for k in range(count - 1, -1, -1):
            bypassed, hidden, mixed, x = _activations(scratch, fixed, k, runs[k])
            if runs[k]:
                grown, of_grown, share = seeds.parameters[e * count + k], of_seeds[k], scratch.share[k]
                learnt = _ONE if slots.through[e, k] else alpha[e, k]
                residual, operator = scratch.residual[k], slots.operator[e, k]
                blend_back(operator, learnt, grown, of_grown, gradient, x, residual, share, of_residual, of_x)
                kernel, saved, work = slots.kernel[e, k], scratch.saved[k], scratch.work
                units, of_units = saved[: slots.units[e, k]], work[: slots.units[e, k]]
                grow_back(kernel, grown, of_grown, x, of_x, of_residual, saved, units, work, of_units, tokens)
                if not slots.through[e, k]:
                    add_scaled(gradient, _ONE, of_x)
            block_at, scale_at = first_block + k * per_block, first_scale + k * depth
            block_back(
                block_at, parameters, scale_at, fixed, bypassed, of_host, gradient, other, hidden, mixed, x, tokens
            )
            gradient, other = other, gradient
        stem_back(of_host, gradient, scratch.pixels, samples)
        for p in range(of_host.shape[0]):
            of_host[p] *= np.float32(trainable[e, p])
        found[e, 2] += adam_step(of_host, hosts.parameters, hosts.mean, hosts.square, hosts.steps, e, _LEARNS, adam)
        for k in range(count):
            if runs[k]:
                place, learns = e * count + k, not frozen[e, k]
                moments = seeds.mean, seeds.square, seeds.steps
                found[e, 3 + k] += adam_step(of_seeds[k], seeds.parameters, *moments, place, learns, adam)


@compiled
def _evaluate(
    e: int,
    hosts: Array,
    seeds: Array,
    constants: Array,
    slots: _Slots,
    alpha: Array,
    inputs: Array,
    labels: Index,
    scratch: _Scratch,
    found: NDArray[np.float64],
) -> None:
    """Add losses and correct answers of network e to `found` [N, 2], for alphas [N, K] that are sorted."""
    count, depth, _ = scratch.result.shape
    samples, tokens, first_scale, first_block, per_block = _layout(scratch)
    readout_at = first_block + count * per_block
    parameters, fixed = hosts[e], constants[e]
    for chunk in range(0, labels.shape[0], samples):
        samples_last(scratch.pixels, inputs[:, chunk : chunk + samples])
        stem(parameters, scratch.pixels, scratch.hidden[0], samples)
        for n in range(alpha.shape[0]):
            # What does not depend on an alpha that differs from that of the row before is still there.
            known = -1 if n == 0 else 0
            while 0 <= known < count and alpha[n, known] == alpha[n - 1, known]:
                known += 1
            for k in range(max(known, 0), count):
                if k > known:
                    block_at, scale_at = first_block + k * per_block, first_scale + k * depth
                    bypassed, hidden, mixed, x = _activations(scratch, fixed, k, slots.kernel[e, k] >= 0)
                    block(block_at, parameters, scale_at, fixed, bypassed, scratch.pixels, hidden, mixed, x, tokens)
                if slots.kernel[e, k] >= 0 and alpha[n, k] > _ZERO:
                    _forward_slot(scratch, slots, seeds[e * count + k], e, k, alpha[n, k], tokens)
                elif slots.kernel[e, k] >= 0:
                    copy(scratch.hidden[k + 1], scratch.result[k])
            readout(readout_at, parameters, scratch.hidden[count], scratch.pooled, scratch.logits)
            cross_entropy(scratch.logits, labels[chunk : chunk + samples], found[n])
