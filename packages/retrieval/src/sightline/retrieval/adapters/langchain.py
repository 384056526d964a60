"""A `LocalEmbeddingStore` as LangChain's `VectorStore`. Needs the extra `langchain`.

This module translates names and records; what they mean is the store's.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.retrieval.ranking.diversity import diversified
from sightline.retrieval.store.document import Document, SearchHit
from sightline.retrieval.store.filters import Where
from sightline.retrieval.store.store import LocalEmbeddingStore
from sightline.retrieval.text.protocol import Vectors, check_texts

try:
    from langchain_core import documents as langchain_documents
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore
except ImportError as problem:
    raise ImportError(
        f"{problem.name} is not installed, and LangChainStore needs it; "
        "install it with: pip install 'sightline-retrieval[langchain]'"
    ) from problem


class LangChainEncoder:
    """LangChain's embeddings as an encoder.

    Args:
        embeddings: embeddings to ask.
        name: name of the vector space; None for the class and the model of the embeddings.
        dimension: length of a vector; None to embed one text and see.
    """

    def __init__(self, embeddings: Embeddings, name: str | None = None, dimension: int | None = None) -> None:
        self.embeddings = embeddings
        model = getattr(embeddings, "model", None) or getattr(embeddings, "model_name", "")
        self.name = f"langchain-{type(embeddings).__name__}-{model}" if name is None else name
        self.dimension = len(embeddings.embed_query("dimension")) if dimension is None else dimension

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode n texts as `[n, dimension]` rows of any length."""
        check_texts(texts)
        return np.asarray(self.embeddings.embed_documents(list(texts)), np.float32).reshape(len(texts), self.dimension)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Encode n queries as `[n, dimension]` rows of any length."""
        check_texts(texts)
        rows = [self.embeddings.embed_query(text) for text in texts]
        return np.asarray(rows, np.float32).reshape(len(texts), self.dimension)


class LangChainStore(VectorStore):
    """A store that LangChain reads and writes. `filter` is a filter in the grammar of the store.

    Args:
        store: the store; whoever opened it closes it.
    """

    def __init__(self, store: LocalEmbeddingStore) -> None:
        self.store = store

    @property
    def embeddings(self) -> Embeddings | None:
        """LangChain's embeddings, where the store's encoder is made of them."""
        encoder = self.store.encoder
        return encoder.embeddings if isinstance(encoder, LangChainEncoder) else None

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: str | Path | None = None,
        **kwargs: Any,
    ) -> LangChainStore:
        """Make a store of texts.

        Args:
            texts: texts to add.
            embedding: embeddings of the store.
            metadatas: metadata of each text.
            ids: id of each text; None to make them up.
            path: folder of the store; None to keep it in memory.
            **kwargs: other arguments of `LocalEmbeddingStore`.
        """
        made = cls(LocalEmbeddingStore(LangChainEncoder(embedding), path, **kwargs))
        made.add_texts(texts, metadatas, ids=ids)
        return made

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Upsert texts and return their ids.

        Args:
            texts: texts to add.
            metadatas: metadata of each text.
            ids: id of each text; None, for all or one of them, to make one up.
            **kwargs: nothing.

        Raises:
            StoreError: as the store raises it.
            TypeError: there are other arguments.
            ValueError: there are not as many metadata or ids as texts.
        """
        _refuse(kwargs)
        texts = list(texts)
        names = [given or str(uuid.uuid4()) for given in ids or [""] * len(texts)]
        self.store.upsert(
            Document(id=name, content=text, metadata=metadata)
            for name, text, metadata in zip(names, texts, metadatas or [{}] * len(texts), strict=True)
        )
        return names

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete documents; ids that are not there are passed over, and None stands for all.

        Args:
            ids: ids of documents.
            **kwargs: nothing.
        """
        _refuse(kwargs)
        if ids is None:
            self.store.delete_where({})
        else:
            self.store.delete(self.store.get_many(ids))
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[langchain_documents.Document]:
        """Return the documents of these ids; those that are not there are left out."""
        return [_translated(document) for document in self.store.get_many(ids).values()]

    def similarity_search(
        self,
        query: str,
        k: int = 4,
        filter: Where | None = None,  # noqa: A002 (LangChain's name)
        **kwargs: Any,
    ) -> list[langchain_documents.Document]:
        """Return the documents most similar to a text.

        Args:
            query: text that is not blank.
            k: most documents to return.
            filter: filter on metadata.
            **kwargs: nothing.
        """
        return [document for document, _ in self.similarity_search_with_score(query, k, filter, **kwargs)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: Where | None = None,  # noqa: A002 (LangChain's name)
        **kwargs: Any,
    ) -> list[tuple[langchain_documents.Document, float]]:
        """Return the documents most similar to a text, with their cosines.

        Args:
            query: text that is not blank.
            k: most documents to return.
            filter: filter on metadata.
            **kwargs: nothing.
        """
        _refuse(kwargs)
        return [(_translated(hit.document), hit.score) for hit in self.store.search(query, top_k=k, where=filter)]

    def similarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        filter: Where | None = None,  # noqa: A002 (LangChain's name)
        **kwargs: Any,
    ) -> list[langchain_documents.Document]:
        """Return the documents most similar to a vector.

        Args:
            embedding: vector of the store's space.
            k: most documents to return.
            filter: filter on metadata.
            **kwargs: nothing.
        """
        _refuse(kwargs)
        return [_translated(hit.document) for hit in self.store.search(embedding, top_k=k, where=filter)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[langchain_documents.Document]:
        """Return documents that are similar to a text and differ from one another.

        Args:
            query: text that is not blank.
            k: most documents to return.
            fetch_k: number of documents to choose from.
            lambda_mult: weight of relevance against novelty, 0 to 1.
            **kwargs: `filter`, a filter on metadata.
        """
        where = kwargs.pop("filter", None)
        _refuse(kwargs)
        return self._diverse(self.store.search(query, top_k=fetch_k, where=where, with_vectors=True), k, lambda_mult)

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[langchain_documents.Document]:
        """Return documents that are similar to a vector and differ from one another.

        Args:
            embedding: vector of the store's space.
            k: most documents to return.
            fetch_k: number of documents to choose from.
            lambda_mult: weight of relevance against novelty, 0 to 1.
            **kwargs: `filter`, a filter on metadata.
        """
        where = kwargs.pop("filter", None)
        _refuse(kwargs)
        hits = self.store.search(embedding, top_k=fetch_k, where=where, with_vectors=True)
        return self._diverse(hits, k, lambda_mult)

    def _diverse(self, hits: list[SearchHit], k: int, weight: float) -> list[langchain_documents.Document]:
        return (
            [_translated(hit.document) for hit in diversified(hits, top_k=k, relevance_weight=weight)] if hits else []
        )

    def _select_relevance_score_fn(self) -> Any:
        return lambda cosine: (1.0 + cosine) / 2.0


def _translated(document: Document) -> langchain_documents.Document:
    return langchain_documents.Document(id=document.id, page_content=document.content, metadata=dict(document.metadata))


def _refuse(unknown: dict[str, Any]) -> None:
    if unknown:
        raise TypeError(f"unknown arguments {', '.join(sorted(unknown))}; a filter is given as filter=...")
