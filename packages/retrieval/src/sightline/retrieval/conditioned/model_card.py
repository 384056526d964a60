"""The shape of a `StateConditionedRetriever`, and the model card that is saved with one.

It knows a retriever's configuration and the record of its training, not its weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from sightline.retrieval.conditioned.training import TrainingResult


class RetrieverConfig(BaseModel):
    """The shape of a `StateConditionedRetriever`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    condition_dim: int = Field(ge=1)
    """Length of a condition vector."""
    chunk_dim: int = Field(default=384, ge=1)
    """Length of a chunk embedding."""
    hidden_dim: int | None = Field(default=None, ge=1)
    """Width of the hidden layer of the query projection; without it the projection is linear."""
    importance: bool = True
    """Whether a linear head adds a score per chunk that does not depend on the condition."""
    text_encoder: str | None = None
    """Name of the encoder of the chunks; None accepts every encoder of that dimension."""


def model_card(config: RetrieverConfig, training: TrainingResult | None) -> str:
    """Markdown with the front matter of the Hugging Face Hub; figures of training only where they are given."""
    projection = "linear" if config.hidden_dim is None else f"two layers, {config.hidden_dim} hidden units"
    formula = "cosine(project(condition), chunk)" + " + importance(chunk)" * config.importance
    return f"""---
library_name: sightline-retrieval
tags: [retrieval, web-agents]
---

# State-conditioned retriever

Ranks chunks of a page by an agent's state: `{formula}`.

| | |
|---|---|
| condition vector | {config.condition_dim} |
| chunk embedding | {config.chunk_dim} |
| text encoder | {config.text_encoder or "not recorded"} |
| query projection | {projection} |
| importance head | {"yes" if config.importance else "no"} |

```python
from sightline.retrieval import StateConditionedRetriever

retriever = StateConditionedRetriever.from_pretrained("path/to/this/folder")
best = retriever.select(condition, chunks, k=5)  # [condition_dim], [n, chunk_dim] -> indices, best first
```

Embed chunks with the encoder that the retriever was trained with.
""" + ("" if training is None else _training_section(training))


def _training_section(training: TrainingResult) -> str:
    settings = "\n".join(f"| {name} | {value} |" for name, value in training.config.model_dump().items())
    history = "\n".join(
        f"| {epoch.epoch} | {'' if epoch.loss is None else format(epoch.loss, '.4f')} | {epoch.recall:.4f} "
        f"| {epoch.mean_reciprocal_rank:.4f} | {epoch.ndcg:.4f} |"
        for epoch in training.history
    )
    k = training.config.top_k
    return f"""
## Training

Trained on {training.training_examples:,} examples; the epoch was chosen on {training.validation_examples:,} validation
examples of other episodes, so the figures of epoch {training.best_epoch}, which is the one kept, are optimistic.

| epoch | training loss | recall@{k} | MRR | nDCG@{k} |
|---|---|---|---|---|
{history}

| setting | |
|---|---|
{settings}
"""
