"""Hold what goes into models to its shape, and bring what a caller may have to what models want: float32 unit rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_UNIT_TOLERANCE = 1e-3  # of a norm; closer rows are left as they are, bit for bit


def check_inputs(
    question: Tensor, steering: Tensor, has_steering: Tensor, dimension: int, steering_dimension: int | None = None
) -> None:
    """Hold the three inputs of every predictor to their shapes.

    Args:
        question: `[B, D]` float.
        steering: `[B, D]` float, or `[B, steering_dimension]`.
        has_steering: `[B]` bool.
        dimension: width D of every embedding.
        steering_dimension: width of steering; None for D.

    Raises:
        ValueError: a shape or dtype does not fit.
    """
    width = steering_dimension or dimension
    if question.ndim != 2 or question.shape[1] != dimension or steering.shape != (len(question), width):
        raise ValueError(
            f"question and steering must have shapes [B, {dimension}] and [B, {width}], "
            f"not {list(question.shape)} and {list(steering.shape)}"
        )
    if has_steering.shape != question.shape[:1] or has_steering.dtype != torch.bool:
        raise ValueError(
            f"has_steering must be bool [{len(question)}], not {has_steering.dtype} {list(has_steering.shape)}"
        )


def unit_rows(name: str, rows: Tensor, width: int, needed: Tensor | None = None) -> Tensor:
    """Return rows of any floating type and length as float32 unit rows.

    Args:
        name: what the rows are called in messages.
        rows: `[n, width]` floating.
        width: their width.
        needed: `[n]` bool, rows that must have a direction; others become zeros. None for all.

    Raises:
        TypeError: the rows are no floating-point numbers.
        ValueError: the shape does not fit, or a needed row is not finite or all zeros.
    """
    if not rows.is_floating_point():
        raise TypeError(f"{name} must be floating-point numbers, not {rows.dtype}")
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"{name} must have shape [n, {width}], not {list(rows.shape)}")
    if needed is not None:
        rows = torch.where(needed[:, None], rows, 0.0)
    rows = rows.float()  # before norms, which overflow or vanish in half precision
    norms = rows.norm(dim=1)
    wrong = ~norms.isfinite()
    if wrong.any():
        raise ValueError(f"{name}, row {int(wrong.int().argmax())}: there are numbers that are not finite")
    zero = norms == 0 if needed is None else (norms == 0) & needed
    if zero.any():
        raise ValueError(
            f"{name}, row {int(zero.int().argmax())}: all zeros have no direction; leave the row out, or say that it "
            "is not given"
        )
    near = (norms - 1).abs() <= _UNIT_TOLERANCE
    return torch.where(near[:, None], rows, functional.normalize(rows, dim=1))
