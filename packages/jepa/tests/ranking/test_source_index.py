from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.ranking.source_index import SourceIndex, best, check_questions, check_subspaces, search


@pytest.fixture
def index(toy_dataset: SteeringDataset) -> SourceIndex:
    return SourceIndex.from_dataset(toy_dataset)


def test_only_training_pairs_are_known(toy_dataset: SteeringDataset, index: SourceIndex):
    training = toy_dataset.pairs[toy_dataset.pair_split == 0]
    assert index.known_sources.tolist() == training[:, 1].tolist()
    assert np.array_equal(index.known_questions, toy_dataset.questions[training[:, 0]])


def test_sources_may_be_those_of_a_projected_space(toy_dataset: SteeringDataset):
    projected = np.ascontiguousarray(toy_dataset.sources[:, ::-1])
    assert np.array_equal(SourceIndex.from_dataset(toy_dataset, projected).sources, projected)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_the_best_are_those_of_a_full_stable_sort(seed: int, count: int):
    scores = np.random.default_rng(seed).normal(size=(3, 12)).astype(np.float32)
    assert best(scores, count).tolist() == [np.argsort(-row, kind="stable")[:count].tolist() for row in scores]


def test_a_search_finds_what_a_slow_one_finds(toy_dataset: SteeringDataset, index: SourceIndex):
    relevant = toy_dataset.relevant(np.arange(len(toy_dataset.questions)))
    relevant[3] = np.array([1, 2, 3])
    found = search(toy_dataset.questions, index, relevant)
    for row, question in enumerate(toy_dataset.questions):
        order = sorted(range(len(index.sources)), key=lambda source: -float(question @ index.sources[source]))
        rank = 1 + min(order.index(true) for true in relevant[row])
        assert found.ids[row].tolist() == order[:10]
        assert found.reciprocal_rank[row] == pytest.approx(1 / rank)


def test_queries_of_another_width_are_refused_with_the_remedy(toy_dataset: SteeringDataset, index: SourceIndex):
    with pytest.raises(ValueError, match=r"vectors of 20 numbers, but the index holds 16.*index_for"):
        search(np.zeros((1, 20), dtype=np.float32), index, [np.array([0])])


def test_the_share_from_a_subspace_counts_results(toy_dataset: SteeringDataset, index: SourceIndex):
    found = search(toy_dataset.questions[:2], index, [np.array([0]), np.array([1])])
    shares = found.share_from(np.array([2, 0]), index)
    assert shares[0] == np.mean([index.source_category[source] == 2 for source in found.ids[0]])
    assert shares[1] == np.mean([index.source_category[source] == 0 for source in found.ids[1]])


def test_a_question_without_a_true_source_is_named(toy_dataset: SteeringDataset, index: SourceIndex):
    with pytest.raises(ValueError, match="question 1 has no true source"):
        search(toy_dataset.questions[:2], index, [np.array([0]), np.array([], dtype=np.int64)])


def test_every_question_needs_its_true_sources(toy_dataset: SteeringDataset, index: SourceIndex):
    with pytest.raises(ValueError, match="2 questions need as many arrays of true sources, not 1"):
        search(toy_dataset.questions[:2], index, [np.array([0])])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ("a", "a", "b", "c")}, "same name"),
        ({"source_category": np.full(160, 4)}, r"source_category must be \[n\] with ids in \[0, 4\); entry 0 is 4"),
        ({"source_category": np.zeros(3, dtype=np.int64)}, "160 sources need as many categories"),
        ({"known_sources": np.array([0, 1])}, r"known_questions \[2, D\]"),
        ({"sources": np.eye(16, dtype=np.float32)[:4], "source_category": np.zeros(4, int)}, "at least 10 sources"),
    ],
)
def test_an_index_whose_parts_do_not_fit_is_refused(index: SourceIndex, changes: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        replace(index, **changes)


@pytest.mark.parametrize(
    ("width", "has_steering", "message"),
    [
        (15, np.ones(2, dtype=bool), r"must both be \[B, 16\]"),
        (16, np.ones(3, dtype=bool), r"has_steering must be bool \[2\], not bool \[3\]"),
        (16, np.ones(2), r"has_steering must be bool \[2\], not float64"),
    ],
)
def test_questions_of_another_shape_are_refused(index: SourceIndex, width: int, has_steering: np.ndarray, message: str):
    vectors = np.zeros((2, width), dtype=np.float32)
    with pytest.raises(ValueError, match=message):
        check_questions(index, vectors, vectors, has_steering)


def test_a_question_that_is_not_finite_is_refused(index: SourceIndex):
    vectors = np.full((1, 16), np.nan, dtype=np.float32)
    with pytest.raises(ValueError, match="finite"):
        check_questions(index, vectors, np.zeros_like(vectors), np.array([False]))


def test_a_subspace_that_does_not_exist_is_refused(index: SourceIndex):
    with pytest.raises(ValueError, match=r"2 subspace ids in \[0, 4\); they are \[2\] from 1 to 4"):
        check_subspaces(index, np.array([1, 4]), 2)
