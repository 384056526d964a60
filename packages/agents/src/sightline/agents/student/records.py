"""What the student learns from, and what a training run of it did. Knows nothing of models; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class StudentExample:
    """A prompt, the actions that could be taken there, and which of them an expert took."""

    prompt: str
    """What the student reads."""
    actions: tuple[str, ...]
    """The candidates."""
    chosen: int
    """Position of the expert's action among them."""
    target: tuple[float, ...] | None = None
    """Distribution over the candidates to learn in place of the expert's action alone."""


class StudentReport(BaseModel):
    """What a training run did."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    parameters: int
    """Trainable numbers."""
    examples: int
    """Examples in the training set."""
    longest: int
    """Tokens of the longest prompt with its candidates."""
    steps: int
    """Optimiser steps."""
    tokens: int
    """Tokens read, padding not counted."""
    precision: Literal["bfloat16", "float32"]
    """Arithmetic used."""
    losses: tuple[float, ...]
    """Mean loss, in nats per decision, over each of up to 20 equal parts of the run."""
