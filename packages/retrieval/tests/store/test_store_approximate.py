from __future__ import annotations

import logging
import sys
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
from usearch import index as usearch_index

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import StoreDamagedError
from sightline.retrieval.store.nearest.hnsw import ApproximateIndex

DIMENSION = 16
ENCODER = HashingEncoder(DIMENSION)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several threads link the nodes of an index in another order each time, so that its proposals differ."""
    monkeypatch.setattr(usearch_index.Index, "add", partialmethod(usearch_index.Index.add, threads=1))


def filled(path: Path | None = None, count: int = 3000, approximate_from: int = 0) -> LocalEmbeddingStore:
    store = LocalEmbeddingStore(ENCODER, path, approximate_from=approximate_from)
    store.add((Document(id=f"{n:05d}", content="x", metadata={"n": n}) for n in range(count)), vectors(count))
    return store


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


def ids(hits: list) -> list[str]:
    return [hit.document.id for hit in hits]


@pytest.mark.parametrize("on_disk", [False, True])
def test_most_of_the_exact_hits_are_found_and_the_reported_recall_says_so(tmp_path: Path, on_disk: bool):
    with filled(tmp_path if on_disk else None) as store:
        report = store.build_index()
        assert report.document_count == 3000
        assert report.sample_size == 200
        queries = vectors(100, seed=1)
        exact, found = (store.search_batch(queries, top_k=10, approximate=flag) for flag in (False, True))
        recall = np.mean([len({*ids(a)} & {*ids(b)}) / 10 for a, b in zip(exact, found, strict=True)])
        assert recall > 0.9
        assert report.recall == pytest.approx(recall, abs=0.1)
        scores = {hit.document.id: hit.score for hits in exact for hit in hits}
        assert all(scores[hit.document.id] for hits in found for hit in hits if hit.document.id in scores)
        assert ids(store.search(queries[0], top_k=10, approximate=True)) == ids(found[0])


def test_the_index_is_asked_only_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise AssertionError("the index was asked")

    with filled(count=100, approximate_from=101) as store:
        store.build_index()
        monkeypatch.setattr(ApproximateIndex, "candidates", refuse)
        query = vectors(1)[0]
        expected = ids(store.search(query))
        assert ids(store.search(query, approximate=True)) == expected  # too few documents
        store.add([Document(id="one more", content="x")])
        assert ids(store.search(query)) == expected
        assert ids(store.search(query, approximate=True, where={"n": {">=": 0}})) == expected
        with pytest.raises(AssertionError, match="asked"):
            store.search(query, approximate=True)


def test_documents_that_came_after_the_index_are_found_and_deleted_ones_are_not():
    with filled() as store:
        store.build_index()
        query = vectors(1, seed=5)[0]
        first, second = ids(store.search(query, top_k=2, approximate=True))
        store.delete([first])
        store.upsert([Document(id="new", content="x"), Document(id=second, content="y")], [query, -query])
        hits = store.search(query, top_k=5, approximate=True)
        assert hits[0].document.id == "new"
        assert hits[0].score == pytest.approx(1.0, abs=1e-6)
        assert not {first, second} & {*ids(hits)}
        assert ids(hits) == ids(store.search(query, top_k=5))


def test_where_deletions_leave_too_few_proposals_the_answer_is_exact():
    with filled(count=400) as store:
        store.build_index()
        query = vectors(1, seed=6)[0]
        store.delete(ids(store.search(query, top_k=100)))
        assert ids(store.search(query, top_k=10, approximate=True)) == ids(store.search(query, top_k=10))


def test_min_score_holds_for_approximate_hits():
    with filled() as store:
        store.build_index()
        hits = store.search(vectors(1)[0], top_k=50, min_score=0.6, approximate=True)
        assert 0 < len(hits) < 50
        assert min(hit.score for hit in hits) >= 0.6


def test_an_index_is_kept_on_disk_replaced_by_the_next_and_kept_by_a_compaction(tmp_path: Path):
    query = vectors(1, seed=7)[0]
    with filled(tmp_path) as store:
        store.build_index()
        expected = ids(store.search(query, top_k=10, approximate=True))
    with LocalEmbeddingStore(ENCODER, tmp_path, approximate_from=0) as store:
        with LocalEmbeddingStore(ENCODER, tmp_path, read_only=True, approximate_from=0) as reader:
            assert ids(reader.search(query, top_k=10, approximate=True)) == expected
        store.add([Document(id="near", content="x")], [query])
        assert store.build_index().document_count == 3001
        assert [path.name for path in tmp_path.glob("index-*")] == ["index-000000-3001.usearch"]
        assert ids(store.search(query, top_k=1, approximate=True)) == ["near"]
        store.delete(["near"])
        store.compact()
        assert [path.name for path in tmp_path.glob("index-*")] == ["index-000000-3001.usearch"]
        assert ids(store.search(query, top_k=10, approximate=True)) == expected


@pytest.mark.parametrize("on_disk", [False, True])
def test_an_index_proposes_the_same_documents_after_their_rows_were_renumbered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, on_disk: bool
):
    folder = tmp_path if on_disk else None
    rng, queries = np.random.default_rng(3), vectors(20, seed=9)
    alive = {f"{n:05d}" for n in range(600)}

    def check(store: LocalEmbeddingStore) -> None:
        assert store._storage.view.index is not None
        found = store.search_batch(queries, top_k=5, approximate=True)
        exact = store.search_batch(queries, top_k=5)
        assert np.mean([len({*ids(a)} & {*ids(b)}) / 5 for a, b in zip(exact, found, strict=True)]) > 0.9
        truth = {hit.document.id: hit.score for hits in store.search_batch(queries, top_k=700) for hit in hits}
        assert all({*ids(hits)} <= truth.keys() for hits in found)

    with filled(folder, count=600) as store, caplog.at_level(logging.INFO):
        store.build_index()
        for round_number in range(3):
            store.add([Document(id=f"later {round_number}", content="x")], vectors(1, seed=20 + round_number))
            gone = set(rng.choice(sorted(alive), 60, replace=False).tolist())
            store.delete(gone)
            alive -= gone
            before = store._storage.view.index
            assert before is not None
            proposed = before.candidates(store._storage.view.vectors[:3], 5)
            assert store.compact() == 60
            check(store)
            assert f"the approximate index has {len(alive)} of the others" in caplog.text
            assert len(proposed) == 3
        query = vectors(1, seed=22)[0]
        assert ids(store.search(query, top_k=1, approximate=True)) == ["later 2"]
    if folder is not None:
        for read_only in (True, False):
            with LocalEmbeddingStore(ENCODER, folder, read_only=read_only, approximate_from=0) as store:
                check(store)
        with LocalEmbeddingStore(ENCODER, folder, approximate_from=0) as store:
            assert store.build_index().document_count == len(alive) + 3
            assert [path.name for path in folder.glob("index-*")] == [f"index-000003-{len(alive) + 3}.usearch"]
            check(store)


def test_without_its_index_file_searches_are_exact_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    query = vectors(1, seed=8)[0]
    with filled(tmp_path) as store:
        expected = ids(store.search(query))
        store.build_index()
    (path,) = tmp_path.glob("index-*")
    path.unlink()
    with caplog.at_level(logging.WARNING), LocalEmbeddingStore(ENCODER, tmp_path, approximate_from=0) as store:
        assert ids(store.search(query, approximate=True)) == expected
        assert "build the index again" in caplog.text
        store.build_index()
        assert ids(store.search(query, approximate=True)) == expected


@pytest.mark.parametrize("damage", ["empty", "cut", "another dimension", "more rows"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_index_file_is_named_and_may_be_moved_away(tmp_path: Path, damage: str, read_only: bool):
    query, folder = vectors(1, seed=8)[0], tmp_path / "store"
    with filled(folder, count=300) as store:
        expected = ids(store.search(query))
        store.build_index()
    (path,) = folder.glob("index-*")
    if damage in ("empty", "cut"):
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else -1])
    else:
        rows = np.ones((301, DIMENSION) if damage == "more rows" else (300, DIMENSION - 1), dtype=np.float32)
        ApproximateIndex.build(rows, np.ones(len(rows), dtype=np.bool_)).save(path)
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    with pytest.raises(StoreDamagedError, match=rf"{path.name}.* build the index again"):
        LocalEmbeddingStore(ENCODER, folder, read_only=read_only)
    assert {name: (folder / name).read_bytes() for name in before} == before
    path.rename(tmp_path / "moved away")
    with LocalEmbeddingStore(ENCODER, folder, approximate_from=0) as store:
        assert ids(store.search(query, approximate=True)) == expected
        assert store.build_index().document_count == 300


def test_without_the_extra_building_says_what_to_install_and_an_indexed_store_still_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with filled(tmp_path) as store:
        store.build_index()
    monkeypatch.setitem(sys.modules, "usearch", None)
    with LocalEmbeddingStore(ENCODER, tmp_path, approximate_from=0) as store:
        assert "sightline-retrieval[approximate]" in caplog.text
        assert len(store.search(vectors(1)[0], approximate=True)) == 5
        with pytest.raises(ImportError, match=r"pip install 'sightline-retrieval\[approximate\]'"):
            store.build_index()


def test_an_empty_store_can_be_indexed():
    with LocalEmbeddingStore(ENCODER, approximate_from=0) as store:
        assert store.build_index().recall == 1.0
        assert store.search(vectors(1)[0], approximate=True) == []
        store.add([Document(id="a", content="x")])
        assert ids(store.search("x", approximate=True)) == ["a"]


@pytest.mark.parametrize("dimension", [64, 68])
def test_an_index_of_bits_proposes_and_the_vectors_decide(tmp_path: Path, dimension: int):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2000, dimension)).astype(np.float32)
    encoder = HashingEncoder(dimension)
    with LocalEmbeddingStore(encoder, tmp_path, approximate_from=0) as store:
        store.add([Document(id=str(n), content="x") for n in range(2000)], vectors)
        report = store.build_index(precision="binary")
        assert report.recall > 0.9
    with LocalEmbeddingStore(encoder, tmp_path, approximate_from=0) as store:
        queries = rng.normal(size=(5, dimension))
        exact, near = (store.search_batch(queries, top_k=3, approximate=flag) for flag in (False, True))
        found = [
            {hit.document.id for hit in a} & {hit.document.id for hit in b} for a, b in zip(exact, near, strict=True)
        ]
        assert sum(map(len, found)) >= 12
        scores = {hit.document.id: hit.score for hit in exact[0]}
        assert all(hit.score == scores[hit.document.id] for hit in near[0] if hit.document.id in scores)
        assert store.verify() == []
