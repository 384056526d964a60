from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.store.database.connections import DocumentDatabase

ENCODER = HashingEncoder(4)


def documents(*names: str) -> list[Document]:
    return [Document(id=name, content=f"text of {name}") for name in names]


@pytest.mark.parametrize("page", [1, 2, 3, 4, 5, 6])
def test_pages_of_any_size_list_every_document_once(monkeypatch: pytest.MonkeyPatch, page: int):
    monkeypatch.setattr("sightline.retrieval.store.contents._PAGE_DOCUMENTS", page)
    with LocalEmbeddingStore(ENCODER) as store:
        store.add(documents("e", "b", "d", "a", "c", "f"))
        store.delete(["d"])
        assert [document.id for document in store.documents()] == ["a", "b", "c", "e", "f"]


def test_what_is_changed_while_documents_are_listed_skips_and_repeats_none_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("sightline.retrieval.store.contents._PAGE_DOCUMENTS", 2)
    with LocalEmbeddingStore(ENCODER) as store:
        store.add(documents(*"abcdefgh"))
        listed = []
        for document in store.documents():
            listed.append(document.id)
            if document.id == "c":
                store.upsert(documents("a", "h"))
                store.delete(["e"])
                store.compact()
        assert [name for name in listed if name not in "eh"] == list("abcdfg")
        assert listed.count("h") == 1


@pytest.mark.parametrize("limit", [1, 2])
def test_readers_beyond_the_limit_of_connections_wait_for_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
):
    monkeypatch.setattr("sightline.retrieval.store.database.connections._MAX_CONNECTIONS", limit)
    opened: list[object] = []
    connect = DocumentDatabase._connect
    monkeypatch.setattr(DocumentDatabase, "_connect", lambda self: (opened.append(self), connect(self))[1])
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        store.add(documents(*"abcdefgh"))
        found: list[str] = []

        def read(name: str) -> None:
            found.extend(store.get(name).id for _ in range(20))

        threads = [threading.Thread(target=read, args=(name,)) for name in "abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert len(found) == 160
        assert len(opened) <= limit


def test_closing_while_others_wait_for_a_connection_lets_none_of_them_hang(
    monkeypatch: pytest.MonkeyPatch,
):
    waiting, database = threading.Event(), DocumentDatabase(None, read_only=False)
    refused: list[BaseException] = []

    def wait() -> None:
        try:
            with database.reading():
                pass
        except Exception as error:
            refused.append(error)

    with database.reading():  # in memory there is one connection
        wait_for = database._available.wait_for
        monkeypatch.setattr(database._available, "wait_for", lambda ready: (waiting.set(), wait_for(ready))[1])
        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(60)
        database.close(fold_log=False)
        thread.join(timeout=60)
    assert [type(error).__name__ for error in refused] == ["StoreClosedError"]
