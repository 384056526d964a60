from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.retrieval import Document, HashingEncoder, HybridSearch, LocalEmbeddingStore, RagRetriever
from sightline.retrieval.backends import BackendError, LocalBackend
from sightline.retrieval.errors import FilterError, InvalidQueryError, StoreClosedError
from sightline.retrieval.ranking import HybridHit, WordIndex, reciprocal_rank_fusion
from sightline.retrieval.text import StemmedWords

ENCODER = HashingEncoder(64)
GOODS = {
    "a-lamp": "A grey lamp for the desk",
    "b-lamps": "Two lamps, brass",
    "c-mug": "Coffee mug X771",
    "d-mug": "Tea mug, blue",
}


def made(texts: dict[str, str]) -> LocalEmbeddingStore:
    store = LocalEmbeddingStore(ENCODER)
    store.add(Document(id=key, content=text, metadata={"length": len(text)}) for key, text in texts.items())
    return store


def ids(hits: list[HybridHit]) -> list[str]:
    return [hit.document.id for hit in hits]


def test_fusion_adds_reciprocal_ranks():
    fused = reciprocal_rank_fusion([["a", "b", "c"], ["c", "a"]])
    assert fused == [("a", 1 / 61 + 1 / 62), ("c", 1 / 63 + 1 / 61), ("b", 1 / 62)]
    assert reciprocal_rank_fusion([["a", "b"]], k=0) == [("a", 1.0), ("b", 0.5)]
    assert reciprocal_rank_fusion([[], []]) == []


def test_equal_scores_keep_the_order_in_which_ids_are_first_met():
    assert [item for item, _ in reciprocal_rank_fusion([["b", "a"], ["a", "b"]])] == ["b", "a"]
    assert [item for item, _ in reciprocal_rank_fusion([["x"], ["y"], ["z"]])] == ["x", "y", "z"]


def test_of_an_id_that_comes_twice_in_a_ranking_the_first_place_counts():
    assert reciprocal_rank_fusion([["a", "a", "b"]]) == reciprocal_rank_fusion([["a", "b"]])


@given(st.permutations(range(3)), st.lists(st.permutations("abcd"), min_size=3, max_size=3))
def test_scores_do_not_depend_on_the_order_of_rankings(order: list[int], rankings: list[list[str]]):
    shuffled = [rankings[place] for place in order]
    assert dict(reciprocal_rank_fusion(rankings)) == dict(reciprocal_rank_fusion(shuffled))


@pytest.mark.parametrize("k", [-1, float("nan"), float("inf")])
def test_a_constant_that_makes_no_sense_is_refused(k: float):
    with pytest.raises(ValueError, match="k must be"):
        reciprocal_rank_fusion([["a"]], k=k)


def slow_bm25(query: list[str], texts: list[list[str]]) -> list[float]:
    """Lucene's BM25 as it is written down, without an index."""
    mean = sum(map(len, texts)) / len(texts)
    scores = [0.0] * len(texts)
    for word in query:
        frequency = sum(word in text for text in texts)
        weight = math.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
        for number, text in enumerate(texts):
            count = text.count(word)
            scores[number] += weight * count / (count + 1.5 * (0.25 + 0.75 * len(text) / mean))
    return scores


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("bcdfg"), min_size=1, max_size=6), min_size=1, max_size=12),
    st.lists(st.sampled_from("bcdfgh"), min_size=1, max_size=3),
)
def test_the_places_by_words_are_those_of_bm25(texts: list[list[str]], query: list[str]):
    store = made({f"{number:02d}": " ".join(text) for number, text in enumerate(texts)})
    hits = HybridSearch(store).search(" ".join(query), top_k=20)
    expected = slow_bm25(query, texts)
    by_words = sorted((hit.lexical_rank, int(hit.document.id)) for hit in hits if hit.lexical_rank is not None)
    assert {number for _, number in by_words} == {number for number, score in enumerate(expected) if score > 0}
    scores = [expected[number] for _, number in by_words]
    assert all(first >= second - 1e-5 for first, second in pairwise(scores))


def test_a_hit_knows_its_place_on_either_side_and_its_score_follows():
    hits = HybridSearch(made(GOODS), WordIndex(tokenizer=StemmedWords())).search("lamp", top_k=4)
    for hit in hits:
        ranks = [rank for rank in (hit.dense_rank, hit.lexical_rank) if rank is not None]
        assert hit.score == math.fsum(1 / (60 + rank) for rank in ranks)
    assert {hit.document.id for hit in hits if hit.lexical_rank} == {"a-lamp", "b-lamps"}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_words_are_found_by_their_stems_and_rare_codes_exactly():
    search = HybridSearch(made(GOODS), WordIndex(tokenizer=StemmedWords()))
    assert {hit.document.id for hit in search.search("LAMPS", top_k=4) if hit.lexical_rank} == {"a-lamp", "b-lamps"}
    assert ids(search.search("x771", top_k=1)) == ["c-mug"]


def test_filters_hold_on_both_sides():
    search = HybridSearch(made(GOODS))
    hits = search.search("lamp mug", top_k=4, where={"length": {"<": 16}})
    assert set(ids(hits)) == {"c-mug", "d-mug"}
    assert all(hit.dense_rank and hit.lexical_rank for hit in hits)
    assert search.search("lamp", where={"length": -1}) == []


def test_texts_of_equal_words_come_in_the_order_of_their_ids():
    store = made({"b": "same words", "a": "same words", "c": "same words"})
    hits = HybridSearch(store).search("words", top_k=3)
    assert {hit.document.id: hit.lexical_rank for hit in hits} == {"a": 1, "b": 2, "c": 3}
    assert ids(hits) == ids(HybridSearch(store).search("words", top_k=3))


def test_each_side_proposes_no_more_candidates_than_asked():
    hits = HybridSearch(made(GOODS)).search("lamp mug", top_k=1, candidates=1)
    assert (hits[0].dense_rank in (1, None), hits[0].lexical_rank in (1, None)) == (True, True)
    assert len(hits) == 1


def test_what_was_written_since_is_found_without_asking_and_what_was_deleted_is_not():
    store = made(GOODS)
    search = HybridSearch(store)
    store.add([Document(id="e-vase", content="vase Z9")])
    store.upsert([Document(id="b-lamps", content="a candle", metadata={"present": True})])
    store.delete(["a-lamp"])
    hits = {hit.document.id: hit for hit in search.search("lamps vase", top_k=9)}
    assert "a-lamp" not in hits
    assert (hits["e-vase"].lexical_rank, hits["b-lamps"].lexical_rank) == (1, None)
    assert not search.refresh()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["upsert", "delete", "compact", "refresh"]), st.integers(0, 7), st.integers(0, 3)),
        max_size=25,
    )
)
def test_an_index_that_followed_is_that_of_one_made_anew(steps: list[tuple[str, int, int]]):
    store = made({})
    search = HybridSearch(store)
    for step, number, word in steps:
        if step == "upsert":
            store.upsert([Document(id=str(number), content=f"w{word} w{number} w{word}")])
        elif step == "delete" and str(number) in store:
            store.delete([str(number)])
        elif step == "compact":
            store.compact()
        elif step == "refresh":
            search.refresh()
    search.refresh()
    anew = HybridSearch(store)
    for word in range(8):
        ours, theirs = (dict(one._words.search(f"w{word} w1", 99)) for one in (search, anew))
        assert ours == pytest.approx(theirs)


def test_words_over_backends_go_through_the_search_and_survive_the_first_backend(tmp_path: Path):
    class Down(LocalBackend):
        def search(self, vectors, *, top_k, min_score=None, where=None):
            raise BackendError("down")

    first = Down(LocalEmbeddingStore(ENCODER), name="first")
    retriever = RagRetriever([first, LocalBackend(LocalEmbeddingStore(ENCODER))], ENCODER)
    search = HybridSearch(retriever, WordIndex(tmp_path / "words.sqlite"))
    search.upsert(Document(id=key, content=text, metadata={"length": len(text)}) for key, text in GOODS.items())
    assert ids(search.search("x771", top_k=1)) == ["c-mug"]
    one, two = search.search_batch(["x771", "brass"], top_k=1, where={"length": {"<": 17}})
    assert (ids(one), ids(two)) == (["c-mug"], ["b-lamps"])
    search.delete(["c-mug"])
    assert "c-mug" not in ids(search.search("x771", top_k=4))
    again = HybridSearch(retriever, WordIndex(tmp_path / "words.sqlite"))
    assert {hit.document.id for hit in again.search("brass", top_k=4) if hit.lexical_rank} == {"b-lamps"}


def test_awaited_and_batched_searches_are_the_single_ones():
    search = HybridSearch(made(GOODS))
    queries = ["lamp", "mug blue", "?!"]
    single = [search.search(query, top_k=3) for query in queries]
    assert search.search_batch(queries, top_k=3) == single
    assert asyncio.run(search.asearch_batch(queries, top_k=3)) == single


@pytest.mark.parametrize("texts", [{}, {"a": "!!!", "b": "… ?"}])
def test_a_store_without_words_is_searched_by_meaning_alone(texts: dict[str, str]):
    hits = HybridSearch(made(texts)).search("lamp", top_k=3)
    assert set(ids(hits)) == set(texts)
    assert all(hit.lexical_rank is None for hit in hits)


def test_a_query_without_words_is_searched_by_meaning_alone():
    hits = HybridSearch(made(GOODS)).search("?!", top_k=2)
    assert [(hit.dense_rank, hit.lexical_rank) for hit in hits] == [(1, None), (2, None)]


def test_what_cannot_be_asked_is_refused():
    store = made(GOODS)
    search = HybridSearch(store)
    for query, top_k, candidates in [(" ", 5, 9), ("x", 0, 9), ("x", 5, 4), ("x" * 1_000_001, 5, 9)]:
        with pytest.raises(InvalidQueryError):
            search.search(query, top_k=top_k, candidates=candidates)
    with pytest.raises(FilterError):
        search.search("x", where={"a": {"like": 1}})
    store.close()
    with pytest.raises(StoreClosedError):
        search.search("lamp")


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("Stemmer", "text.StemmedWords", "hybrid"), ("qdrant_client", "backends.QdrantBackend", "qdrant")],
)
def test_without_the_extra_the_error_names_the_install_command(module: str, name: str, extra: str):
    imports = "import sightline.retrieval.backends, sightline.retrieval.text"
    code = f"import sys; sys.modules[{module!r}] = None; {imports}; sightline.retrieval.{name}()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"pip install 'sightline-retrieval[{extra}]'" in result.stderr
