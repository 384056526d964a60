"""Modules in slots and the operators that blend them, compiled for one network on the CPU.

The same functions as in `blueprints` and `stacked.blending`; see `kernels` for the axes. A forward pass leaves in
`saved` [rows, n] what its way back reads; `work` [rows, n] is scratch of the way back.
"""

import math
from enum import IntEnum

import numpy as np

from sightline.tamiyo_policy.hosts.compiled.kernels import (
    START,
    Array,
    add_mixed,
    add_mixed_back,
    add_outer,
    add_product,
    add_product_back,
    add_scaled,
    add_sums,
    add_to_tokens,
    clear,
    compiled,
    copy,
    fill,
    inlined,
    keep_positive,
    mean_of_tokens,
    times,
)
from sightline.tamiyo_policy.hosts.slots import Operator

_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
_EPSILON = np.float32(1e-5)
_BLOCK = 4
_NEGLIGIBLE = np.float32(-40.0)  # of a logit; numbers too small for a normal exponent would make all slow


class Kernel(IntEnum):
    """The modules that are compiled."""

    NORM = 0
    LORA = 1
    MLP = 2
    MIXER = 3
    ATTENTION = 4


_NORM, _LORA, _MLP, _MIXER, _ATTENTION = (int(kernel) for kernel in Kernel)
_MULTIPLY, _GATE = int(Operator.MULTIPLY), int(Operator.GATE)


def saved_rows(channels: int, tokens: int, units: int) -> int:
    """Return rows [n] of `saved`, and of `work`, that modules with up to `units` hidden units need."""
    return max(units, 4 * channels + tokens)


@inlined
def grow(kernel: int, parameters: Array, x: Array, residual: Array, saved: Array, units: Array, tokens: int) -> None:
    """Set the residual [D, n] of a module on x [D, n]; units [h, n] are the first of `saved`."""
    clear(residual)
    if kernel == _NORM:
        _norm(parameters, x, residual, saved)
    elif kernel == _LORA:
        clear(units)
        add_product(units, parameters, START, x)
        add_product(residual, parameters, units.shape[0] * x.shape[0], units)
    elif kernel == _MLP:
        fill(units, parameters, units.shape[0] * x.shape[0])
        add_product(units, parameters, START, x)
        keep_positive(units, units)
        add_product(residual, parameters, units.shape[0] * (x.shape[0] + 1), units)
    elif kernel == _MIXER:
        add_mixed(residual, parameters, START, x, tokens)
    else:
        _attention(parameters, x, residual, saved, tokens)


@inlined
def grow_back(
    kernel: int,
    parameters: Array,
    of_parameters: Array,
    x: Array,
    of_x: Array,
    gradient: Array,
    saved: Array,
    units: Array,
    work: Array,
    of_units: Array,
    tokens: int,
) -> None:
    """Add the gradients of a module's parameters and of x [D, n], from that of its residual."""
    if kernel == _NORM:
        _norm_back(parameters, of_parameters, of_x, gradient, saved, work)
    elif kernel == _MIXER:
        add_mixed_back(of_x, parameters, of_parameters, START, gradient, x, tokens)
    elif kernel == _ATTENTION:
        _attention_back(parameters, of_parameters, x, of_x, gradient, saved, work, tokens)
    else:
        outer = units.shape[0] * (x.shape[0] + (kernel == _MLP))
        add_outer(of_parameters, outer, gradient, units)
        clear(of_units)
        add_product_back(of_units, parameters, outer, gradient)
        if kernel == _MLP:
            keep_positive(of_units, units)
            add_sums(of_parameters, units.shape[0] * x.shape[0], of_units)
        add_outer(of_parameters, START, of_units, x)
        add_product_back(of_x, parameters, START, of_units)


@compiled
def _norm(parameters: Array, x: Array, residual: Array, saved: Array) -> None:
    channels, long = x.shape
    share = _ONE / np.float32(channels)
    inverse, mean = saved[channels], saved[channels + 1]
    strength = np.float32(math.tanh(parameters[2 * channels]))
    clear(saved[channels : channels + 2])
    for d in range(channels):
        row = x[d]
        for j in range(long):
            mean[j] += share * row[j]
    for d in range(channels):
        row, centred = x[d], saved[d]
        for j in range(long):
            centred[j] = row[j] - mean[j]
            inverse[j] += share * (centred[j] * centred[j])
    for j in range(long):
        inverse[j] = _ONE / np.sqrt(inverse[j] + _EPSILON)
    for d in range(channels):
        normal, target = saved[d], residual[d]
        gain, shift = parameters[d] * strength, parameters[channels + d] * strength
        for j in range(long):
            normal[j] *= inverse[j]
            target[j] = shift + gain * normal[j]


@compiled
def _norm_back(
    parameters: Array, of_parameters: Array, of_x: Array, gradient: Array, saved: Array, work: Array
) -> None:
    channels, long = gradient.shape
    share = _ONE / np.float32(channels)
    along, mean, inverse = work[0], work[1], saved[channels]
    strength = np.float32(math.tanh(parameters[2 * channels]))
    clear(work[:2])
    of_strength = _ZERO
    for d in range(channels):
        row, normal, factor = gradient[d], saved[d], parameters[d] * strength * share
        of_gain, of_shift = _ZERO, _ZERO
        for j in range(long):
            of_gain += row[j] * normal[j]
            of_shift += row[j]
            mean[j] += factor * row[j]
            along[j] += factor * (row[j] * normal[j])
        of_parameters[d] += strength * of_gain
        of_parameters[channels + d] += strength * of_shift
        of_strength += parameters[d] * of_gain + parameters[channels + d] * of_shift
    of_parameters[2 * channels] += (_ONE - strength * strength) * of_strength
    for d in range(channels):
        row, normal, out, factor = gradient[d], saved[d], of_x[d], parameters[d] * strength
        for j in range(long):
            out[j] += inverse[j] * (factor * row[j] - mean[j] - normal[j] * along[j])


@compiled
def _attention(parameters: Array, x: Array, residual: Array, saved: Array, tokens: int) -> None:
    """Save queries, keys, values and their mixture [4 D, n], then the weights [S, n]."""
    depth, samples = x.shape[0], x.shape[1] // tokens
    queries, keys, values = saved[:depth], saved[depth : 2 * depth], saved[2 * depth : 3 * depth]
    mixture, weights = saved[3 * depth : 4 * depth], saved[4 * depth : 4 * depth + tokens]
    clear(saved[: 4 * depth + tokens])
    add_product(saved[: 3 * depth], parameters, START, x)
    times(queries, _ONE / np.float32(math.sqrt(depth)))
    _add_scores(weights, queries, keys, samples)
    for s in range(tokens):
        _softmax(weights[s].reshape(tokens, samples))
    _add_mixture(mixture, weights, values, samples)
    add_product(residual, parameters, 3 * depth * depth, mixture)


@compiled
def _attention_back(
    parameters: Array,
    of_parameters: Array,
    x: Array,
    of_x: Array,
    gradient: Array,
    saved: Array,
    work: Array,
    tokens: int,
) -> None:
    depth, samples = x.shape[0], x.shape[1] // tokens
    queries, keys, values = saved[:depth], saved[depth : 2 * depth], saved[2 * depth : 3 * depth]
    mixture, weights = saved[3 * depth : 4 * depth], saved[4 * depth : 4 * depth + tokens]
    of_queries, of_keys, of_values = work[:depth], work[depth : 2 * depth], work[2 * depth : 3 * depth]
    of_mixture, of_weights = work[3 * depth : 4 * depth], work[4 * depth : 4 * depth + tokens]
    clear(work[: 4 * depth + tokens])
    add_outer(of_parameters, 3 * depth * depth, gradient, mixture)
    add_product_back(of_mixture, parameters, 3 * depth * depth, gradient)
    _add_scores(of_weights, of_mixture, values, samples)
    _add_mixture_back(of_values, weights, of_mixture, samples)
    for s in range(tokens):
        _softmax_back(of_weights[s].reshape(tokens, samples), weights[s].reshape(tokens, samples))
    _add_mixture(of_queries, of_weights, keys, samples)
    _add_mixture_back(of_keys, of_weights, queries, samples)
    times(of_queries, _ONE / np.float32(math.sqrt(depth)))
    add_outer(of_parameters, START, work[: 3 * depth], x)
    add_product_back(of_x, parameters, START, work[: 3 * depth])


@compiled
def _add_scores(out: Array, left: Array, right: Array, samples: int) -> None:
    """Add the sum over d of left [D, (s, b)] times right [D, (t, b)] to out [S, (t, b)]."""
    depth, long = left.shape
    for first in range(0, depth, _BLOCK):  # rows 4096 bytes apart compete for the same lines of a cache
        count = min(_BLOCK, depth - first)
        lefts, rights = left[first : first + count].ravel(), right[first : first + count].ravel()
        for s in range(out.shape[0]):
            for t in range(out.shape[0]):
                at = t * samples
                _add_products(out[s, at : at + samples], lefts, s * samples, long, rights, at, long, count)


@compiled
def _add_mixture(out: Array, weights: Array, values: Array, samples: int) -> None:
    """Add the sum over t of weights [S, (t, b)] times values [D, (t, b)] to out [D, (s, b)]."""
    tokens = weights.shape[0]
    for d in range(out.shape[0]):
        for s in range(tokens):
            part = out[d, s * samples : (s + 1) * samples]
            _add_products(part, weights[s], START, samples, values[d], START, samples, tokens)


@compiled
def _add_mixture_back(out: Array, weights: Array, values: Array, samples: int) -> None:
    """Add the sum over s of weights [S, (t, b)] times values [D, (s, b)] to out [D, (t, b)]."""
    tokens, long = weights.shape
    for d in range(out.shape[0]):
        for first in range(0, tokens, _BLOCK):
            count = min(_BLOCK, tokens - first)
            lefts, right_at = weights[first : first + count].ravel(), first * samples
            for t in range(tokens):
                at = t * samples
                _add_products(out[d, at : at + samples], lefts, at, long, values[d], right_at, samples, count)


@compiled
def _add_products(
    out: Array, left: Array, left_at: int, left_step: int, right: Array, right_at: int, right_step: int, count: int
) -> None:
    """Add the sum over `count` runs of B, a step apart, of left times right to out [B]."""
    samples = out.shape[0]
    left, right = left[left_at:], right[right_at:]
    i = 0
    while i + 4 <= count:  # four at a time, so that `out` is read and written less often
        l0, r0 = left[i * left_step :], right[i * right_step :]
        l1, r1 = l0[left_step:], r0[right_step:]
        l2, r2 = l1[left_step:], r1[right_step:]
        l3, r3 = l2[left_step:], r2[right_step:]
        for b in range(samples):
            out[b] += (l0[b] * r0[b] + l1[b] * r1[b]) + (l2[b] * r2[b] + l3[b] * r3[b])
        i += 4
    while i < count:
        l0, r0 = left[i * left_step :], right[i * right_step :]
        for b in range(samples):
            out[b] += l0[b] * r0[b]
        i += 1


@compiled
def _softmax(scores: Array) -> None:
    """Replace scores [S, B] by their softmax over the tokens."""
    tokens, samples = scores.shape
    largest, mass = scores[0].copy(), np.zeros(samples, np.float32)
    for t in range(1, tokens):
        row = scores[t]
        for b in range(samples):
            largest[b] += max(row[b] - largest[b], _ZERO)
    for t in range(tokens):
        row = scores[t]
        for b in range(samples):
            row[b] = math.exp(max(row[b] - largest[b], _NEGLIGIBLE))
            mass[b] += row[b]
    for t in range(tokens):
        row = scores[t]
        for b in range(samples):
            row[b] /= mass[b]


@compiled
def _softmax_back(gradient: Array, weights: Array) -> None:
    """Turn the gradient [S, B] of softmax weights [S, B] into that of the scores."""
    tokens, samples = weights.shape
    mean = np.zeros(samples, np.float32)
    for t in range(tokens):
        row, own = gradient[t], weights[t]
        for b in range(samples):
            mean[b] += row[b] * own[b]
    for t in range(tokens):
        row, own = gradient[t], weights[t]
        for b in range(samples):
            row[b] = own[b] * (row[b] - mean[b])


@compiled
def blend(
    operator: int, alpha: float, parameters: Array, x: Array, residual: Array, share: Array, result: Array
) -> None:
    """Set the result to x plus alpha times what an operator lets pass of the residual; all [D, n].

    The last D + 1 of the parameters [W] are weights and bias of GATE, which keeps what it reads and gives for the way
    back in `share` [D + 1, B]. MULTIPLY leaves tanh(r) in the residual's place.
    """
    channels, samples = x.shape[0], share.shape[1]
    gate = parameters.shape[0] - channels - 1
    copy(result, x)
    if operator == _MULTIPLY:
        for d in range(channels):
            row, own, out = residual[d], x[d], result[d]
            for j in range(row.shape[0]):
                row[j] = _ONE - (_ONE + _ONE) / (_ONE + math.exp(row[j] + row[j]))
                out[j] += alpha * (own[j] * row[j])
    elif operator == _GATE:
        passes = share[channels]
        mean_of_tokens(share[:channels], x)
        fill(share[channels:], parameters, gate + channels)
        add_product(share[channels:], parameters, gate, share[:channels])
        for b in range(samples):
            passes[b] = _ONE / (_ONE + math.exp(-passes[b]))
        for d in range(channels):
            for start in range(0, x.shape[1], samples):
                row, out = residual[d, start : start + samples], result[d, start : start + samples]
                for b in range(samples):
                    out[b] += alpha * (passes[b] * row[b])
    else:
        add_scaled(result, alpha, residual)


@compiled
def blend_back(
    operator: int,
    alpha: float,
    parameters: Array,
    of_parameters: Array,
    gradient: Array,
    x: Array,
    residual: Array,
    share: Array,
    of_residual: Array,
    of_x: Array,
) -> None:
    """Set the gradients of residual and of x [D, n] through the operator, and add the gate's, from the result's."""
    channels, samples = x.shape[0], share.shape[1]
    gate = parameters.shape[0] - channels - 1
    clear(of_x)
    clear(of_residual)
    add_scaled(of_residual, alpha, gradient)
    if operator == _MULTIPLY:
        for d in range(channels):
            out, own, bounded, of_own = of_residual[d], x[d], residual[d], of_x[d]
            for j in range(own.shape[0]):
                of_own[j] = out[j] * bounded[j]
                out[j] *= own[j] * (_ONE - bounded[j] * bounded[j])
    elif operator == _GATE:
        passes, of_gate = share[channels], np.zeros((1, samples), np.float32)
        of_pooled = np.zeros((channels, samples), np.float32)
        of_sum = of_gate[0]
        for d in range(channels):
            for start in range(0, x.shape[1], samples):
                out, own = of_residual[d, start : start + samples], residual[d, start : start + samples]
                for b in range(samples):
                    of_sum[b] += out[b] * own[b]
                    out[b] *= passes[b]
        for b in range(samples):
            of_sum[b] *= passes[b] * (_ONE - passes[b])
        add_outer(of_parameters, gate, of_gate, share[:channels])
        add_sums(of_parameters, gate + channels, of_gate)
        add_product_back(of_pooled, parameters, gate, of_gate)
        add_to_tokens(of_x, np.float32(samples) / np.float32(x.shape[1]), of_pooled)
