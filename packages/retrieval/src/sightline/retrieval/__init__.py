"""Chunking, text encoders, an embedding store and a retriever conditioned on an agent's state.

Start with `chunk_text`, an encoder and `LocalEmbeddingStore`; go on to `RagRetriever` for other backends, and to
`StateConditionedRetriever` and `train_retriever`. Names are imported on first use, so that nothing here loads PyTorch
before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.retrieval.backends import (
        BackendCoolingOffError,
        BackendError,
        BackendLimitError,
        BackendTimeoutError,
        BackendUnavailableError,
        ForeignRecordError,
        VectorBackend,
    )
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
    from sightline.retrieval.fusion import reciprocal_rank_fusion
    from sightline.retrieval.guarded_backend import FailedAttempt, RetryPolicy
    from sightline.retrieval.hybrid import HybridHit, HybridSearch
    from sightline.retrieval.local_backend import LocalBackend
    from sightline.retrieval.losses import importance_loss, margin_loss, multi_positive_info_nce
    from sightline.retrieval.metadata_filter import MetadataFilter, parse_filter
    from sightline.retrieval.metrics import ndcg_at_k, recall_at_k, reciprocal_rank
    from sightline.retrieval.pinecone import PineconeBackend
    from sightline.retrieval.qdrant import QdrantBackend
    from sightline.retrieval.rag import AllBackendsFailedError, Answer, BackendHealth, RagRetriever, WriteReport
    from sightline.retrieval.ranking import RankingExamples, index_examples
    from sightline.retrieval.reranking import CrossEncoderReranker, RerankedDocument, Reranker, rerank
    from sightline.retrieval.retriever import RetrieverConfig, StateConditionedRetriever
    from sightline.retrieval.store import Document, LocalEmbeddingStore, SearchHit
    from sightline.retrieval.store_errors import (
        DuplicateDocumentError,
        EncoderMismatchError,
        EncoderOutputError,
        FilterError,
        ForeignFolderError,
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
    "AllBackendsFailedError",
    "Answer",
    "BackendCoolingOffError",
    "BackendError",
    "BackendHealth",
    "BackendLimitError",
    "BackendTimeoutError",
    "BackendUnavailableError",
    "CachedEncoder",
    "Chunk",
    "ChunkingConfig",
    "ConditionFunction",
    "CrossEncoderReranker",
    "Document",
    "DuplicateDocumentError",
    "EncoderMismatchError",
    "EncoderOutputError",
    "EpochMetrics",
    "FailedAttempt",
    "FilterError",
    "ForeignFolderError",
    "ForeignRecordError",
    "HashingEncoder",
    "HybridHit",
    "HybridSearch",
    "IndexReport",
    "InvalidDocumentError",
    "InvalidQueryError",
    "LocalBackend",
    "LocalEmbeddingStore",
    "MetadataFilter",
    "PineconeBackend",
    "QdrantBackend",
    "RagRetriever",
    "RankingExamples",
    "ReadOnlyStoreError",
    "RerankedDocument",
    "Reranker",
    "RetrievalExample",
    "RetrieverConfig",
    "RetrieverTrainingConfig",
    "RetryPolicy",
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
    "VectorBackend",
    "WriteReport",
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
    "reciprocal_rank_fusion",
    "rerank",
    "score_examples",
    "train_retriever",
    "write_examples",
]

_MODULES = {
    "backends": (
        "BackendCoolingOffError",
        "BackendError",
        "BackendLimitError",
        "BackendTimeoutError",
        "BackendUnavailableError",
        "ForeignRecordError",
        "VectorBackend",
    ),
    "guarded_backend": ("FailedAttempt", "RetryPolicy"),
    "hybrid": ("HybridHit", "HybridSearch"),
    "fusion": ("reciprocal_rank_fusion",),
    "local_backend": ("LocalBackend",),
    "pinecone": ("PineconeBackend",),
    "qdrant": ("QdrantBackend",),
    "rag": (
        "AllBackendsFailedError",
        "Answer",
        "BackendHealth",
        "RagRetriever",
        "WriteReport",
    ),
    "reranking": (
        "CrossEncoderReranker",
        "RerankedDocument",
        "Reranker",
        "rerank",
    ),
    "store_errors": (
        "DuplicateDocumentError",
        "EncoderMismatchError",
        "EncoderOutputError",
        "FilterError",
        "ForeignFolderError",
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
