"""A `LocalEmbeddingStore` as LlamaIndex's vector store. Needs the extra `llama-index`.

Filters mean what LlamaIndex says they mean: the store narrows down where it can, and the framework's own function
decides. This module translates names and records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from pydantic import PrivateAttr

from sightline.retrieval.ranking.diversity import diversified
from sightline.retrieval.store.document import Document, SearchHit
from sightline.retrieval.store.store import LocalEmbeddingStore

try:
    from llama_index.core.schema import BaseNode, MetadataMode
    from llama_index.core.vector_stores.types import (
        BasePydanticVectorStore,
        FilterCondition,
        FilterOperator,
        MetadataFilter,
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryMode,
        VectorStoreQueryResult,
    )
    from llama_index.core.vector_stores.utils import (
        build_metadata_filter_fn,
        metadata_dict_to_node,
        node_to_metadata_dict,
    )
except ImportError as problem:
    raise ImportError(
        f"{problem.name} is not installed, and LlamaIndexStore needs it; "
        "install it with: pip install 'sightline-retrieval[llama-index]'"
    ) from problem

_REFERENCE_KEY = "ref_doc_id"
_FETCHED, _GROWTH = 20, 4
_DEFAULT_MMR_WEIGHT = 0.5
_ORDERS = {
    FilterOperator.GT: ">",
    FilterOperator.GTE: ">=",
    FilterOperator.LT: "<",
    FilterOperator.LTE: "<=",
}

_Result = TypeVar("_Result")


class LlamaIndexStore(BasePydanticVectorStore):
    """A store that LlamaIndex reads and writes; the vectors are those that LlamaIndex makes.

    Args:
        store: store whose encoder names LlamaIndex's embedding, for example `GivenVectors("bge-small", 384)`; whoever
            opened it closes it. It is durable by itself, `persist` has nothing to do.
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    _store: LocalEmbeddingStore = PrivateAttr()

    def __init__(self, store: LocalEmbeddingStore, **kwargs: Any) -> None:
        super().__init__(**{"stores_text": True, **kwargs})
        self._store = store

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class, as LlamaIndex asks for it."""
        return "LlamaIndexStore"

    @property
    def client(self) -> LocalEmbeddingStore:
        """The store."""
        return self._store

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Upsert nodes with their embeddings and return their ids.

        Args:
            nodes: nodes that were embedded.
            **kwargs: nothing that is looked at.
        """
        if nodes:
            self._store.upsert(map(_document, nodes), np.array([node.get_embedding() for node in nodes]))
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document.

        Args:
            ref_doc_id: id of the document.
            **delete_kwargs: nothing that is looked at.
        """
        self._store.delete_where({_REFERENCE_KEY: ref_doc_id})

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete nodes by their ids, or all that a filter holds for, or those for which both is true.

        Args:
            node_ids: ids of nodes; those that are not there are passed over.
            filters: filters on metadata.
            **delete_kwargs: nothing that is looked at.
        """
        if node_ids is not None or filters is not None:
            self._store.delete(document.id for document in self._chosen(node_ids, filters))

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return nodes by their ids, those that a filter holds for, or those for which both is true; else all.

        Args:
            node_ids: ids of nodes.
            filters: filters on metadata.
        """
        return [_node(document) for document in self._chosen(node_ids, filters)]

    def clear(self) -> None:
        """Delete all nodes."""
        self._store.delete_where({})

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Find the nodes nearest to an embedding.

        Args:
            query: query with an embedding, in the default mode or that of maximal marginal relevance.
            **kwargs: `mmr_threshold`, the weight of relevance.

        Raises:
            ValueError: the query has no embedding, or another mode.
        """
        if query.query_embedding is None:
            raise ValueError("the query has no embedding")
        top_k = query.similarity_top_k
        if query.mode == VectorStoreQueryMode.DEFAULT:
            hits = self._nearest(query, top_k)
        elif query.mode == VectorStoreQueryMode.MMR:
            weight = kwargs.get("mmr_threshold", query.mmr_threshold)
            hits = self._nearest(query, max(_FETCHED, _GROWTH * top_k))
            weight = _DEFAULT_MMR_WEIGHT if weight is None else weight
            hits = diversified(hits, top_k=top_k, relevance_weight=weight) if hits else []
        else:
            raise ValueError(f"queries of mode {query.mode.value!r} are not offered; use HybridSearch for words")
        return VectorStoreQueryResult(
            nodes=[_node(hit.document) for hit in hits],
            similarities=[hit.score for hit in hits],
            ids=[hit.document.id for hit in hits],
        )

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Await `add`."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Await `delete`."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Await `delete_nodes`."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Await `get_nodes`."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    async def aclear(self) -> None:
        """Await `clear`."""
        await asyncio.to_thread(self.clear)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Await `query`."""
        return await asyncio.to_thread(self.query, query, **kwargs)

    def _nearest(self, query: VectorStoreQuery, count: int) -> list[SearchHit]:
        """Return the nearest hits that pass the filters, fetching more until there are enough or no more.

        An empty list of nodes or documents is none to LlamaIndex, whose retrievers give it for all.
        """
        where, limit = _superset(query.filters), count
        if query.doc_ids:
            where = {"and": [where, {_REFERENCE_KEY: {"in": list(query.doc_ids)}}]}
        while True:
            hits = self._store.search(query.query_embedding or [], top_k=limit, where=where, with_vectors=True)
            kept = [
                hit
                for hit in hits
                if (not query.node_ids or hit.document.id in query.node_ids)
                and _holds(query.filters, hit.document.metadata)
            ]
            if len(kept) >= count or len(hits) < limit:
                return kept[:count]
            limit *= _GROWTH

    def _chosen(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> list[Document]:
        if node_ids is None:
            found = self._store.documents(_superset(filters))
        else:
            found = iter(self._store.get_many(node_ids).values())
        return [document for document in found if _holds(filters, document.metadata)]


def _document(node: BaseNode) -> Document:
    # A node may have no text, a document of the store always has some.
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    metadata = {**node_to_metadata_dict(node, remove_text=True, flat_metadata=False), "_has_text": bool(text)}
    return Document(id=node.node_id, content=text or " ", metadata=metadata)


def _node(document: Document) -> BaseNode:
    text = document.content if document.metadata.get("_has_text") else ""
    return metadata_dict_to_node(dict(document.metadata), text=text)


def _superset(filters: MetadataFilters | None) -> dict[str, object]:
    """Return a filter of the store that holds wherever LlamaIndex's do, and perhaps elsewhere."""
    if filters is None or (filters.condition or FilterCondition.AND) != FilterCondition.AND:
        return {}
    parts = [part for leaf in filters.filters if isinstance(leaf, MetadataFilter) and (part := _native(leaf))]
    return {"and": parts} if parts else {}


def _native(leaf: MetadataFilter) -> dict[str, object] | None:
    if leaf.operator in _ORDERS and isinstance(leaf.value, (int, float, str)):
        return {leaf.key: {_ORDERS[leaf.operator]: leaf.value}}
    choices = leaf.value if leaf.operator == FilterOperator.IN else [leaf.value]
    # To Python 1 is True and equal to it, to the store it is not; a text holds its parts, to the store it has none.
    plain = isinstance(choices, list) and all(
        isinstance(one, (str, float, int)) and one not in (0, 1) for one in choices
    )
    if leaf.operator in (FilterOperator.EQ, FilterOperator.IN) and plain:
        return {leaf.key: {"in": choices}}
    return None


def _holds(filters: MetadataFilters | None, metadata: Mapping[str, Any]) -> bool:
    """Return whether LlamaIndex's filters hold; its function decides each, nesting is put together here."""
    if filters is None or not filters.filters:
        return True
    verdicts = [
        _holds(leaf, metadata) if isinstance(leaf, MetadataFilters) else _leaf_holds(leaf, metadata)
        for leaf in filters.filters
    ]
    combine: dict[FilterCondition, Callable[[list[bool]], bool]] = {
        FilterCondition.AND: all,
        FilterCondition.OR: any,
        FilterCondition.NOT: lambda found: not any(found),
    }
    return combine[filters.condition or FilterCondition.AND](verdicts)


def _leaf_holds(leaf: MetadataFilter, metadata: Mapping[str, Any]) -> bool:
    try:
        return build_metadata_filter_fn(lambda _: metadata, MetadataFilters(filters=[leaf]))("")
    except TypeError:  # values of kinds that are in no order, or of which neither can hold the other
        return False
