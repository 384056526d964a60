from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from sightline.jepa.ranking.metrics import query_metrics, relevant_ranks, vector_scores


def _slow_ranks(row: list[float], right: list[int]) -> list[int]:
    """Sort by score, wrong before right among equals."""
    order = sorted(range(len(row)), key=lambda source: (-row[source], source in right))
    return sorted(order.index(source) + 1 for source in right)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_ranks_are_places_in_the_sorted_corpus_with_ties_against_the_right_answer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    questions, sources = rng.integers(1, 7), rng.integers(1, 15)
    scores = rng.choice([-math.inf, -1.0, 0.0, 0.25, 0.5, 1.0], size=(questions, sources))
    relevant = [np.flatnonzero(row) for row in rng.random((questions, sources)) < 0.3]
    relevant = [right if len(right) else np.array([sources - 1]) for right in relevant]
    found = relevant_ranks(lambda block: scores[block], relevant)
    expected = [_slow_ranks(row.tolist(), right.tolist()) for row, right in zip(scores, relevant, strict=True)]
    assert [ranks.tolist() for ranks in found] == expected


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(1, 150), min_size=1, max_size=14).map(sorted), min_size=1, max_size=5))
def test_metrics_are_their_definitions(ranks: list[list[int]]) -> None:
    metrics = query_metrics([np.array(right) for right in ranks])
    for number, right in enumerate(ranks):
        gain = sum(1 / math.log2(rank + 1) for rank in right if rank <= 10)
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(right), 10) + 1))
        assert metrics.reciprocal_rank[number] == pytest.approx(1 / right[0])
        assert metrics.ndcg_at_10[number] == pytest.approx(gain / ideal)
        for k, recall in ((1, metrics.recall_at_1), (10, metrics.recall_at_10), (100, metrics.recall_at_100)):
            assert recall[number] == pytest.approx(sum(rank <= k for rank in right) / len(right))
        assert metrics.accuracy_at_1[number] == (right[0] == 1)
    assert metrics.means()["reciprocal_rank"] == pytest.approx(np.mean([1 / right[0] for right in ranks]))
    assert metrics.means()["median_rank"] == np.median([right[0] for right in ranks])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), right=st.integers(1, 12))
def test_gain_and_reciprocal_rank_are_those_of_scikit_learn(seed: int, right: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(3, 30))
    relevant = [rng.choice(30, right, replace=False) for _ in range(3)]
    truth = np.zeros(scores.shape)
    for row, ids in zip(truth, relevant, strict=True):
        row[ids] = 1
    found = query_metrics(relevant_ranks(lambda block: scores[block], relevant))
    for number in range(3):
        expected = ndcg_score(truth[[number]], scores[[number]], k=10)
        assert found.ndcg_at_10[number] == pytest.approx(expected)
    if right == 1:  # with one right answer, average precision is the reciprocal rank
        assert found.reciprocal_rank.mean() == pytest.approx(label_ranking_average_precision_score(truth, scores))


def test_a_method_that_scores_everything_the_same_is_last() -> None:
    ranks = relevant_ranks(lambda _: np.zeros((1, 500)), [np.array([7])])
    assert ranks[0].tolist() == [500]


def test_questions_are_ranked_alike_alone_and_in_blocks() -> None:
    rng = np.random.default_rng(0)
    queries, sources = rng.normal(size=(600, 8)).astype("f4"), rng.normal(size=(50, 8)).astype("f4")
    relevant = [np.array([number % 50]) for number in range(600)]
    together = relevant_ranks(vector_scores(queries, sources), relevant)
    apart = [relevant_ranks(vector_scores(queries[i : i + 1], sources), relevant[i : i + 1])[0] for i in (0, 300, 599)]
    assert [together[i].tolist() for i in (0, 300, 599)] == [ranks.tolist() for ranks in apart]


def test_a_filter_hides_other_categories_and_minus_one_hides_nothing() -> None:
    queries, sources = np.eye(3, dtype="f4"), np.eye(3, dtype="f4")
    scores = vector_scores(queries, sources, categories=np.array([0, 1, -1]), source_category=np.array([0, 0, 1]))
    assert scores(slice(0, 3)).tolist() == [[1, 0, -np.inf], [-np.inf, -np.inf, 0], [0, 0, 1]]


def test_a_right_answer_that_is_filtered_out_is_last() -> None:
    queries, sources = np.eye(3, dtype="f4")[:1], np.eye(3, dtype="f4")
    scores = vector_scores(queries, sources, categories=np.array([1]), source_category=np.array([0, 0, 1]))
    assert relevant_ranks(scores, [np.array([0])])[0].tolist() == [3]


def test_sparse_rows_score_as_dense_ones() -> None:
    rng = np.random.default_rng(1)
    queries, sources = rng.random((4, 9)) * (rng.random((4, 9)) > 0.5), rng.random((6, 9)) * (rng.random((6, 9)) > 0.5)
    rows = vector_scores(sparse.csr_matrix(queries), sparse.csr_matrix(sources))(slice(1, 3))
    np.testing.assert_allclose(rows, (queries @ sources.T)[1:3])


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="question 1 hold NaN"):
        relevant_ranks(lambda _: np.array([[1.0], [np.nan]]), [np.array([0])] * 2)


def test_a_question_without_a_right_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="question 0 has no right answer"):
        relevant_ranks(lambda _: np.zeros((1, 2)), [np.array([], dtype=np.int64)])


def test_scores_for_other_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="3 rows of scores for 1 questions"):
        relevant_ranks(lambda _: np.zeros((3, 2)), [np.array([0])])


def test_a_filter_without_the_categories_of_the_sources_is_refused() -> None:
    with pytest.raises(ValueError, match="needs source_category"):
        vector_scores(np.eye(2, dtype="f4"), np.eye(2, dtype="f4"), categories=np.array([0, 1]))
