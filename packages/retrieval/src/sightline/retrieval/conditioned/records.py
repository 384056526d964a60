"""The settings of a `StateConditionedRetriever` and of its training, and the record of what happened in it.

These are the types that the modules of this room pass around; none of them needs PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RetrieverConfig(BaseModel):
    """The shape of a `StateConditionedRetriever`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    condition_dim: int = Field(ge=1)
    """Length of a condition vector."""
    chunk_dim: int = Field(default=384, ge=1)
    """Length of a chunk embedding."""
    hidden_dim: int | None = Field(default=None, ge=1)
    """Width of the hidden layer of the query projection; without it the projection is linear."""
    importance: bool = True
    """Whether a linear head adds a score per chunk that does not depend on the condition."""
    page_width: int | None = Field(default=None, ge=4, multiple_of=4)
    """Width of the attention over a page's chunks; without it every chunk is judged alone."""
    text_encoder: str | None = None
    """Name of the encoder of the chunks; None accepts every encoder of that dimension."""


class RetrieverTrainingConfig(BaseModel):
    """How to train the retriever."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    num_negatives: int = Field(default=16, ge=1)
    """Negatives drawn anew per example and epoch from the example's page; all of them where the page has fewer."""
    margin: float = Field(default=0.2, ge=0)
    """Lead that a positive should have over a negative, in cosine units (margin loss only)."""
    top_k: int = Field(default=5, ge=1)
    """Cut-off of the validation recall and nDCG."""
    freeze_state_model: bool = True
    """Keep whatever produces the condition vectors as it is."""
    train_query_proj_only: bool = True
    """Train the query projection of the retriever only, and leave its importance head alone."""
    loss: Literal["info_nce", "margin"] = "info_nce"
    """Loss over the candidates of one page."""
    temperature: float = Field(default=0.05, gt=0)
    """Softmax temperature (InfoNCE only)."""
    in_batch_weight: float = Field(default=0.0, ge=0)
    """Weight of each chunk of the other pages in the batch as a negative (InfoNCE only); 0 leaves them out."""
    false_negative_cosine: float = Field(default=0.95, gt=0, le=1)
    """A chunk of another page that is at least this similar to a positive is not used as a negative."""
    importance_weight: float = Field(default=0.0, ge=0)
    """Weight of the loss that teaches the importance head which chunks experts click, whatever the condition."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate of AdamW."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay of AdamW."""
    epochs: int = Field(default=10, ge=1)
    """Passes over the training examples."""
    batch_size: int = Field(default=128, ge=1)
    """Examples per optimisation step."""
    seed: int = Field(default=0, ge=0)
    """Seed of the order of examples and of the negatives drawn."""

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.in_batch_weight and self.loss != "info_nce":
            raise ValueError("in_batch_weight needs loss 'info_nce'; the margin loss is over the pairs of one page")
        if self.importance_weight and self.train_query_proj_only:
            raise ValueError("importance_weight trains the importance head; set train_query_proj_only to False")
        return self


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """Validation after one epoch; epoch 0 is the retriever as it came."""

    epoch: int
    """Number of passes over the training examples so far."""
    loss: float | None
    """Mean training loss of this epoch; None for epoch 0."""
    recall: float
    """Share of validation examples with a positive among the top k."""
    mean_reciprocal_rank: float
    """Mean of 1 / rank of the first positive."""
    ndcg: float
    """Mean nDCG at k."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What happened in training."""

    history: tuple[EpochMetrics, ...]
    """One entry per epoch, epoch 0 first."""
    best_epoch: int
    """The epoch whose weights the retriever now has: highest mean reciprocal rank, earliest of equals."""
    training_examples: int
    """Number of examples trained on."""
    validation_examples: int
    """Number of examples that the epoch was chosen on."""
    config: RetrieverTrainingConfig
    """Hyperparameters."""
