"""How a student is made: its training prompts, its size, its training. Knows nothing of models; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from sightline.retrieval import ChunkingConfig

_RECORD = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

PACKAGED_STUDENT = Path(__file__).parent / "weights"
"""The student that comes with the package; its model card says how it was made."""

BYTES: Final = 256
"""Tokens that every vocabulary holds, so that any text can be encoded."""


class StudentDataConfig(BaseModel):
    """How situations become examples."""

    model_config = _RECORD

    views: int = Field(default=3, ge=1)
    """Examples made of every situation."""
    full_page_share: float = Field(default=0.35, ge=0, le=1)
    """Share of examples that show the whole page."""
    history: Literal["memory", "turns", "none"] = "turns"
    """What prompts show of the episode so far: what is worth remembering, or earlier turns with a whole page."""
    history_turns: int = Field(default=3, ge=0)
    """Most earlier turns shown with a whole page."""
    history_characters: int = Field(default=120, ge=0)
    """Longest earlier page, in characters."""
    chunking: ChunkingConfig = Field(default_factory=ChunkingConfig)
    """How pages are cut."""
    max_chunks: int = Field(default=8, ge=1)
    """Most chunks shown; at least one is."""
    ranked_share: float = Field(default=0.5, ge=0, le=1)
    """Share of chunk examples that show the best chunks of one of the given scorers; others are random."""
    target_share: float = Field(default=0.9, ge=0, le=1)
    """Share of chunk examples that are made to hold the expert's target."""
    tip_share: float = Field(default=0.0, ge=0, le=1)
    """Share of examples that show a tip; above 0, whoever makes examples says what tips there are."""


class StudentTrainingConfig(BaseModel):
    """Size and training of a student."""

    model_config = _RECORD

    vocabulary_size: int = Field(default=2048, ge=BYTES)
    """Most tokens; 256 are bytes."""
    layers: int = Field(default=4, ge=1)
    """Number of transformer blocks."""
    width: int = Field(default=128, ge=8)
    """Size of the residual stream."""
    heads: int = Field(default=4, ge=1)
    """Attention heads; their number divides the width."""
    feed_forward: int = Field(default=344, ge=8)
    """Hidden units of a gated feed-forward layer."""
    context: int = Field(default=1024, ge=64)
    """Longest prompt and action together, in tokens."""
    steps: int = Field(default=2000, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=32, ge=1)
    """Examples a step."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate of AdamW."""
    warmup: int = Field(default=100, ge=0)
    """Steps of linear warm-up; then the rate falls linearly to zero."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay of matrices."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    temperature: float = Field(default=0.25, gt=0)
    """Divides a candidate's mean log-probability per token before the softmax."""
    reading: float = Field(default=0.5, ge=0)
    """Weight of foreseeing the prompt's own tokens beside choosing an action. Pages repeat words of the task and of
    themselves, so every token teaches a small model to look back and copy; a model that can need not be taught."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Arithmetic of training; auto is bfloat16 where the processor has instructions for it."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Steps between checkpoints."""
    seed: int = Field(default=0, ge=0)
    """Seed of the initial weights and of the order of batches."""


class AdapterTrainingConfig(BaseModel):
    """Size and training of an adapter (LoRA, Hu et al. 2022) on a pretrained language model."""

    model_config = _RECORD

    rank: int = Field(default=8, ge=1)
    """Rank of the update of each adapted matrix."""
    alpha: float = Field(default=16.0, gt=0)
    """Scale of the updates, before it is divided by the rank."""
    targets: tuple[str, ...] | None = None
    """Names of the adapted modules; without them those that PEFT names for the model's kind, mostly queries and
    values."""
    context: int = Field(default=640, ge=64)
    """Longest prompt and action together, in tokens, that training reads; acting has the model's own context."""
    steps: int = Field(default=200, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=4, ge=1)
    """Examples a step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of AdamW."""
    warmup: int = Field(default=10, ge=0)
    """Steps of linear warm-up; then the rate falls linearly to zero."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of the updates."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    temperature: float = Field(default=0.25, gt=0)
    """Divides a candidate's mean log-probability per token before the softmax."""
    reading: float = Field(default=0.0, ge=0)
    """Weight of foreseeing the prompt's own tokens beside choosing an action."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Arithmetic of training; auto is bfloat16 where the processor, or the GPU, has instructions for it."""
    checkpoint_every: int = Field(default=20, ge=1)
    """Steps between checkpoints."""
    seed: int = Field(default=0, ge=0)
    """Seed of the initial updates and of the order of batches."""
