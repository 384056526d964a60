"""Which arithmetic the networks use: a processor's flags do not say which is faster, so both are timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

Precision = Literal["float32", "bfloat16", "float16"]

_DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_REPEATS = 12  # of which the fastest counts: other processes slow down some
_ROWS, _WIDTH = 2048, 64


def dtype_of(precision: Precision) -> torch.dtype:
    """Return PyTorch's type of an arithmetic."""
    return _DTYPES[precision]


def choose_precision(precision: Literal["auto"] | Precision, device: str) -> Precision:
    """Return the arithmetic to use; `auto` is bfloat16 where a gated layer forth and back is faster with it."""
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    if device != "cpu":
        return "float32"
    return "bfloat16" if _seconds(torch.bfloat16) < _seconds(torch.float32) else "float32"


def _seconds(dtype: torch.dtype) -> float:
    """Return the least seconds that a gated layer takes forth and back."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_ROWS, _WIDTH, generator=generator).to(dtype)
    weights = [
        nn.Parameter(torch.randn(rows, columns, generator=generator).to(dtype))
        for rows, columns in ((2 * _WIDTH, _WIDTH), (2 * _WIDTH, _WIDTH), (_WIDTH, 2 * _WIDTH))
    ]

    def once() -> None:
        hidden = functional.silu(functional.linear(x, weights[0])) * functional.linear(x, weights[1])
        functional.linear(hidden, weights[2]).sum().backward()

    return _fastest(once)


def _fastest(work: Callable[[], None]) -> float:
    work()
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
