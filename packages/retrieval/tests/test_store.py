from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore


class LetterEncoder:
    """Counts of a, b, c, plus one so that no text is zero: similarities that can be worked out by hand."""

    name = "letters"
    dimension = 4

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.array([[*(text.count(letter) for letter in "abc"), 1] for text in texts], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def documents(*contents: str) -> list[Document]:
    return [
        Document(id=f"d{number}", content=content, metadata={"length": len(content), "first": content[0]})
        for number, content in enumerate(contents)
    ]


@pytest.fixture
def store() -> LocalEmbeddingStore:
    store = LocalEmbeddingStore(LetterEncoder())
    store.add(documents("aaa", "aab", "bbb", "ccc", "aaa"))
    return store


def ids(hits: list) -> list[str]:
    return [hit.document.id for hit in hits]


contents = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=30)


@given(contents, st.text("abc", min_size=1, max_size=5), st.integers(1, 35), st.floats(-1, 1) | st.none())
def test_search_agrees_with_brute_force(texts: list[str], query: str, top_k: int, min_score: float | None):
    encoder = LetterEncoder()
    store = LocalEmbeddingStore(encoder)
    store.add(documents(*texts))
    vectors, query_vector = encoder.encode(texts).astype(np.float64), encoder.encode([query])[0].astype(np.float64)
    expected = sorted(((-float(vector @ query_vector), row) for row, vector in enumerate(vectors)))
    hits = store.search(query, top_k=top_k, min_score=min_score)
    if min_score is None:
        assert len(hits) == min(top_k, len(texts))
    else:
        assert all(hit.score >= min_score for hit in hits)
    for hit, (negative_score, _) in zip(hits, expected, strict=False):
        assert hit.score == pytest.approx(-negative_score, abs=1e-5)
    assert len({hit.document.id for hit in hits}) == len(hits)


def test_equal_scores_keep_the_order_of_insertion():
    store = LocalEmbeddingStore(HashingEncoder(384))
    rng = np.random.default_rng(0)
    words = ["grey desk lamp", *("".join(rng.choice(list("abcdef"), 8)) for _ in range(500))]
    store.add(
        Document(id=str(number), content=words[0 if number % 3 else 1 + number % 500]) for number in range(1, 1501)
    )
    best = [int(hit.document.id) for hit in store.search("grey desk lamp", top_k=700)]
    assert best == [number for number in range(1, 1501) if number % 3][:700]


def test_a_vector_finds_what_its_text_finds(store: LocalEmbeddingStore):
    vector = 7 * LetterEncoder().encode(["aab"])[0]
    assert ids(store.search(vector)) == ids(store.search(vector.tolist())) == ids(store.search("aab"))
    scores = [hit.score for hit in store.search("aab")]
    assert [hit.score for hit in store.search(vector)] == pytest.approx(scores, abs=1e-6)


def test_filters_choose_before_ranking(store: LocalEmbeddingStore):
    assert ids(store.search("aaa", where={"first": "b"})) == ["d2"]
    assert ids(store.search("bbb", top_k=1, where={"first": "a"})) == ["d1"]
    assert ids(store.search("ccc", where=lambda metadata: metadata["first"] in ("b", "c"))) == ["d3", "d2"]
    assert store.search("ccc", where={"missing": None}) == []


def test_a_batch_gives_what_single_searches_give(store: LocalEmbeddingStore):
    queries = ["aaa", LetterEncoder().encode(["bbb"])[0], "cab"]
    batch = store.search_batch(queries, top_k=3, where={"length": 3})
    single = [store.search(query, top_k=3, where={"length": 3}) for query in queries]
    assert [ids(hits) for hits in batch] == [ids(hits) for hits in single]
    assert store.search_batch([]) == []


def test_an_empty_store_finds_nothing():
    assert LocalEmbeddingStore(LetterEncoder()).search("aaa") == []


def test_a_duplicate_id_is_named_and_nothing_is_added(store: LocalEmbeddingStore):
    with pytest.raises(ValueError, match="'d2'"):
        store.add([Document(id="new", content="abc"), Document(id="d2", content="abc")])
    with pytest.raises(ValueError, match="'twice'"):
        store.add([Document(id="twice", content="a"), Document(id="twice", content="b")])
    assert len(store) == 5
    assert "new" not in store


def test_upsert_replaces_in_place_and_adds_the_rest(store: LocalEmbeddingStore):
    store.upsert([Document(id="d0", content="ccc"), Document(id="d9", content="ccc")])
    assert len(store) == 6
    assert store.get("d0").content == "ccc"
    assert ids(store.search("ccc", top_k=3)) == ["d0", "d3", "d9"]


def test_delete_removes_all_or_none(store: LocalEmbeddingStore):
    with pytest.raises(KeyError, match="nobody"):
        store.delete(["d0", "nobody"])
    assert len(store) == 5
    store.delete(["d0", "d3"])
    assert ids(store.search("aaa", top_k=9)) == ["d4", "d1", "d2"]
    with pytest.raises(KeyError, match="d0"):
        store.get("d0")


@given(st.data())
def test_any_history_of_changes_leaves_the_store_of_its_net_effect(data: st.DataObject):
    store, expected = LocalEmbeddingStore(LetterEncoder()), {}
    names, words = st.sampled_from("pqrst"), st.text("abc", min_size=1, max_size=3)
    for _ in range(data.draw(st.integers(0, 12))):
        name = data.draw(names)
        if name in expected and data.draw(st.booleans()):
            store.delete([name])
            del expected[name]
        else:
            document = Document(id=name, content=data.draw(words))
            (store.upsert if name in expected else store.add)([document])
            expected[name] = document
    fresh = LocalEmbeddingStore(LetterEncoder())
    fresh.add(expected.values())
    assert len(store) == len(expected)
    assert store.search("abc", top_k=9) == fresh.search("abc", top_k=9)


@pytest.mark.parametrize(
    ("query", "arguments", "error"),
    [
        ("aaa", {"top_k": 0}, ValueError),
        ("aaa", {"top_k": True}, ValueError),
        ("aaa", {"top_k": 2.0}, ValueError),
        ("aaa", {"min_score": 1.5}, ValueError),
        ("aaa", {"min_score": float("nan")}, ValueError),
        ("aaa", {"where": "first"}, TypeError),
        (" ", {}, ValueError),
        ([1.0, 2.0], {}, ValueError),
        ([0.0] * 4, {}, ValueError),
        ([np.nan] * 4, {}, ValueError),
    ],
)
def test_wrong_search_arguments_are_refused(store: LocalEmbeddingStore, query, arguments: dict, error: type[Exception]):
    with pytest.raises(error):
        store.search(query, **arguments)


def test_a_single_string_in_place_of_a_sequence_is_refused(store: LocalEmbeddingStore):
    with pytest.raises(TypeError, match="use search for one"):
        store.search_batch("aaa")
    with pytest.raises(TypeError, match="not one string"):
        store.delete("d0")


@pytest.mark.parametrize(
    "fields", [{"id": ""}, {"content": ""}, {"metadata": {"x": float("nan")}}, {"metadata": {"x": object()}}, {"y": 1}]
)
def test_wrong_documents_are_refused(fields: dict):
    with pytest.raises(ValidationError):
        Document.model_validate({"id": "a", "content": "b"} | fields)


def test_an_encoder_that_breaks_its_promise_is_named():
    class Broken(LetterEncoder):
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.zeros((len(texts), 4), np.float32)

    with pytest.raises(ValueError, match="'letters'"):
        LocalEmbeddingStore(Broken()).add(documents("a"))


def test_readers_see_whole_writes_only():
    store = LocalEmbeddingStore(LetterEncoder())
    batches = [[Document(id=f"{batch}-{number}", content="abc") for number in range(10)] for batch in range(30)]
    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(lambda: [len(store.search("abc", top_k=400)) for _ in range(60)]) for _ in range(3)]
        for batch in batches:
            store.add(batch)
        seen = {count for reader in readers for count in reader.result()}
    assert all(count % 10 == 0 for count in seen)
    assert len(store) == 300


def test_a_saved_store_comes_back_as_it_was(store: LocalEmbeddingStore, tmp_path: Path):
    store.upsert([Document(id="é", content="abc ★\n", metadata={"nested": {"list": [1, None, "x"]}})])
    store.save(tmp_path / "store")
    loaded = LocalEmbeddingStore.load(tmp_path / "store", LetterEncoder())
    assert loaded.get("é") == store.get("é")
    assert loaded.search("abc", top_k=9) == store.search("abc", top_k=9)


def test_an_empty_store_survives_the_disk(tmp_path: Path):
    LocalEmbeddingStore(LetterEncoder()).save(tmp_path)
    assert len(LocalEmbeddingStore.load(tmp_path, LetterEncoder())) == 0


def test_saving_again_leaves_only_the_files_of_the_last_save(store: LocalEmbeddingStore, tmp_path: Path):
    store.save(tmp_path)
    store.delete(["d0"])
    store.save(tmp_path)
    manifest = json.loads((tmp_path / "store.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {"store.json", manifest["documents"], manifest["vectors"]}


@pytest.mark.parametrize("failing_write", [1, 2, 3])
def test_a_save_that_fails_anywhere_leaves_the_old_store(
    store: LocalEmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_write: int
):
    import os

    store.save(tmp_path)
    before = store.search("aaa", top_k=9)
    store.delete(["d0"])
    writes, fsync = iter(range(1, 9)), os.fsync

    def fail(descriptor: int) -> None:
        if next(writes) == failing_write:
            raise OSError("disk full")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        store.save(tmp_path)
    assert LocalEmbeddingStore.load(tmp_path, LetterEncoder()).search("aaa", top_k=9) == before


def test_a_store_of_another_encoder_is_refused(store: LocalEmbeddingStore, tmp_path: Path):
    store.save(tmp_path)
    with pytest.raises(ValueError, match=r"'letters' \(4 dimensions\), not 'hashing-4'"):
        LocalEmbeddingStore.load(tmp_path, HashingEncoder(4))


def test_a_folder_without_a_store_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="holds no saved store"):
        LocalEmbeddingStore.load(tmp_path, LetterEncoder())


@pytest.mark.parametrize("kind", ["store.json", "documents-*", "vectors-*"])
def test_a_cut_file_is_named(store: LocalEmbeddingStore, tmp_path: Path, kind: str):
    store.save(tmp_path)
    (path,) = tmp_path.glob(kind)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=path.name):
        LocalEmbeddingStore.load(tmp_path, LetterEncoder())
