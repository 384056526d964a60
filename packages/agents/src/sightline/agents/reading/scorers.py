"""Scorers that an agent may act by: nearness to the instruction, and a retriever that knows the episode so far.

This module knows nothing of how many chunks are read, of actors or of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from sightline.agents.reading.conditions import situation_conditions
from sightline.agents.reading.types import ChunkScorer, QueryFrom
from sightline.agents.records import Situation
from sightline.retrieval import Document, LocalEmbeddingStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sightline.agents.state.model import RecurrentStateModel
    from sightline.retrieval import StateConditionedRetriever, TextEncoder


def instruction_similarity(encoder: TextEncoder) -> ChunkScorer:
    """Score chunks by the cosine between their embedding and the instruction's."""

    def score(situations: Sequence[Situation], chunks: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        store = LocalEmbeddingStore(encoder)
        store.add(
            Document(id=f"{page}/{index}", content=text, metadata={"page": page})
            for page, texts in enumerate(chunks)
            for index, text in enumerate(texts)
        )
        queries = encoder.encode([situation.instruction for situation in situations])
        scores = [np.zeros(len(texts)) for texts in chunks]
        for page, query in enumerate(queries):
            for hit in store.search(query, top_k=max(len(chunks[page]), 1), where={"page": page}):
                scores[page][int(hit.document.id.rpartition("/")[2])] = hit.score
        return scores

    return score


def state_conditioned(
    encoder: TextEncoder,
    state_model: RecurrentStateModel,
    retriever: StateConditionedRetriever,
    query_from: QueryFrom,
) -> ChunkScorer:
    """Score chunks with a retriever that is conditioned on the episode so far; put both models in evaluation mode."""
    retriever.check_encoder(encoder)
    state_model.eval()
    retriever.eval()
    device = next(retriever.parameters()).device

    @torch.inference_mode()
    def score(situations: Sequence[Situation], chunks: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        counts = [len(page) for page in chunks]
        embeddings = torch.tensor(encoder.encode([chunk for page in chunks for chunk in page]))
        padded = pad_sequence(embeddings.split(counts), batch_first=True).to(device)
        mask = torch.arange(padded.shape[1]) < torch.tensor(counts)[:, None]
        conditions = situation_conditions(situations, encoder, state_model, query_from)
        scores = retriever.scores(conditions.to(device), padded, mask.to(device)).double().cpu().numpy()
        return [row[:count] for row, count in zip(scores, counts, strict=True)]

    return score
