from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import FilterError, InvalidDocumentError, InvalidQueryError, UnknownDocumentError

ENCODER = HashingEncoder(16)


class CountingEncoder:
    name, dimension = ENCODER.name, ENCODER.dimension

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts):
        self.texts += texts
        return ENCODER.encode(texts)


def document(number: int, group: int = 0) -> Document:
    return Document(id=f"{number:02d}", content=f"text {number}", metadata={"n": number, "group": group})


def filled(path: Path | None = None, count: int = 12) -> LocalEmbeddingStore:
    store = LocalEmbeddingStore(ENCODER, path)
    store.add(document(number, number % 3) for number in range(count))
    return store


def test_many_are_got_in_the_order_asked_and_the_unknown_are_left_out(tmp_path: Path):
    with filled(tmp_path, 1200) as store:
        store.upsert([document(3, 99)])
        wanted = [f"{number:02d}" for number in range(1199, -1, -1)]
        assert list(store.get_many([*wanted, "nobody", wanted[0]])) == wanted
        assert store.get_many(["03"])["03"].metadata["group"] == 99
        with pytest.raises(TypeError, match="one string"):
            store.get_many("03")


def test_counting_and_deleting_by_filter_agree_with_searching(tmp_path: Path):
    with filled(tmp_path) as store:
        assert store.count() == 12
        assert store.count({"group": 1}) == 4 == store.delete_where({"group": 1})
        assert store.count({"group": 1}) == 0 == store.delete_where({"group": 1})
        assert {hit.document.metadata["group"] for hit in store.search("text", top_k=99)} == {0, 2}
        with pytest.raises(FilterError):
            store.delete_where({"group": {}})
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        assert len(store) == 8
        assert store.delete_where({}) == 8
        assert len(store) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.lists(st.integers(0, 11), unique=True), st.sampled_from([None, {"group": 1}]))
def test_pages_hold_every_document_once_in_the_order_of_ids(limit: int, gone: list[int], where: dict | None):
    with filled() as store:
        store.delete(f"{number:02d}" for number in gone)
        pages, after = [], None
        while True:
            page = store.page(where, after=after, limit=limit, with_vectors=True)
            assert page.vectors is not None
            assert len(page.documents) == len(page.vectors) <= limit
            pages.append(page)
            after = page.after
            if after is None:
                break
        found = [one for page in pages for one in page.documents]
        expected = [n for n in range(12) if n not in gone and (where is None or n % 3 == 1)]
        assert [one.metadata["n"] for one in found] == expected == [one.metadata["n"] for one in store.documents(where)]
        if found:
            vectors = np.concatenate([page.vectors for page in pages if page.vectors is not None])
            np.testing.assert_allclose(vectors, ENCODER.encode([one.content for one in found]), atol=1e-6)


def test_a_page_of_many_rows_is_that_of_few(monkeypatch: pytest.MonkeyPatch):
    with filled() as store:
        few = store.page({"group": 1}, after="03", limit=2)
        monkeypatch.setattr("sightline.retrieval.store.database.transaction._FEW_ROWS", 0)
        assert store.page({"group": 1}, after="03", limit=2) == few
        assert [one.id for one in few.documents] == ["04", "07"]
        with pytest.raises(InvalidQueryError, match="limit"):
            store.page(limit=0)


def test_vectors_are_in_hits_when_asked_for_and_outlive_the_store(tmp_path: Path):
    with filled(tmp_path) as store:
        assert store.search("text 3")[0].vector is None
        hits = store.search("text 3", with_vectors=True)
    for hit in hits:
        assert hit.vector is not None
        np.testing.assert_allclose(hit.vector, ENCODER.encode([hit.document.content])[0], atol=1e-6)
        with pytest.raises(ValueError, match="read-only"):
            hit.vector[0] = 1


def test_metadata_changes_without_encoding(tmp_path: Path):
    encoder = CountingEncoder()
    with LocalEmbeddingStore(encoder, tmp_path) as store:
        store.add([document(1), document(2)])
        before = len(encoder.texts)
        store.update_metadata({"01": {"group": 7, "new": True}})
        assert store.get("01").metadata == {"n": 1, "group": 7, "new": True}
        store.update_metadata({"01": {"only": 1}}, replace=True)
        assert store.get("01").metadata == {"only": 1}
        assert len(encoder.texts) == before
        assert store.count({"only": 1}) == 1
        assert store.count({"group": 7}) == 0
        assert store.verify() == []
        with pytest.raises(UnknownDocumentError):
            store.update_metadata({"02": {"x": 1}, "nobody": {}})
        with pytest.raises(InvalidDocumentError, match="'02'"):
            store.update_metadata({"02": {"x": object()}})  # ty: ignore[invalid-argument-type]
        assert store.get("02") == document(2)
        assert store.search("text 1", top_k=1)[0].document.id == "01"


def test_replacing_is_one_commit(tmp_path: Path):
    with filled(tmp_path) as store:
        versions = []
        store.replace({"group": 1}, [document(0, 5), document(50, 1)])
        versions.append(sorted(one.id for one in store.documents()))
        assert versions == [["00", "02", "03", "05", "06", "08", "09", "11", "50"]]
        assert store.get("00").metadata["group"] == 5
        assert store.verify() == []


def test_duplicates_are_those_near_a_document_that_stays():
    with LocalEmbeddingStore(ENCODER) as store:
        angles = [0.0, 0.04, 0.08, 1.5, 0.001]  # the third is near the second, which is itself a duplicate
        vectors = np.zeros((5, 16))
        vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
        store.add([document(number) for number in range(5)], vectors)
        least = float(np.cos(0.05))
        assert store.duplicates(least) == {"01": "00", "04": "00"}
        store.delete(store.duplicates(least))
        assert store.duplicates(least) == {}
        assert store.duplicates(-1.0, where={"n": {"<": 3}}) == {"02": "00"}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.5, 0.9]))
def test_duplicates_across_blocks_are_those_of_a_plain_loop(seed: int, least: float):
    from sightline.retrieval.store.nearest import duplicates

    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(40, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.flatnonzero(rng.random(40) < 0.9)
    kept: list[int] = []
    expected = {}
    for row in rows.tolist():
        near = [earlier for earlier in kept if vectors[row] @ vectors[earlier] >= least]
        if near:
            expected[row] = near[0]
        else:
            kept.append(row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_BLOCK_ROWS", 7)
        assert duplicates.duplicate_rows(vectors, rows, least) == expected


def test_the_awaited_forms_do_the_same_and_leave_the_loop_free(tmp_path: Path):
    async def work(store: LocalEmbeddingStore) -> None:
        await store.aadd([document(number, number % 2) for number in range(6)])
        await store.aupsert([document(0, 9)])
        hits, batch, count = await asyncio.gather(
            store.asearch("text 3", top_k=2, where={"group": 1}), store.asearch_batch(["text 3"]), store.acount()
        )
        assert hits == store.search("text 3", top_k=2, where={"group": 1})
        assert batch == store.search_batch(["text 3"])
        assert count == 6
        assert await store.aget("00") == document(0, 9)
        assert await store.aget_many(["01"]) == {"01": document(1, 1)}
        await store.aupdate_metadata({"01": {"x": 1}})
        assert await store.adelete_where({"x": 1}) == 1
        await store.adelete(["02"])
        assert (await store.apage(limit=2)).after == "03"
        with pytest.raises(UnknownDocumentError):
            await store.aget("02")

    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        asyncio.run(work(store))
        assert store.asearch.__doc__ == "Await `search`, which runs in a thread."

        entered, leave = threading.Event(), threading.Event()

        class Slow(CountingEncoder):
            def encode(self, texts):
                entered.set()
                assert leave.wait(20)
                return super().encode(texts)

        async def beside() -> None:
            with LocalEmbeddingStore(Slow()) as slow:
                adding = asyncio.create_task(slow.aadd([document(1)]))
                while not entered.is_set():
                    await asyncio.sleep(0)  # the loop turns while a thread encodes
                leave.set()
                await adding

        asyncio.run(beside())
