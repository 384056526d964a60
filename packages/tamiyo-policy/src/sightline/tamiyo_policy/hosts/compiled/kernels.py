"""Products, the token host's stages, the loss and Adam, compiled for one network on the CPU.

The same functions as in `hosts`, `stacked.autograd` and `stacked.adam`, which say what they are; here they are loops
over the samples of one network, which stay in a core's cache. Samples are the innermost axis: activations [D, n] hold
the B samples of token s of channel d side by side, n = S B, so that loops over them become vector instructions.
Everything is float32. Parameters are flat, [P]; `start` says where those meant begin. Functions add to gradients of
parameters.

Masks are multiplied, where a condition would be clearer, because compiled conditions are four times as slow. Stages are
inlined where they are used: a call would compile all that is below it once more, and slices take longest to compile.
"""

import math
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import FunctionType
from typing import Any, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float32]
Index = NDArray[np.int64]

# Sums may be reordered, which is what makes them vector sums; NaN and infinity must go on meaning what they mean.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp"}}
_FILES = "../slots.py", "kernels.py", "module_kernels.py", "model.py"  # of the functions or constants
_DIGEST = sha256(b"".join((Path(__file__).parent / name).read_bytes() for name in _FILES)).hexdigest()[:12]


def compiled(function: FunctionType) -> Callable[..., Any]:
    """Return the function, compiled and kept on disk under a name that changes with all code that it may call or read.

    Numba's cache looks for changes in the function's own file only. Functions are inlined where they are called: of one
    that is not, a process that compiles runs another version than one that reads the cache, with sums in another order.
    """
    function.__qualname__ += f"_{_DIGEST}"
    return njit(cache=True, forceinline=True, **_OPTIONS)(function)


inlined = cast(Callable[[Any], Any], njit(inline="always", **_OPTIONS))
_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
START = np.int64(0)  # a literal would be compiled for itself
_PROJECTION = np.int64(3)


@compiled
def add_product(out: Array, weight: Array, start: int, x: Array) -> None:
    """Add W [i, k] x [k, n] to out [i, n]."""
    inner = x.shape[0]
    for i in range(out.shape[0]):
        _add_rows(out[i], weight, start + i * inner, np.int64(1), x)


@compiled
def add_product_back(of_x: Array, weight: Array, start: int, gradient: Array) -> None:
    """Add the transpose of W [i, k] times gradient [i, n] to of_x [k, n]."""
    inner = of_x.shape[0]
    for k in range(inner):
        _add_rows(of_x[k], weight, start + k, inner, gradient)


@compiled
def _add_rows(row: Array, weight: Array, start: int, step: int, rows: Array) -> None:
    """Add rows [k, n], each times a weight, `step` from the one before, to row [n]."""
    k = 0
    while k + 4 <= rows.shape[0]:  # four at a time, so that the row is read and written less often
        at = start + k * step
        a, b, c, d = weight[at], weight[at + step], weight[at + 2 * step], weight[at + 3 * step]
        r0, r1, r2, r3 = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        for j in range(row.shape[0]):
            row[j] += (a * r0[j] + b * r1[j]) + (c * r2[j] + d * r3[j])
        k += 4
    while k < rows.shape[0]:
        a, r0 = weight[start + k * step], rows[k]
        for j in range(row.shape[0]):
            row[j] += a * r0[j]
        k += 1


@compiled
def add_outer(of_weight: Array, start: int, gradient: Array, x: Array) -> None:
    """Add gradient [i, n] times the transpose of x [k, n] to of_W [i, k]."""
    inner = x.shape[0]
    for i in range(gradient.shape[0]):
        row, at = gradient[i], start + i * inner
        k = 0
        while k + 4 <= inner:  # four at a time, so that the row is read less often
            a, b, c, d = _ZERO, _ZERO, _ZERO, _ZERO
            r0, r1, r2, r3 = x[k], x[k + 1], x[k + 2], x[k + 3]
            for j in range(row.shape[0]):
                a += row[j] * r0[j]
                b += row[j] * r1[j]
                c += row[j] * r2[j]
                d += row[j] * r3[j]
            of_weight[at + k] += a
            of_weight[at + k + 1] += b
            of_weight[at + k + 2] += c
            of_weight[at + k + 3] += d
            k += 4
        while k < inner:
            a, r0 = _ZERO, x[k]
            for j in range(row.shape[0]):
                a += row[j] * r0[j]
            of_weight[at + k] += a
            k += 1


@compiled
def add_mixed(out: Array, weight: Array, start: int, x: Array, tokens: int) -> None:
    """Add what W [S, S], over the tokens of every channel, makes of x [D, n] to out [D, n]."""
    for d in range(x.shape[0]):
        add_product(out[d].reshape(tokens, -1), weight, start, x[d].reshape(tokens, -1))


@compiled
def add_mixed_back(
    of_x: Array, weight: Array, of_weight: Array, start: int, gradient: Array, x: Array, tokens: int
) -> None:
    """Add the gradients of `add_mixed`."""
    for d in range(x.shape[0]):
        row = gradient[d].reshape(tokens, -1)
        add_outer(of_weight, start, row, x[d].reshape(tokens, -1))
        add_product_back(of_x[d].reshape(tokens, -1), weight, start, row)


@compiled
def clear(rows: Array) -> None:
    """Set rows [i, n] to 0."""
    for i in range(rows.shape[0]):
        row = rows[i]
        for j in range(row.shape[0]):
            row[j] = _ZERO


@compiled
def copy(out: Array, rows: Array) -> None:
    """Set out [i, n] to rows [i, n]."""
    for i in range(rows.shape[0]):
        row, target = rows[i], out[i]
        for j in range(row.shape[0]):
            target[j] = row[j]


@compiled
def fill(out: Array, bias: Array, start: int) -> None:
    """Set out [i, n] to b [i]."""
    for i in range(out.shape[0]):
        row, value = out[i], bias[start + i]
        for j in range(row.shape[0]):
            row[j] = value


@compiled
def add_sums(of_bias: Array, start: int, rows: Array) -> None:
    """Add the sums of rows [i, n] to of_b [i]."""
    for i in range(rows.shape[0]):
        row, total = rows[i], _ZERO
        for j in range(row.shape[0]):
            total += row[j]
        of_bias[start + i] += total


@compiled
def scale(rows: Array, factors: Array, start: int) -> None:
    """Multiply rows [i, n] by factors [i]."""
    for i in range(rows.shape[0]):
        row, factor = rows[i], factors[start + i]
        for j in range(row.shape[0]):
            row[j] *= factor


@compiled
def times(rows: Array, factor: float) -> None:
    """Multiply rows [i, n] by a factor."""
    for i in range(rows.shape[0]):
        row = rows[i]
        for j in range(row.shape[0]):
            row[j] *= factor


@compiled
def add_scaled(out: Array, factor: float, rows: Array) -> None:
    """Add a factor times rows [i, n] to out [i, n]."""
    for i in range(rows.shape[0]):
        row, target = rows[i], out[i]
        for j in range(row.shape[0]):
            target[j] += factor * row[j]


@compiled
def keep_positive(rows: Array, result: Array) -> None:
    """Set rows [i, n] to 0 where the result [i, n] of a ReLU is."""
    for i in range(rows.shape[0]):
        row, own = rows[i], result[i]
        for j in range(row.shape[0]):
            row[j] *= np.float32(own[j] > _ZERO)


@compiled
def mean_of_tokens(out: Array, rows: Array) -> None:
    """Set out [D, B] to the means of rows [D, n]."""
    channels, samples = out.shape
    share = np.float32(samples) / np.float32(rows.shape[1])
    clear(out)
    for d in range(channels):
        mean = out[d]
        for start in range(0, rows.shape[1], samples):
            part = rows[d, start : start + samples]
            for b in range(samples):
                mean[b] += share * part[b]


@compiled
def add_to_tokens(out: Array, factor: float, mean: Array) -> None:
    """Add a factor times mean [D, B] to out [D, n], for every token."""
    samples = mean.shape[1]
    for d in range(out.shape[0]):
        row = mean[d]
        for start in range(0, out.shape[1], samples):
            part = out[d, start : start + samples]
            for b in range(samples):
                part[b] += factor * row[b]


@compiled
def samples_last(pixels: Array, inputs: Array) -> None:
    """Set pixels [C, n] to inputs [C, B, S]."""
    channels, samples, tokens = inputs.shape
    for c in range(channels):
        for b in range(samples):
            for s in range(tokens):
                pixels[c, s * samples + b] = inputs[c, b, s]


@inlined
def stem(parameters: Array, pixels: Array, hidden: Array, samples: int) -> None:
    """Set hidden [D, n] to what the stem makes of pixels [C, n]."""
    fill(hidden.reshape(-1, samples), parameters, hidden.shape[0] * pixels.shape[0])
    add_product(hidden, parameters, START, pixels)


@inlined
def stem_back(of_parameters: Array, gradient: Array, pixels: Array, samples: int) -> None:
    """Add the gradients of the stem's parameters, from that of its result [D, n]."""
    add_outer(of_parameters, START, gradient, pixels)
    add_sums(of_parameters, gradient.shape[0] * pixels.shape[0], gradient.reshape(-1, samples))


@inlined
def block(
    start: int,
    parameters: Array,
    scale_at: int,
    constants: Array,
    bypassed: bool,
    pixels: Array,
    hidden: Array,
    mixed: Array,
    result: Array,
    tokens: int,
) -> None:
    """Set a block's result, and what its channel map reads, mixed, from hidden; all [D, n].

    A block that neither mixes tokens nor is bypassed takes `mixed` as it is, which must be hidden itself.
    """
    square, depth = tokens * tokens, hidden.shape[0]
    if bypassed:
        clear(mixed)
        add_product(mixed, constants, _PROJECTION, pixels)
    elif constants[1] > _ZERO:
        copy(mixed, hidden)
        add_mixed(mixed, parameters, start, hidden, tokens)
    fill(result, parameters, start + square + depth * depth)
    add_product(result, parameters, start + square, mixed)
    scale(result, constants, scale_at)
    if constants[0] == _ZERO:
        keep_positive(result, result)


@inlined
def block_back(
    start: int,
    parameters: Array,
    scale_at: int,
    constants: Array,
    bypassed: bool,
    of_parameters: Array,
    gradient: Array,
    of_hidden: Array,
    hidden: Array,
    mixed: Array,
    result: Array,
    tokens: int,
) -> None:
    """Add the gradients of a block's parameters and set that of hidden, from its result's, which is lost."""
    square, depth = tokens * tokens, hidden.shape[0]
    scale(gradient, constants, scale_at)
    if constants[0] == _ZERO:
        keep_positive(gradient, result)
    add_outer(of_parameters, start + square, gradient, mixed)
    add_sums(of_parameters, start + square + depth * depth, gradient)
    clear(of_hidden)
    if not bypassed:
        add_product_back(of_hidden, parameters, start + square, gradient)
    if constants[1] > _ZERO:
        copy(gradient, of_hidden)
        add_mixed_back(of_hidden, parameters, of_parameters, start, gradient, hidden, tokens)


@inlined
def readout(start: int, parameters: Array, hidden: Array, pooled: Array, logits: Array) -> None:
    """Set logits [classes, B], and pooled [D, B], from hidden [D, n]."""
    mean_of_tokens(pooled, hidden)
    fill(logits, parameters, start + logits.shape[0] * hidden.shape[0])
    add_product(logits, parameters, start, pooled)


@inlined
def readout_back(
    start: int, parameters: Array, of_parameters: Array, gradient: Array, of_hidden: Array, pooled: Array
) -> None:
    """Add the gradients of the readout's parameters and set that of hidden, from the logits'; pooled is lost."""
    add_outer(of_parameters, start, gradient, pooled)
    add_sums(of_parameters, start + gradient.shape[0] * pooled.shape[0], gradient)
    clear(pooled)
    add_product_back(pooled, parameters, start, gradient)
    clear(of_hidden)
    add_to_tokens(of_hidden, np.float32(pooled.shape[1]) / np.float32(of_hidden.shape[1]), pooled)


@compiled
def cross_entropy(logits: Array, labels: Index, found: NDArray[np.float64]) -> None:
    """Add loss in nats and correct answers to found [2 or more]; logits [classes, B] become B times their gradient."""
    classes, samples = logits.shape
    for b in range(samples):
        label, best = labels[b], 0
        for c in range(1, classes):
            best = c if logits[c, b] > logits[best, b] else best
        largest, own = logits[best, b], logits[label, b]
        mass = _ZERO
        for c in range(classes):
            logits[c, b] = math.exp(logits[c, b] - largest)
            mass += logits[c, b]
        for c in range(classes):
            logits[c, b] /= mass
        logits[label, b] -= _ONE
        found[0] += math.log(mass) - (own - largest)
        found[1] += best == label


@compiled
def adam_step(
    gradient: Array,
    parameters: Array,
    mean: Array,
    square: Array,
    steps: Array,
    at: int,
    active: bool,
    constants: tuple[float, float, float, float, float],
) -> np.float32:
    """Take the step of `stacked.adam` for module `at` of [E, P], with its gradient [P]; return the gradient's norm."""
    learning_rate, beta1, beta2, epsilon, max_norm = constants
    squares = 0.0
    for p in range(gradient.shape[0]):
        squares += np.float64(gradient[p]) * np.float64(gradient[p])
    norm = np.float32(math.sqrt(squares))
    if active and math.isfinite(norm):
        steps[at] += _ONE
        clip = np.float32(max_norm) / max(norm, np.float32(max_norm))
        share1, share2, tiny = np.float32(1 - beta1), np.float32(1 - beta2), np.float32(epsilon)
        rate = np.float32(learning_rate) / np.float32(1 - beta1 ** np.float64(steps[at]))
        correction = _ONE / np.float32(1 - beta2 ** np.float64(steps[at]))
        values, first, second = parameters[at], mean[at], square[at]
        for p in range(gradient.shape[0]):
            change = gradient[p] * clip
            first[p] += share1 * (change - first[p])
            second[p] += share2 * (change * change - second[p])
            values[p] -= rate * first[p] / (np.sqrt(second[p] * correction) + tiny)
    return norm
