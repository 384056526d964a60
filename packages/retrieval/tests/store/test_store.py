from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import (
    DuplicateDocumentError,
    EncoderOutputError,
    FilterError,
    InvalidDocumentError,
    InvalidQueryError,
    StoreClosedError,
    UnknownDocumentError,
)


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
    assert ids(store.search("ccc", where={"first": {"in": ["b", "c"]}})) == ["d3", "d2"]
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
    with pytest.raises(DuplicateDocumentError, match="'d2'"):
        store.add([Document(id="new", content="abc"), Document(id="d2", content="abc")])
    with pytest.raises(DuplicateDocumentError, match="'twice'"):
        store.add([Document(id="twice", content="a"), Document(id="twice", content="b")])
    assert len(store) == 5
    assert "new" not in store


def test_an_upserted_document_replaces_the_old_one_and_counts_as_added_last(store: LocalEmbeddingStore):
    store.upsert([Document(id="d9", content="ccc"), Document(id="d0", content="ccc")])
    assert len(store) == 6
    assert store.get("d0").content == "ccc"
    assert ids(store.search("ccc", top_k=3)) == ["d3", "d9", "d0"]


def test_delete_removes_all_or_none(store: LocalEmbeddingStore):
    with pytest.raises(UnknownDocumentError, match="no document 'nobody'"):
        store.delete(["d0", "nobody"])
    assert len(store) == 5
    store.delete(["d0", "d3"])
    assert ids(store.search("aaa", top_k=9)) == ["d4", "d1", "d2"]
    with pytest.raises(KeyError, match="d0"):
        store.get("d0")


@settings(deadline=None)  # dropping dead rows takes as long as it takes
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
            expected.pop(name, None)
            expected[name] = document
        if data.draw(st.integers(0, 4)) == 0:
            store.compact()
    fresh = LocalEmbeddingStore(LetterEncoder())
    fresh.add(expected.values())
    assert len(store) == len(expected)
    assert store.search("abc", top_k=9) == fresh.search("abc", top_k=9)


@pytest.mark.parametrize(
    ("query", "arguments", "error"),
    [
        ("aaa", {"top_k": 0}, InvalidQueryError),
        ("aaa", {"top_k": True}, InvalidQueryError),
        ("aaa", {"top_k": 2.0}, InvalidQueryError),
        ("aaa", {"min_score": 1.5}, InvalidQueryError),
        ("aaa", {"min_score": float("nan")}, InvalidQueryError),
        ("aaa", {"min_score": "high"}, InvalidQueryError),
        ("aaa", {"where": "first"}, FilterError),
        (" ", {}, InvalidQueryError),
        ("a" * 1_000_001, {}, InvalidQueryError),
        ([1.0, 2.0], {}, InvalidQueryError),
        ([[1.0, 2.0, 3.0, 4.0]], {}, InvalidQueryError),
        ([0.0] * 4, {}, InvalidQueryError),
        ([np.nan] * 4, {}, InvalidQueryError),
        ([1e300] * 4, {}, InvalidQueryError),
        ([1.0, "two", 3.0, 4.0], {}, InvalidQueryError),
        ([1j] * 4, {}, InvalidQueryError),
        (None, {}, InvalidQueryError),
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
    "fields",
    [
        {"id": ""},
        {"id": "i" * 513},
        {"content": ""},
        {"content": "c" * 1_000_001},
        {"metadata": {"x": float("nan")}},
        {"metadata": {"x": object()}},
        {"y": 1},
    ],
)
def test_wrong_documents_are_refused(fields: dict):
    with pytest.raises(ValidationError):
        Document.model_validate({"id": "a", "content": "b"} | fields)


def test_an_encoder_that_breaks_its_promise_is_named():
    class Broken(LetterEncoder):
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.zeros((len(texts), 4), np.float32)

    with pytest.raises(EncoderOutputError, match="'letters'"):
        LocalEmbeddingStore(Broken()).add(documents("a"))


@pytest.mark.parametrize(
    "vectors",
    [
        [[1.0, 2.0, 3.0]],
        [[1.0, 2.0, 3.0, 4.0]] * 2,
        [[0.0] * 4],
        [[np.inf, 0.0, 0.0, 0.0]],
        [["a", "b", "c", "d"]],
        [[1.0], [2.0, 3.0]],
        [None],
    ],
)
def test_wrong_vectors_are_refused_and_nothing_is_added(store: LocalEmbeddingStore, vectors: list):
    with pytest.raises(InvalidDocumentError):
        store.add([Document(id="new", content="abc")], vectors)
    assert "new" not in store


def test_vectors_of_any_length_are_scaled(store: LocalEmbeddingStore):
    scales = [1e-40, 1e-20, 1.0, 1e19, 1e38]
    extra = [Document(id=f"scale {scale}", content="x") for scale in scales]
    store.add(extra, [[0.0, 0.0, scale, 0.0] for scale in scales])
    hits = store.search([0.0, 0.0, 3.0, 0.0], top_k=5)
    assert ids(hits) == [document.id for document in extra]
    assert [hit.score for hit in hits] == pytest.approx([1.0] * 5, abs=1e-6)


def test_metadata_that_is_too_large_is_refused(store: LocalEmbeddingStore):
    with pytest.raises(InvalidDocumentError, match="65,5"):
        store.add([Document(id="large", content="a", metadata={"text": "x" * 65_536})])
    with pytest.raises(InvalidDocumentError, match="64 bits"):
        store.add([Document(id="large", content="a", metadata={"number": 2**63})])
    assert len(store) == 5


def test_things_that_are_no_documents_or_ids_are_refused(store: LocalEmbeddingStore):
    with pytest.raises(TypeError, match="expected a Document"):
        store.add([{"id": "a", "content": "b"}])  # ty: ignore[invalid-argument-type]  # the mistake under test
    with pytest.raises(TypeError, match="an id is a string"):
        store.delete([3])  # ty: ignore[invalid-argument-type]  # the mistake under test
    with pytest.raises(TypeError, match="an id is a string"):
        store.get(None)  # ty: ignore[invalid-argument-type]  # the mistake under test
    assert 3 not in store


@settings(deadline=None)  # the first example pays for making a database
@given(
    st.text(st.characters(codec=None), min_size=1, max_size=20),
    st.text(st.characters(codec=None), min_size=1),
    st.data(),
)
def test_any_text_and_any_metadata_come_back_as_they_were(document_id: str, content: str, data: st.DataObject):
    scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
    values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
    metadata = data.draw(st.dictionaries(st.text(), values, max_size=4))
    try:
        document = Document(id=document_id, content=content, metadata=metadata)
    except ValidationError:
        halves_of_a_pair = any("\ud800" <= character <= "\udfff" for character in document_id + content)
        assert halves_of_a_pair or "inf" in repr(metadata)
        return
    with LocalEmbeddingStore(LetterEncoder()) as store:
        store.add([document])
        assert store.get(document_id) == document
        assert store.search("abc")[0].document == document
        assert list(store.documents()) == [document]


def test_all_documents_are_listed_in_the_order_of_their_ids():
    with LocalEmbeddingStore(LetterEncoder()) as store:
        store.add(Document(id=f"{number:04d}", content="a") for number in reversed(range(2500)))
        store.delete([f"{number:04d}" for number in range(0, 2500, 5)])
        expected = [f"{number:04d}" for number in range(2500) if number % 5]
        assert [document.id for document in store.documents()] == expected


def test_deleting_an_id_twice_in_one_call_deletes_it_once(store: LocalEmbeddingStore):
    store.delete(["d0", "d0"])
    assert len(store) == 4


def test_dropping_dead_rows_changes_no_answer_and_happens_by_itself_when_there_are_many():
    with LocalEmbeddingStore(LetterEncoder()) as store:
        rng = np.random.default_rng(0)
        texts = ["".join(rng.choice(list("abc"), 4)) for _ in range(1600)]
        store.add(Document(id=str(n), content=text, metadata={"n": n}) for n, text in enumerate(texts))
        store.delete([str(n) for n in range(0, 600, 2)])
        before = store.search("abca", top_k=1000), store.search("abca", top_k=1000, where={"n": {">=": 500}})
        assert store.compact() == 300
        assert store.compact() == 0
        after = store.search("abca", top_k=1000), store.search("abca", top_k=1000, where={"n": {">=": 500}})
        assert after == before
        store.delete([str(n) for n in range(700, 1200)])
        assert store.compact() == 0  # it had been done already
        assert len(store) == 800


def test_a_closed_store_says_so(store: LocalEmbeddingStore):
    store.close()
    store.close()
    for use in (lambda: store.search("aaa"), lambda: store.get("d0"), lambda: store.add(documents("x"))):
        with pytest.raises(StoreClosedError, match="closed"):
            use()


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="read_only needs the path"):
        LocalEmbeddingStore(LetterEncoder(), read_only=True)
    with pytest.raises(ValueError, match="approximate_from"):
        LocalEmbeddingStore(LetterEncoder(), approximate_from=-1)


def test_large_batches_over_many_rows_agree_with_a_plain_matrix_product():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((20_000, 16)).astype(np.float32)
    vectors[rng.integers(0, 20_000, 3000)] = vectors[7]  # ties across the blocks in which rows are searched
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    queries = np.concatenate([vectors[7:8], rng.standard_normal((300, 16)).astype(np.float32)])
    with LocalEmbeddingStore(HashingEncoder(16)) as store:
        store.add((Document(id=str(n), content="x", metadata={"n": n}) for n in range(20_000)), vectors)
        store.delete([str(n) for n in range(0, 20_000, 7)])
        dead = np.arange(20_000) % 7 == 0
        for where, excluded in ((None, dead), ({"n": {">": 14_000}}, dead | (np.arange(20_000) <= 14_000))):
            found = store.search_batch(queries, top_k=5, where=where)
            truth = queries.astype(np.float64) @ unit.T / np.linalg.norm(queries.astype(np.float64), axis=1)[:, None]
            truth[:, excluded] = -np.inf
            best = -np.sort(-truth, axis=1)[:, :5]
            np.testing.assert_allclose([[hit.score for hit in hits] for hits in found], best, atol=2e-6)
            ties = [row for row in np.flatnonzero((vectors == vectors[7]).all(axis=1)) if not excluded[row]][:5]
            assert [int(hit.document.id) for hit in found[0]] == ties
