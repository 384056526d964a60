"""Which arithmetic the networks use: a processor's flags do not say which is faster, so both are timed."""

from __future__ import annotations

import time
from typing import Literal

import torch

from sightline.agents.reasoning.models.reasoner import Reasoner

Precision = Literal["float32", "bfloat16", "float16"]

_DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_QUESTIONS = 16
_REPEATS = 4  # of which the fastest counts: other processes slow down some


def dtype_of(precision: Precision) -> torch.dtype:
    """Return PyTorch's type of an arithmetic."""
    return _DTYPES[precision]


def choose_precision(precision: Literal["auto"] | Precision, model: Reasoner, device: str) -> Precision:
    """Return the arithmetic to use; `auto` is bfloat16 where a segment of this model is faster with it."""
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    if device != "cpu":
        return "float32"
    return "bfloat16" if _seconds(model, torch.bfloat16) < _seconds(model, torch.float32) else "float32"


def _seconds(model: Reasoner, dtype: torch.dtype) -> float:
    """Return the least seconds that a segment takes forth and back."""
    inputs = torch.zeros(_QUESTIONS, model.config.length, dtype=torch.int64)
    latents = model.initial(inputs, dtype).detach()
    best = float("inf")
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        _, output = model(inputs, latents, dtype)
        torch.autograd.grad(output.logits.sum(), list(model.parameters()), allow_unused=True)
        best = min(best, time.perf_counter() - begun)
    return best
