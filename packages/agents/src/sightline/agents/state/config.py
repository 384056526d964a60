"""Shape and training of the recurrent state model. Knows nothing of models; needs no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_RECORD = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class StateModelConfig(BaseModel):
    """Shape of a `RecurrentStateModel`."""

    model_config = _RECORD

    schema_version: Literal[1] = 1
    """Version of these settings in a file; there is one."""
    text_dimension: int = Field(default=384, ge=1)
    """Length of the text encoder's vectors."""
    text_encoder: str | None = None
    """Name of the one text encoder whose vectors the model understands; None before training."""
    event_dimension: int = Field(default=256, ge=1)
    """Length of an event's vector, the GRU's input."""
    state_dimension: int = Field(default=256, ge=1)
    """Length of the GRU's state."""
    max_characters: int = Field(default=600, ge=1)
    """An event's text is cut to this length before it is encoded; pages begin with what matters."""
    action_types: tuple[str, ...] = ()
    """Classes of the action heads, in order: those of the task's grammar; none before training."""


class NextActionTrainingConfig(BaseModel):
    """How the state model is trained."""

    model_config = _RECORD

    epochs: int = Field(default=12, ge=1)
    """Passes over the training episodes."""
    batch_size: int = Field(default=32, ge=1)
    """Episodes per update."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate of AdamW, constant."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay of AdamW."""
    gradient_clip: float = Field(default=1.0, gt=0)
    """Largest norm of a gradient; the baseline head is clipped apart from the rest."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the goals whose episodes are held out."""
    seed: int = Field(default=0, ge=0)
    """Seed of the split, the initial weights and the order of batches."""
