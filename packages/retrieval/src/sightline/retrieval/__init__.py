"""Chunking, text encoders, an embedding store and a retriever conditioned on an agent's state.

Start with `chunk_text`, an encoder and `LocalEmbeddingStore`; go on to `StateConditionedRetriever` and
`train_retriever`. Names are imported on first use, so that nothing here loads PyTorch before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.retrieval.chunking import Chunk, ChunkingConfig, chunk_text
    from sightline.retrieval.correlation import correlated
    from sightline.retrieval.encoders import CachedEncoder, HashingEncoder, SentenceTransformerEncoder, TextEncoder
    from sightline.retrieval.examples import (
        RetrievalExample,
        build_example,
        label_chunks,
        read_examples,
        write_examples,
    )
    from sightline.retrieval.losses import importance_loss, margin_loss, multi_positive_info_nce
    from sightline.retrieval.metadata_filter import MetadataFilter, parse_filter
    from sightline.retrieval.metrics import ndcg_at_k, recall_at_k, reciprocal_rank
    from sightline.retrieval.ranking import RankingExamples, index_examples
    from sightline.retrieval.retriever import RetrieverConfig, StateConditionedRetriever
    from sightline.retrieval.store import Document, LocalEmbeddingStore, SearchHit
    from sightline.retrieval.store_errors import (
        DuplicateDocumentError,
        EncoderMismatchError,
        EncoderOutputError,
        FilterError,
        InvalidDocumentError,
        InvalidQueryError,
        ReadOnlyStoreError,
        StoreClosedError,
        StoreDamagedError,
        StoreError,
        StoreLockedError,
        UnknownDocumentError,
    )
    from sightline.retrieval.training import (
        ConditionFunction,
        EpochMetrics,
        RetrieverTrainingConfig,
        TrainingResult,
        score_examples,
        train_retriever,
    )
    from sightline.retrieval.view_search import IndexReport

__all__ = [
    "CachedEncoder",
    "Chunk",
    "ChunkingConfig",
    "ConditionFunction",
    "Document",
    "DuplicateDocumentError",
    "EncoderMismatchError",
    "EncoderOutputError",
    "EpochMetrics",
    "FilterError",
    "HashingEncoder",
    "IndexReport",
    "InvalidDocumentError",
    "InvalidQueryError",
    "LocalEmbeddingStore",
    "MetadataFilter",
    "RankingExamples",
    "ReadOnlyStoreError",
    "RetrievalExample",
    "RetrieverConfig",
    "RetrieverTrainingConfig",
    "SearchHit",
    "SentenceTransformerEncoder",
    "StateConditionedRetriever",
    "StoreClosedError",
    "StoreDamagedError",
    "StoreError",
    "StoreLockedError",
    "TextEncoder",
    "TrainingResult",
    "UnknownDocumentError",
    "build_example",
    "chunk_text",
    "correlated",
    "importance_loss",
    "index_examples",
    "label_chunks",
    "margin_loss",
    "multi_positive_info_nce",
    "ndcg_at_k",
    "parse_filter",
    "read_examples",
    "recall_at_k",
    "reciprocal_rank",
    "score_examples",
    "train_retriever",
    "write_examples",
]

_MODULES = {
    "store_errors": (
        "DuplicateDocumentError",
        "EncoderMismatchError",
        "EncoderOutputError",
        "FilterError",
        "InvalidDocumentError",
        "InvalidQueryError",
        "ReadOnlyStoreError",
        "StoreClosedError",
        "StoreDamagedError",
        "StoreError",
        "StoreLockedError",
        "UnknownDocumentError",
    ),
    "view_search": ("IndexReport",),
    "metadata_filter": (
        "MetadataFilter",
        "parse_filter",
    ),
    "correlation": ("correlated",),
    "chunking": ("Chunk", "ChunkingConfig", "chunk_text"),
    "encoders": ("CachedEncoder", "HashingEncoder", "SentenceTransformerEncoder", "TextEncoder"),
    "examples": ("RetrievalExample", "build_example", "label_chunks", "read_examples", "write_examples"),
    "losses": ("importance_loss", "margin_loss", "multi_positive_info_nce"),
    "metrics": ("ndcg_at_k", "recall_at_k", "reciprocal_rank"),
    "ranking": ("RankingExamples", "index_examples"),
    "retriever": ("RetrieverConfig", "StateConditionedRetriever"),
    "store": ("Document", "LocalEmbeddingStore", "SearchHit"),
    "training": (
        "ConditionFunction",
        "EpochMetrics",
        "RetrieverTrainingConfig",
        "TrainingResult",
        "score_examples",
        "train_retriever",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
