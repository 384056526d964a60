from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.retrieval.store.nearest import exact
from sightline.retrieval.store.nearest.exact import RankedRows, best_rows, merge, rank

CONSTANTS = st.fixed_dictionaries(
    {
        "_SCORES_PER_BLOCK": st.integers(1, 40),
        "_MIN_BLOCK_ROWS": st.integers(1, 9),
        "_MAX_BLOCK_ROWS": st.integers(9, 20),
        "_SAMPLE_ROWS": st.integers(1, 12),
    }
)


def unit_rows(count: int, dimension: int, distinct: int, seed: int) -> np.ndarray:
    """Rows of which only so many are different, so that many scores are equal."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((distinct, dimension)).astype(np.float32)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return rows[rng.integers(0, distinct, count)]


@settings(max_examples=150, deadline=None)
@given(
    constants=CONSTANTS,
    count=st.integers(0, 60),
    queries=st.integers(0, 4),
    distinct=st.integers(1, 30),
    top_k=st.integers(1, 70),
    least=st.none() | st.floats(-1, 1),
    share=st.none() | st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_blocks_of_any_size_give_the_ranking_of_brute_force(
    constants: dict[str, int],
    count: int,
    queries: int,
    distinct: int,
    top_k: int,
    least: float | None,
    share: float | None,
    seed: int,
):
    vectors, asked = unit_rows(count, 4, distinct, seed), unit_rows(queries, 4, distinct, seed + 100)
    selected = None if share is None else np.random.default_rng(seed).random(count) < share
    with pytest.MonkeyPatch.context() as patch:
        for name, value in constants.items():
            patch.setattr(exact, name, value)
        found = best_rows(vectors, asked, top_k=top_k, selected=selected, min_score=least)
    assert len(found) == queries
    for ranking, query in zip(found, asked, strict=True):
        scores = np.clip((vectors * query).sum(axis=1), -1, 1)
        order = [
            row
            for row in np.argsort(-scores, kind="stable").tolist()
            if (selected is None or selected[row]) and (least is None or scores[row] >= least)
        ]
        assert ranking.rows.tolist() == order[:top_k]
        assert ranking.scores.tolist() == scores[order[:top_k]].tolist()


def test_a_rows_score_does_not_depend_on_what_else_is_searched():
    vectors, asked = unit_rows(3000, 48, 3000, 0), unit_rows(5, 48, 5, 1)
    alone = [best_rows(vectors[row : row + 1], asked, top_k=1) for row in range(40)]
    together = best_rows(vectors, asked, top_k=3000)
    for number in range(5):
        scores = dict(zip(together[number].rows.tolist(), together[number].scores.tolist(), strict=True))
        assert [scores[row] for row in range(40)] == [alone[row][number].scores[0] for row in range(40)]


def test_ranking_and_merging_keep_the_order_of_equal_scores():
    rows, ones = np.array([3, 5, 9]), np.ones((3, 1), np.float32)
    assert rank(rows, ones, np.ones(1, np.float32), -2.0).rows.tolist() == [3, 5, 9]
    first, second = (RankedRows(np.array(numbers), np.ones(2, np.float32)) for numbers in ([8, 9], [1, 2]))
    assert merge(first, second, 3).rows.tolist() == [8, 9, 1]


def test_a_score_is_a_cosine_even_where_rounding_exceeds_one():
    long: Any = np.full((1, 4), 0.5000001, np.float32)
    assert rank(np.array([0]), long, long[0], -2.0).scores.tolist() == [1.0]
    assert rank(np.array([0]), -long, long[0], -2.0).scores.tolist() == [-1.0]


def test_a_row_that_just_reaches_the_least_score_is_found():
    vectors = unit_rows(50, 4, 50, 3)
    query = vectors[0]
    scores = (vectors * query).sum(axis=1)
    for row in range(50):
        (found,) = best_rows(vectors, query[None], top_k=50, min_score=float(min(scores[row], 1.0)))
        assert row in found.rows


def test_a_later_block_is_searched_for_rows_that_lead_by_less_than_rounding(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exact, "_SCORES_PER_BLOCK", 1)
    monkeypatch.setattr(exact, "_MIN_BLOCK_ROWS", 1)
    scores = np.array([0.5, 0.5, 0.5 + 2.0**-21, 0.5], np.float32)
    vectors = np.stack([scores, np.sqrt(1 - scores**2), 0 * scores, 0 * scores], axis=1)
    (found,) = best_rows(vectors, np.eye(1, 4, dtype=np.float32), top_k=1)
    assert found.rows.tolist() == [2]
