from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.retrieval.store.nearest.hnsw import ApproximateIndex
from sightline.retrieval.store.nearest.search import approximate_rows, exact_rows
from sightline.retrieval.store.nearest.view import View

ROWS = 12


def unit(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, 4)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def view_of(vectors: np.ndarray, alive: np.ndarray) -> View:
    stored: Any = SimpleNamespace(vectors=vectors)
    return View(cast("Any", None), stored, alive, int(alive.sum()), None)


def brute_force(vectors: np.ndarray, allowed: np.ndarray, query: np.ndarray, top_k: int) -> list[int]:
    scores = (vectors * query).sum(axis=1)
    return [row for row in np.argsort(-scores, kind="stable").tolist() if allowed[row]][:top_k]


@settings(max_examples=60, deadline=None)
@given(alive=st.lists(st.booleans(), min_size=ROWS, max_size=ROWS), top_k=st.integers(1, 14), seed=st.integers(0, 9))
def test_rows_that_are_gone_or_that_a_filter_leaves_out_are_never_found(alive: list[bool], top_k: int, seed: int):
    vectors, query, living = unit(ROWS, seed), unit(1, seed + 50), np.array(alive)
    selected = np.random.default_rng(seed).random(ROWS) < 0.5
    (found,) = exact_rows(view_of(vectors, living), query, top_k=top_k, min_score=None)
    assert found.rows.tolist() == brute_force(vectors, living, query[0], top_k)
    (found,) = exact_rows(view_of(vectors, living), query, top_k=top_k, min_score=None, selected=selected)
    assert found.rows.tolist() == brute_force(vectors, living & selected, query[0], top_k)


@settings(max_examples=60, deadline=None)
@given(
    covered=st.integers(0, ROWS),
    alive=st.lists(st.booleans(), min_size=ROWS, max_size=ROWS),
    top_k=st.integers(1, 14),
    seed=st.integers(0, 9),
)
def test_an_index_that_proposes_everything_and_rows_added_since_give_the_exact_ranking(
    covered: int, alive: list[bool], top_k: int, seed: int
):
    vectors, queries, living = unit(ROWS, seed), unit(2, seed + 50), np.array(alive)
    index = ApproximateIndex.build(vectors[:covered], np.ones(covered, dtype=np.bool_))
    found = approximate_rows(view_of(vectors, living), index, queries, top_k=top_k, min_score=None)
    assert [ranking.rows.tolist() for ranking in found] == [
        brute_force(vectors, living, query, top_k) for query in queries
    ]
