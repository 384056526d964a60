from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore, SentenceTransformerEncoder
from sightline.retrieval.errors import DuplicateDocumentError
from sightline.retrieval.operation_log import correlated, current_correlation_id
from sightline.retrieval.text.default import default_encoder


@pytest.fixture
def fresh_default() -> Iterator[None]:
    default_encoder.cache_clear()
    yield
    default_encoder.cache_clear()


def operations(caplog: pytest.LogCaptureFixture) -> list[dict]:
    return [vars(record) for record in caplog.records if hasattr(record, "correlation_id")]


def test_every_operation_is_logged_with_its_sizes_outcome_and_an_id_of_its_own(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, "sightline.retrieval"):
        store = LocalEmbeddingStore(HashingEncoder(8))
        store.add([Document(id="a", content="x"), Document(id="b", content="y")])
        store.search_batch(["x", "y", "z"], top_k=2)
        with pytest.raises(DuplicateDocumentError):
            store.add([Document(id="a", content="x")])
    logged = operations(caplog)
    assert [entry["operation"] for entry in logged] == ["open", "add", "search", "add"]
    assert [entry["outcome"] for entry in logged] == ["ok", "ok", "ok", "DuplicateDocumentError"]
    assert logged[1]["documents"] == 2
    assert (logged[2]["queries"], logged[2]["top_k"], logged[2]["filtered"]) == (3, 2, False)
    assert all(entry["duration_ms"] >= 0 for entry in logged)
    assert len({entry["correlation_id"] for entry in logged}) == 4


def test_a_caller_can_give_the_id_and_an_encoder_can_see_it(caplog: pytest.LogCaptureFixture):
    seen = []

    class Watching(HashingEncoder):
        def encode(self, texts):
            seen.append(current_correlation_id())
            return super().encode(texts)

    store = LocalEmbeddingStore(Watching(8))
    with caplog.at_level(logging.DEBUG, "sightline.retrieval"), correlated("request 7"):
        store.add([Document(id="a", content="x")])
        store.search("x")
    assert [entry["correlation_id"] for entry in operations(caplog)] == ["request 7"] * 2
    assert seen == ["request 7"] * 2
    assert current_correlation_id() is None
    store.search("x")
    assert seen[-1] not in (None, "request 7")


@pytest.mark.parametrize("wrong", ["", "x" * 129, "a\nb", 7, None])
def test_an_id_that_could_forge_a_line_of_the_log_is_refused(wrong):
    with pytest.raises((TypeError, ValueError), match="correlation id"), correlated(wrong):
        pass


@pytest.mark.usefixtures("fresh_default")
def test_without_sentence_transformers_the_store_works_by_hashing_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with caplog.at_level(logging.WARNING):
        stores = [LocalEmbeddingStore(), LocalEmbeddingStore()]
    stores[0].add([Document(id="lamp", content="grey desk lamp"), Document(id="mug", content="coffee mug")])
    assert stores[0].search("a lamp", top_k=1)[0].document.id == "lamp"
    (warning,) = caplog.records
    assert "hashing-384" in warning.getMessage()
    assert "sightline-retrieval[sentence-transformers]" in warning.getMessage()


@pytest.mark.usefixtures("fresh_default")
def test_with_sentence_transformers_the_store_searches_by_meaning(
    minilm: SentenceTransformerEncoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    # Loading the model takes long, and the other tests have done it.
    monkeypatch.setattr("sightline.retrieval.text.default.SentenceTransformerEncoder", lambda: minilm)
    store = LocalEmbeddingStore()
    store.add([Document(id="lamp", content="a light for your desk"), Document(id="mug", content="a cup for coffee")])
    assert store.search("something to drink from", top_k=1)[0].document.id == "mug"
    assert not caplog.records
