"""How a transformer is tuned, as frozen settings. This module knows nothing of tensors."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LowRankTuning(BaseModel):
    """How a transformer is tuned by LoRA on the training pairs of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    epochs: int = Field(default=1, ge=1)
    """Passes over the training pairs."""
    max_tokens: int = Field(default=64, ge=8)
    """Tokens of a text, or of a pair of texts, that are read while it is tuned."""
    rank: int = Field(default=16, ge=1)
    """Rank of the adapters, whose scale is 2."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Largest learning rate of AdamW, after a warm-up of a tenth of the steps; then it falls to 0."""
    checkpoint_steps: int = Field(default=10, ge=1)
    """Steps after which a checkpoint is written, for a run that is killed."""


class EncoderTuning(LowRankTuning):
    """How the encoder itself is tuned. Embedding reads as many tokens of a text as the model reads."""

    batch_size: int = Field(default=32, ge=2)
    """Pairs of a step, each contrasted with the sources of all others."""
    temperature: float = Field(default=0.05, gt=0)
    """Divisor of the cosines."""
