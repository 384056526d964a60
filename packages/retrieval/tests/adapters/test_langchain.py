from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests.vectorstores import VectorStoreIntegrationTests

from sightline.retrieval import HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.adapters import LangChainEncoder, LangChainStore


class TestStandardSuiteInMemory(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[VectorStore]:
        with LocalEmbeddingStore(LangChainEncoder(self.get_embeddings())) as store:
            yield LangChainStore(store)


class TestStandardSuiteOnDisk(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[VectorStore]:
        with LocalEmbeddingStore(LangChainEncoder(self.get_embeddings()), tmp_path) as store:
            yield LangChainStore(store)


def filled() -> LangChainStore:
    store = LangChainStore(LocalEmbeddingStore(HashingEncoder(64)))
    store.add_documents(
        [
            Document(id="lamp", page_content="grey desk lamp", metadata={"price": 12, "on": date(2026, 1, 1)}),
            Document(id="lamps", page_content="grey desk lamps", metadata={"price": 13}),
            Document(id="mug", page_content="coffee mug", metadata={"price": 7}),
        ]
    )
    return store


def test_filters_scores_and_diversity_are_the_stores():
    store = filled()
    assert [one.id for one in store.similarity_search("lamp", k=3, filter={"price": {"<": 10}})] == ["mug"]
    (document, score) = store.similarity_search_with_score("grey desk lamp", k=1)[0]
    assert (document.id, document.metadata["on"]) == ("lamp", date(2026, 1, 1))
    assert score == pytest.approx(1.0)
    assert store.similarity_search_with_relevance_scores("grey desk lamp", k=1)[0][1] == pytest.approx(1.0)
    found = store.max_marginal_relevance_search("grey desk lamp", k=2, lambda_mult=0.3)
    assert [one.id for one in found] == ["lamp", "mug"]
    vector = store.store.encoder.encode(["coffee mug"])[0].tolist()
    assert store.similarity_search_by_vector(vector, k=1)[0].id == "mug"
    assert store.max_marginal_relevance_search_by_vector(vector, k=1)[0].id == "mug"
    with pytest.raises(TypeError, match="where"):
        store.similarity_search("lamp", where={})


def test_a_retriever_finds_synchronously_and_awaited():
    retriever = filled().as_retriever(search_kwargs={"k": 1, "filter": {"price": {">": 10}}})
    assert [one.id for one in retriever.invoke("desk lamps")] == ["lamps"]
    assert [one.id for one in asyncio.run(retriever.ainvoke("desk lamps"))] == ["lamps"]


def test_deleting_without_ids_deletes_all():
    store = filled()
    assert store.delete()
    assert store.similarity_search("lamp") == []
    assert store.embeddings is None
