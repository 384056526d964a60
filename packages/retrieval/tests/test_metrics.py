from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.retrieval import ndcg_at_k, recall_at_k, reciprocal_rank

pages = st.lists(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=6).filter(
        lambda page: any(positive for _, positive in page)
    ),
    min_size=1,
    max_size=5,
)


def padded(page_list: list) -> tuple[np.ndarray, np.ndarray]:
    width = max(map(len, page_list))
    scores = np.full((len(page_list), width), -np.inf, np.float32)
    positives = np.zeros((len(page_list), width), np.bool_)
    for row, page in enumerate(page_list):
        scores[row, : len(page)], positives[row, : len(page)] = zip(*page, strict=True)
    return scores, positives


def ranked(page: list[tuple[int, bool]]) -> list[bool]:
    return [positive for _, positive in sorted(page, key=lambda chunk: -chunk[0])]


def discounted_gain(order: list[bool], k: int) -> float:
    return sum(1 / math.log2(rank + 1) for rank, positive in enumerate(order[:k], start=1) if positive)


@given(pages, st.integers(1, 8))
def test_recall_agrees_with_brute_force(page_list: list, k: int):
    expected = [float(any(ranked(page)[:k])) for page in page_list]
    assert recall_at_k(*padded(page_list), k).tolist() == expected


@given(pages)
def test_reciprocal_rank_agrees_with_brute_force(page_list: list):
    expected = [1 / (1 + ranked(page).index(True)) for page in page_list]
    assert reciprocal_rank(*padded(page_list)).tolist() == expected


@given(pages, st.integers(1, 8))
def test_ndcg_agrees_with_the_best_of_all_orders(page_list: list, k: int):
    expected = []
    for page in page_list:
        labels = [positive for _, positive in page]
        best = max(discounted_gain(list(order), k) for order in permutations(labels))
        expected.append(discounted_gain(ranked(page), k) / best)
    np.testing.assert_allclose(ndcg_at_k(*padded(page_list), k), expected)


def test_a_page_worked_by_hand():
    scores, positives = np.array([[0.1, 0.9, 0.5, 0.7]]), np.array([[True, False, True, False]])
    assert recall_at_k(scores, positives, 2).tolist() == [0.0]
    assert recall_at_k(scores, positives, 3).tolist() == [1.0]
    assert reciprocal_rank(scores, positives).tolist() == [1 / 3]
    assert ndcg_at_k(scores, positives, 3)[0] == pytest.approx((1 / 2) / (1 + 1 / math.log2(3)))


def test_equal_scores_rank_in_page_order():
    assert reciprocal_rank(np.zeros((1, 4)), np.array([[False, False, True, False]])).tolist() == [1 / 3]


@pytest.mark.parametrize(
    ("scores", "positives", "complaint"),
    [
        ([[1.0, 2.0], [1.0, 2.0]], [[True, False], [False, False]], "example 1 has no positive"),
        ([[1.0, float("nan")]], [[True, False]], "NaN"),
        ([[1.0, -float("inf")]], [[False, True]], "padding"),
        ([[1.0, 2.0]], [[True]], "one shape"),
        ([[1.0, 2.0]], [[1, 0]], "bool"),
    ],
)
def test_rankings_that_make_no_sense_are_refused(scores: list, positives: list, complaint: str):
    for metric in (reciprocal_rank, lambda *page: recall_at_k(*page, 1), lambda *page: ndcg_at_k(*page, 1)):
        with pytest.raises(ValueError, match=complaint):
            metric(np.array(scores), np.array(positives))


@pytest.mark.parametrize("metric", [recall_at_k, ndcg_at_k])
def test_a_cut_off_below_one_is_refused(metric):
    with pytest.raises(ValueError, match="at least 1"):
        metric(np.ones((1, 1)), np.ones((1, 1), np.bool_), 0)
