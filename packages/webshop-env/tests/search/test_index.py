from __future__ import annotations

import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.search.analysis import search_terms
from sightline.webshop_env.search.index import SearchIndex

GOLDEN = Path(__file__).resolve().parents[5] / "shared" / "golden"
WORDS = ("red", "blue", "shoe", "lamp", "the", "table", "usb", "★", "3.5")


@pytest.fixture(params=["webshop/traces_human", "webshop/traces_synth", "webshop-real/traces_synth"])
def recording(request: pytest.FixtureRequest) -> tuple[SearchIndex, list[dict[str, Any]]]:
    """An index over the recorded catalogue, and the recorded rankings."""
    traces = GOLDEN / f"{request.param}.jsonl"
    if not traces.exists():
        pytest.skip(f"the recordings of the original shop are not at {GOLDEN}")
    products = list(Catalogue.from_official(products=traces.parent / "items_shuffle.json"))
    index = SearchIndex([product.asin for product in products], [product.search_text for product in products])
    with traces.open(encoding="utf-8") as lines:
        searches = [record for record in map(json.loads, lines) if record["kind"] == "search"]
    assert searches
    return index, searches


def test_every_recorded_ranking_is_reproduced(recording: tuple[SearchIndex, list[dict[str, Any]]]) -> None:
    index, searches = recording
    for search in searches:
        hits = index.search(search["query"])
        expected = search["hits"]
        assert len(hits) == len(expected), search["query"]
        score_of = dict(hits)
        for rank, ((asin, score), (_, ours)) in enumerate(zip(expected, hits, strict=True)):
            # Scores were recorded with four decimals, less 1e-6 per rank within a tie.
            assert ours == pytest.approx(score, abs=6e-5 + 1e-6 * rank), search["query"]
            # Above the last place the sets agree too: only a near-tie at the cut may let another product in.
            assert asin in score_of or score == pytest.approx(expected[-1][1], rel=1e-4), search["query"]
        for (better, high), (worse, low) in pairwise(expected):
            if high > low * (1 + 1e-4):
                assert score_of[better] > score_of[worse], search["query"]
        for (better, high), (worse, low) in pairwise(hits):
            assert high > low or (high == low and better < worse), search["query"]


def kept_length(length: int) -> int:
    """Round as Lucene's one-byte norm does, by looking the length up in the list of all values that fit."""
    fitting = {*range(32), *(24 + ((8 + fraction) << exponent) for exponent in range(28) for fraction in range(8))}
    return max(value for value in fitting if value <= length)


def in_double_precision(documents: dict[str, str], query: str) -> list[tuple[str, float]]:
    """BM25 in double precision, document by document."""
    terms = {identifier: search_terms(text) for identifier, text in documents.items()}
    filled = [found for found in terms.values() if found]
    average = sum(map(len, filled)) / len(filled) if filled else 1
    scores = {}
    for identifier, found in terms.items():
        counts, score = Counter(found), 0.0
        for term in search_terms(query):
            holders = sum(term in other for other in filled)
            if counts[term]:
                idf = math.log(1 + (len(filled) - holders + 0.5) / (holders + 0.5))
                length = 0.6 + 0.4 * kept_length(len(found)) / average
                score += idf * counts[term] / (counts[term] + 0.9 * length)
        if score:
            scores[identifier] = score
    return sorted(scores.items(), key=lambda hit: (-hit[1], hit[0]))


texts = st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join)


@given(st.dictionaries(st.text("AB01", min_size=1, max_size=4), texts, max_size=12), texts)
def test_scores_are_those_of_a_brute_force_calculation(documents: dict[str, str], query: str) -> None:
    hits = SearchIndex(list(documents), list(documents.values())).search(query)
    expected = dict(in_double_precision(documents, query))
    assert {identifier for identifier, _ in hits} == set(expected)
    for identifier, score in hits:
        assert score == pytest.approx(expected[identifier], rel=1e-5)


@given(
    st.dictionaries(st.text("AB01", min_size=1, max_size=4), texts, min_size=1, max_size=12), texts, st.integers(1, 12)
)
def test_the_best_k_are_the_head_of_the_full_ranking(documents: dict[str, str], query: str, k: int) -> None:
    index = SearchIndex(list(documents), list(documents.values()))
    assert index.search(query, k) == index.search(query, len(documents))[:k]


@pytest.mark.parametrize(("count", "kept"), [(24, 24), (40, 40), (41, 40), (42, 42), (57, 56), (90, 88), (1000, 984)])
def test_lengths_are_rounded_down_to_one_byte(count: int, kept: int) -> None:
    # Three documents keep the statistics apart from the rounding: the exact mean uses the true counts.
    documents = ["wanted " + "filler " * (count - 1), "other", "other"]
    [(_, score)] = SearchIndex(["A", "B", "C"], documents).search("wanted")
    idf = np.float32(math.log(1 + 2.5 / 1.5))
    assert score == pytest.approx(idf / (1 + 0.9 * (0.6 + 0.4 * kept / ((count + 2) / 3))), rel=1e-6)


def test_scores_are_equal_to_single_precision_arithmetic_to_the_last_bit() -> None:
    documents = ["lamp lamp table", "lamp red blue usb", "table", "red shoe"]
    one, k1, b, average = map(np.float32, (1, 0.9, 0.4, 10 / 4))
    total = 0.0
    for frequency, idf in ((2, np.log(1 + 2.5 / 2.5)), (1, np.log(1 + 2.5 / 2.5))):
        weight = np.float32(idf)
        length_factor = one / (k1 * ((one - b) + b * np.float32(3) / average))
        total += float(weight - weight / (one + np.float32(frequency) * length_factor))
    [(best, score), *_] = SearchIndex(["A", "B", "C", "D"], documents).search("lamp table")
    assert (best, score) == ("A", float(np.float32(total)))


def test_equal_scores_are_ordered_by_identifier_even_at_the_cut() -> None:
    ids = [f"B{number:02d}" for number in reversed(range(30))]
    hits = SearchIndex(ids, ["red lamp"] * 30).search("lamp", k=10)
    assert [identifier for identifier, _ in hits] == sorted(ids)[:10]


def test_a_repeated_query_word_weighs_more() -> None:
    index = SearchIndex(["A", "B"], ["lamp", "table"])
    assert [identifier for identifier, _ in index.search("lamp table table")] == ["B", "A"]


@pytest.mark.parametrize("query", ["", " ", "the of", "unheard", "★"])
def test_a_query_without_a_known_term_finds_nothing(query: str) -> None:
    assert SearchIndex(["A", "B"], ["red lamp", "the table"]).search(query) == []


@pytest.mark.parametrize("documents", [[], ["the", ""]])
def test_an_index_without_any_term_finds_nothing(documents: list[str]) -> None:
    ids = ["A", "B"][: len(documents)]
    assert SearchIndex(ids, documents).search("lamp") == []


def test_an_identifier_that_occurs_twice_is_named() -> None:
    with pytest.raises(ValueError, match="'A' occurs more than once"):
        SearchIndex(["A", "B", "A"], ["x", "y", "z"])


def test_ids_and_documents_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 ids for 1 documents"):
        SearchIndex(["A", "B"], ["x"])


def test_k_must_be_positive() -> None:
    with pytest.raises(ValueError, match="got 0"):
        SearchIndex(["A"], ["x"]).search("x", k=0)
