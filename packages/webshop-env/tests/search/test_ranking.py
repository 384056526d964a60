from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.search import ranking
from sightline.webshop_env.search.ranking import PostingList, best_documents


@pytest.fixture(autouse=True, scope="module")
def tiny_windows() -> Iterator[None]:
    """Windows so small that a few hundred documents fill many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_FIRST_WINDOW", 8)
        patch.setattr(ranking, "_LARGEST_WINDOW", 64)
        yield


def posting_list(weight: float, held: dict[int, float]) -> PostingList:
    documents = np.array(sorted(held), dtype=np.int32)
    saturations = np.array([held[number] for number in sorted(held)], dtype=np.float32)
    return PostingList(np.float32(weight), np.float32(saturations.max(initial=1)), documents, saturations)


def brute_force(lists: list[PostingList], k: int) -> list[tuple[int, float]]:
    """Every document's score, one Python float after the other."""
    totals: dict[int, float] = {}
    for postings in lists:
        for number, saturation in zip(postings.documents.tolist(), postings.saturations, strict=True):
            totals[number] = totals.get(number, 0.0) + float(postings.weight - postings.weight / saturation)
    scores = [(number, float(np.float32(total))) for number, total in totals.items()]
    return sorted(scores, key=lambda hit: (-hit[1], hit[0]))[:k]


def ranked(lists: list[PostingList], count: int, k: int) -> list[tuple[int, float]]:
    numbers, scores = best_documents(lists, count, k)
    return list(zip(numbers.tolist(), scores.tolist(), strict=True))


@st.composite
def queries(draw: st.DrawFn) -> tuple[list[PostingList], int]:
    """Lists of all densities and weights over a few hundred documents; saturations are few, so that many scores tie."""
    count = draw(st.integers(1, 400))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = [1.5, 1.9, 2.3, 3.1][: draw(st.integers(1, 4))]
    lists = []
    for share in draw(st.lists(st.sampled_from([0.0, 0.005, 0.05, 0.3, 0.9, 1.0]), min_size=1, max_size=9)):
        held = np.flatnonzero(rng.random(count) < share).tolist()
        weight = draw(st.sampled_from([0.1, 0.69, 0.7, 2.5, 6.0]))
        lists.append(posting_list(weight, {number: float(rng.choice(levels)) for number in held}))
    return lists, count


@settings(max_examples=150)
@given(queries(), st.integers(1, 60))
def test_the_ranking_is_that_of_brute_force_to_the_last_bit(query: tuple[list[PostingList], int], k: int) -> None:
    lists, count = query
    assert ranked(lists, count, k) == brute_force(lists, k)


@pytest.mark.parametrize("cost", [1, 1 << 30])
@settings(max_examples=40)
@given(query=queries())
def test_both_ways_to_look_documents_up_give_the_same_ranking(cost: int, query: tuple[list[PostingList], int]) -> None:
    lists, count = query
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_SEARCH_COST", cost)
        assert ranked(lists, count, 5) == brute_force(lists, 5)


def test_lists_that_cannot_decide_are_only_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    added = []
    candidates = ranking._Window.candidates

    def spy(window: ranking._Window, lists: list[PostingList], limit: float) -> tuple[np.ndarray, np.ndarray]:
        added.append(len(lists))
        return candidates(window, lists, limit)

    monkeypatch.setattr(ranking._Window, "candidates", spy)
    rare = posting_list(9, dict.fromkeys(range(0, 400, 2), 2.0))
    common = posting_list(0.5, {number: 2.0 + number % 3 for number in range(400)})
    assert ranked([common, rare], 400, 3) == brute_force([common, rare], 3)
    assert added[0] == 2
    assert set(added[1:]) == {1}


@pytest.mark.parametrize("number", [-1, -(2**31), 400, 2**31 - 1])
@pytest.mark.parametrize("place", [0, 7, 19])
def test_a_damaged_document_number_is_an_error_or_ignored(number: int, place: int) -> None:
    intact = posting_list(1, dict.fromkeys(range(20), 2.0))
    intact.documents[place] = number
    try:
        hits = ranked([intact, posting_list(2, {3: 2.0})], 400, 5)
    except CatalogueError:
        return
    assert all(0 <= hit < 400 for hit, _ in hits)
