"""Blocks of the reasoners: gated layers over cells or channels, rotary attention, normalisation after each.

Tensors are [L, B, D]: with cells first, a layer over the cells is one matrix product with no copy. Weights are
converted to the arithmetic in use once a segment (`at`), not once an application.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

TensorFn = Callable[[Tensor], Tensor]

_MULTIPLE = 8
_ROTARY_BASE = 10_000.0


class Stack(nn.Module):
    """A network of `layers` blocks; nothing in it is normalised by statistics of the batch."""

    def __init__(
        self,
        *,
        layers: int,
        length: int,
        width: int,
        expansion: float,
        mixing: str,
        heads: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for _ in range(layers):
            mixer = (
                CellMixing(length, expansion, generator)
                if mixing == "positions"
                else Attention(length, width, heads, generator)
            )
            self.blocks.append(nn.ModuleList([mixer, FeedForward(width, expansion, generator)]))

    def at(self, dtype: torch.dtype) -> TensorFn:
        """Return the network as a function of [L, B, D] tensors of this type."""
        parts = [part.at(dtype) for block in self.blocks for part in block]  # ty: ignore[not-iterable]

        def apply(x: Tensor) -> Tensor:
            for part in parts:
                x = functional.rms_norm(x + part(x), x.shape[-1:])
            return x

        return apply


class FeedForward(nn.Module):
    """A gated layer over the channels of each cell (SwiGLU, arXiv 2002.05202)."""

    def __init__(self, width: int, expansion: float, generator: torch.Generator) -> None:
        super().__init__()
        hidden = _hidden(width, expansion)
        self.gate = matrix(hidden, width, generator)
        self.up = matrix(hidden, width, generator)
        self.down = matrix(width, hidden, generator)

    def at(self, dtype: torch.dtype) -> TensorFn:
        """Return the layer as a function."""
        gate, up, down = self.gate.to(dtype), self.up.to(dtype), self.down.to(dtype)

        def apply(x: Tensor) -> Tensor:
            hidden = functional.silu(functional.linear(x, gate)) * functional.linear(x, up)
            return functional.linear(hidden, down)

        return apply


class CellMixing(nn.Module):
    """A gated layer over the cells, the same for each channel: it knows every cell's place."""

    def __init__(self, length: int, expansion: float, generator: torch.Generator) -> None:
        super().__init__()
        hidden = _hidden(length, expansion)
        self.hidden = hidden
        self.up = matrix(2 * hidden, length, generator)
        self.down = matrix(length, hidden, generator)

    def at(self, dtype: torch.dtype) -> TensorFn:
        """Return the layer as a function."""
        up, down = self.up.to(dtype), self.down.to(dtype)

        def apply(x: Tensor) -> Tensor:
            gate, value = (up @ x.reshape(len(x), -1)).split(self.hidden)
            return (down @ (functional.silu(gate) * value)).view_as(x)

        return apply


class Attention(nn.Module):
    """Attention of every cell to every cell with rotary positions (arXiv 2104.09864)."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, length: int, width: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = matrix(3 * width, width, generator)
        self.out = matrix(width, width, generator)
        size = width // heads
        frequencies = _ROTARY_BASE ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
        self.register_buffer("cosine", angles.cos().repeat(1, 2), persistent=False)
        self.register_buffer("sine", angles.sin().repeat(1, 2), persistent=False)

    def at(self, dtype: torch.dtype) -> TensorFn:
        """Return the layer as a function."""
        weights, out = self.queries_keys_values.to(dtype), self.out.to(dtype)
        cosine, sine = self.cosine.to(dtype), self.sine.to(dtype)

        def apply(x: Tensor) -> Tensor:
            length, batch, width = x.shape
            split = functional.linear(x, weights).view(length, batch, 3, self.heads, width // self.heads)
            queries, keys, values = split.permute(2, 1, 3, 0, 4)
            attended = attend(_turned(queries, cosine, sine), _turned(keys, cosine, sine), values)
            return functional.linear(attended.permute(2, 0, 1, 3).reshape(length, batch, width), out)

        return apply


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return the values attended to, all [B, heads, L, size].

    PyTorch's own function takes four times as long backwards as this one in bfloat16 on a CPU
    (`benchmarks/reasoning.py`); everywhere else it is the faster one.
    """
    if queries.dtype != torch.bfloat16 or queries.is_cuda:
        return functional.scaled_dot_product_attention(queries, keys, values)
    flat = (queries.shape[0] * queries.shape[1], *queries.shape[2:])
    scores = torch.bmm(queries.reshape(flat), keys.reshape(flat).transpose(1, 2)) * queries.shape[-1] ** -0.5
    return torch.bmm(scores.softmax(dim=-1), values.reshape(flat)).view_as(queries)


def matrix(rows: int, columns: int, generator: torch.Generator) -> nn.Parameter:
    """Return a weight matrix of normal entries, cut at two deviations, that keeps the size of its input."""
    weights = torch.empty(rows, columns)
    nn.init.trunc_normal_(weights, std=columns**-0.5, a=-2 * columns**-0.5, b=2 * columns**-0.5, generator=generator)
    return nn.Parameter(weights)


def _hidden(size: int, expansion: float) -> int:
    return max(_MULTIPLE, round(size * expansion / _MULTIPLE) * _MULTIPLE)


def _turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    low, high = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-high, low], dim=-1) * sine
