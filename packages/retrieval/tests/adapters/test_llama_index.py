from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document as LlamaDocument
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from sightline.retrieval import HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.adapters import LlamaIndexStore
from sightline.retrieval.text import GivenVectors

ENCODER = HashingEncoder(32)
SPACE = GivenVectors("hashing by llama", 32)


class Hashing(BaseEmbedding):
    def _get_text_embedding(self, text: str) -> list[float]:
        return ENCODER.encode([text])[0].tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


NODES = [
    ("n1", "grey desk lamp", {"price": 12, "colour": "grey", "tags": ["a", "b"], "new": True}),
    ("n2", "brass lamp", {"price": 30, "colour": "brass", "tags": ["b"], "note": ""}),
    ("n3", "coffee mug", {"price": 7, "colour": "Grey-blue", "tags": []}),
    ("n4", "tea mug", {"price": 1, "colour": None}),
]


def nodes() -> list[TextNode]:
    made = []
    for number, (name, text, metadata) in enumerate(NODES):
        node = TextNode(id_=name, text=text, metadata=metadata, embedding=ENCODER.encode([text])[0].tolist())
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=f"doc{number // 2}")
        made.append(node)
    return made


def filled(path: Path | None = None) -> LlamaIndexStore:
    store = LlamaIndexStore(LocalEmbeddingStore(SPACE, path))
    assert store.add(nodes()) == ["n1", "n2", "n3", "n4"]
    return store


def query(text: str = "lamp", **options: Any) -> VectorStoreQuery:
    options.setdefault("similarity_top_k", 4)
    return VectorStoreQuery(query_embedding=ENCODER.encode([text])[0].tolist(), **options)


LEAVES = [
    (FilterOperator.EQ, "colour", "grey"),
    (FilterOperator.EQ, "price", 1),
    (FilterOperator.NE, "colour", "grey"),
    (FilterOperator.GT, "price", 7),
    (FilterOperator.GTE, "price", 7),
    (FilterOperator.LT, "price", 12),
    (FilterOperator.LTE, "price", 12),
    (FilterOperator.IN, "colour", ["grey", "brass"]),
    (FilterOperator.IN, "price", [7, 1]),
    (FilterOperator.NIN, "colour", ["grey", "brass"]),
    (FilterOperator.ANY, "tags", ["a", "z"]),
    (FilterOperator.ALL, "tags", ["a", "b"]),
    (FilterOperator.TEXT_MATCH, "colour", "rey"),
    (FilterOperator.TEXT_MATCH_INSENSITIVE, "colour", "GREY"),
    (FilterOperator.CONTAINS, "tags", "b"),
    (FilterOperator.IS_EMPTY, "tags", None),
    (FilterOperator.IS_EMPTY, "note", None),
    (FilterOperator.GT, "colour", "a"),
]
FILTERS = [MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=op)]) for op, key, value in LEAVES]
FILTERS += [
    MetadataFilters(filters=[first.filters[0], second.filters[0]], condition=condition)
    for first, second in [(FILTERS[0], FILTERS[4]), (FILTERS[2], FILTERS[10])]
    for condition in FilterCondition
]


@pytest.mark.parametrize("filters", FILTERS, ids=lambda one: "/".join(leaf.operator.name for leaf in one.filters))
def test_every_filter_finds_what_the_frameworks_own_store_finds(filters: MetadataFilters):
    ours, theirs = filled(), SimpleVectorStore()
    theirs.add(nodes())
    expected = theirs.query(query(filters=filters))
    found = ours.query(query(filters=filters))
    assert found.ids == expected.ids
    assert found.similarities == pytest.approx(expected.similarities, abs=1e-5)
    one = ours.query(query(filters=filters, similarity_top_k=1))
    assert one.ids == (expected.ids or [])[:1]
    assert {node.node_id for node in ours.get_nodes(filters=filters)} == set(expected.ids or [])


def test_every_operator_is_tested():
    assert {operator for operator, _, _ in LEAVES} == set(FilterOperator)


def test_filters_may_be_nested():
    inner = MetadataFilters(filters=[FILTERS[0].filters[0], FILTERS[1].filters[0]], condition=FilterCondition.OR)
    outer = MetadataFilters(filters=[inner, FILTERS[4].filters[0]], condition=FilterCondition.AND)
    assert filled().query(query(filters=outer)).ids == ["n1"]


def test_an_index_inserts_queries_deletes_and_reloads(tmp_path: Path):
    with LocalEmbeddingStore(SPACE, tmp_path) as store:
        context = StorageContext.from_defaults(vector_store=LlamaIndexStore(store))
        index = VectorStoreIndex([], storage_context=context, embed_model=Hashing())
        for name, text, metadata in NODES:
            index.insert(LlamaDocument(id_=name, text=text, metadata=metadata))
        retriever = index.as_retriever(similarity_top_k=2)
        assert retriever.retrieve("grey desk lamp")[0].node.ref_doc_id == "n1"
        assert asyncio.run(retriever.aretrieve("coffee mug"))[0].node.get_content() == "coffee mug"
        index.delete_ref_doc("n1")
        assert all(hit.node.ref_doc_id != "n1" for hit in retriever.retrieve("grey desk lamp"))
        context.persist(str(tmp_path / "context"))
    with LocalEmbeddingStore(SPACE, tmp_path, read_only=True) as store:
        again = VectorStoreIndex.from_vector_store(LlamaIndexStore(store), embed_model=Hashing())
        filters = MetadataFilters(filters=[MetadataFilter(key="price", value=10, operator=FilterOperator.LT)])
        hits = again.as_retriever(similarity_top_k=9, filters=filters).retrieve("mug")
        assert {hit.node.ref_doc_id for hit in hits} == {"n3", "n4"}
        assert {hit.node.metadata["price"] for hit in hits} == {7, 1}


def test_nodes_are_deleted_by_document_by_id_and_by_filter():
    store = filled()
    store.delete("doc0")
    assert {node.node_id for node in store.get_nodes()} == {"n3", "n4"}
    store.add(nodes())
    store.delete_nodes(["n1", "nobody"])
    store.delete_nodes(filters=FILTERS[4])
    store.delete_nodes()
    assert {node.node_id for node in store.get_nodes()} == {"n4"}
    store.clear()
    assert store.query(query()).ids == []


def test_queries_may_be_bounded_to_nodes_or_documents_and_be_diverse():
    store = filled()
    assert store.query(query(node_ids=["n3", "n1"])).ids == ["n1", "n3"]
    assert set(store.query(query(doc_ids=["doc1"])).ids or []) == {"n3", "n4"}
    diverse = store.query(query("lamp", similarity_top_k=2, mode=VectorStoreQueryMode.MMR, mmr_threshold=0.1)).ids or []
    assert len(diverse) == 2
    assert diverse[:1] == store.query(query("lamp", similarity_top_k=1)).ids
    with pytest.raises(ValueError, match="hybrid"):
        store.query(query(mode=VectorStoreQueryMode.HYBRID))
    with pytest.raises(ValueError, match="no embedding"):
        store.query(VectorStoreQuery())


def test_a_node_comes_back_as_it_went_in():
    node = TextNode(id_="x", text="", metadata={"a": [1, {"b": None}]}, embedding=[1.0] + [0.0] * 31)
    store = LlamaIndexStore(LocalEmbeddingStore(SPACE))
    store.add([node])
    (found,) = store.get_nodes()
    assert found.get_content() == ""
    assert found.metadata == node.metadata


def test_the_awaited_forms_do_the_same():
    async def work() -> None:
        store = LlamaIndexStore(LocalEmbeddingStore(SPACE))
        await store.async_add(nodes())
        assert (await store.aquery(query(similarity_top_k=1))).ids == filled().query(query(similarity_top_k=1)).ids
        await store.adelete("doc0")
        await store.adelete_nodes(["n3"])
        assert [node.node_id for node in await store.aget_nodes()] == ["n4"]
        await store.aclear()
        assert await store.aget_nodes() == []

    asyncio.run(work())


def test_a_text_without_vector_is_refused():
    with pytest.raises(TypeError, match="are given, not made"):
        LocalEmbeddingStore(SPACE).search("text")
    with pytest.raises(ValueError, match="dimension"):
        GivenVectors("x", 0)
