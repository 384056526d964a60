from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import entropy

from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.explaining.evidence import FEATURES, Evidence, divergence, gather_evidence, judge
from sightline.jepa.explaining.prediction import PredictionParts
from sightline.jepa.ranking.source_index import SourceIndex


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Toy:
    """Routes by cosine with the centroids, and adds the question and its steering."""

    def __init__(self, centroids: np.ndarray) -> None:
        self.centroids = centroids

    def __call__(self, question, steering, has_steering, /, *, steering_strength=1.0, routing=None) -> PredictionParts:
        asked = question + steering_strength * np.where(has_steering[:, None], steering, 0)
        if routing is None:
            weights = np.exp(8 * asked @ self.centroids.T)
            routing = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        coarse = routing @ self.centroids
        return PredictionParts(unit(coarse + asked).astype(np.float32), routing, coarse, asked)


@pytest.fixture
def index(easy_dataset: SteeringDataset) -> SourceIndex:
    return SourceIndex.from_dataset(easy_dataset)


@pytest.fixture
def gather(easy_dataset: SteeringDataset, index: SourceIndex) -> Callable[..., Evidence]:
    def gather(rows: np.ndarray) -> Evidence:
        steering = easy_dataset.category_vectors[easy_dataset.source_category[rows]]
        return gather_evidence(
            Toy(easy_dataset.centroids), index, easy_dataset.questions[rows], steering, rows % 2 == 0
        )

    return gather


def test_results_and_their_ranks_are_those_of_a_slow_search(
    easy_dataset: SteeringDataset, index: SourceIndex, gather: Callable[..., Evidence]
):
    rows = np.arange(20)
    evidence = gather(rows)
    toy = Toy(easy_dataset.centroids)
    without = toy(easy_dataset.questions[rows], easy_dataset.questions[rows], np.zeros(20, dtype=bool))
    for row in rows:
        scores = index.sources @ evidence.vectors[row]
        assert evidence.result_ids[row].tolist() == np.argsort(-scores, kind="stable")[:10].tolist()
        unsteered = np.argsort(np.argsort(-(index.sources @ without.vectors[row]), kind="stable")) + 1
        assert evidence.ranks_without_steering[row].tolist() == unsteered[evidence.result_ids[row]].tolist()
        change = np.abs(np.log2(np.arange(1, 11)) - np.log2(evidence.ranks_without_steering[row])).mean()
        assert evidence.rank_change[row] == pytest.approx(change)


def test_without_steering_there_is_no_influence(gather: Callable[..., Evidence]):
    evidence = gather(np.arange(40))
    unsteered = evidence.feature("has_steering") == 0
    assert unsteered.sum() == 20
    assert not evidence.steering_influence[unsteered].any()
    assert not evidence.rank_change[unsteered].any()
    assert not evidence.feature("dispute")[unsteered].any()
    assert (evidence.steering_influence[~unsteered] > 0).all()
    assert evidence.rank_change[~unsteered].mean() > 0


def test_a_question_has_the_same_evidence_alone_and_in_company(gather: Callable[..., Evidence]):
    together, alone = gather(np.arange(30)), gather(np.array([17]))
    assert np.allclose(together.features[17], alone.features[0], atol=1e-3)
    assert np.array_equal(together.result_ids[17], alone.result_ids[0])


def test_every_feature_is_what_its_description_says(
    easy_dataset: SteeringDataset, index: SourceIndex, gather: Callable[..., Evidence]
):
    evidence = gather(np.arange(12))
    toy = Toy(easy_dataset.centroids)
    for row in range(12):
        question = easy_dataset.questions[row : row + 1]
        steering = easy_dataset.category_vectors[easy_dataset.source_category[row : row + 1]]
        has_steering = np.array([row % 2 == 0])
        parts, without = toy(question, steering, has_steering), toy(question, steering, np.array([False]))
        scores = np.sort(index.sources @ parts.vectors[0])[::-1][:10]
        primary = int(parts.routing[0].argmax())
        coarse, fine = np.linalg.norm(parts.coarse), np.linalg.norm(parts.fine)
        expected = {
            "top_score": scores[0],
            "margin": np.log2(scores[0] - scores[1]),
            "lead": scores[0] - scores.mean(),
            "crowd": np.log2(np.sum(index.sources @ parts.vectors[0] >= scores[0] - 0.1)),
            "routing_confidence": parts.routing.max(),
            "routing_entropy": entropy(parts.routing[0]),
            "subspace_share": np.mean(index.source_category[evidence.result_ids[row]] == primary),
            "fine_norm": fine / (coarse + fine),
            "known_similarity": (index.known_questions @ question[0]).max(),
            "has_steering": float(row % 2 == 0),
            "dispute": without.routing.max() - without.routing[0, primary],
        }
        assert set(expected) == set(FEATURES)
        assert {name: evidence.feature(name)[row] for name in FEATURES} == pytest.approx(expected, abs=1e-4)


def test_what_is_added_to_scores_is_searched_and_measured_with_them(easy_dataset: SteeringDataset, index: SourceIndex):
    rows = np.arange(300) % 160
    added = np.random.default_rng(0).uniform(size=(300, 160)).astype(np.float32)
    toy, steering = Toy(easy_dataset.centroids), easy_dataset.category_vectors[easy_dataset.source_category[rows]]
    inputs = easy_dataset.questions[rows], steering, rows % 2 == 0
    evidence = gather_evidence(toy, index, *inputs, added=added.__getitem__)
    without = toy(*inputs[:2], np.zeros(300, dtype=bool))
    for row in (0, 7, 255, 256, 299):
        scores = index.sources @ evidence.vectors[row] + added[row]
        unsteered = index.sources @ without.vectors[row] + added[row]
        assert evidence.result_ids[row].tolist() == np.argsort(-scores, kind="stable")[:10].tolist()
        assert evidence.result_scores[row] == pytest.approx(np.sort(scores)[::-1][:10], abs=1e-5)
        places = np.argsort(np.argsort(-unsteered, kind="stable")) + 1
        assert evidence.ranks_without_steering[row].tolist() == places[evidence.result_ids[row]].tolist()
        assert evidence.feature("crowd")[row] == pytest.approx(np.log2(np.sum(scores >= scores.max() - 0.1)), abs=1e-4)


def test_copies_of_one_text_do_not_make_a_margin(easy_dataset: SteeringDataset):
    copies = easy_dataset.sources.copy()
    copies[1] = copies[0]
    index = SourceIndex.from_dataset(easy_dataset, copies)

    def straight(question, steering, has_steering, /, *, steering_strength=1.0, routing=None) -> PredictionParts:
        weights = np.full((len(question), 4), 0.25, dtype=np.float32)
        return PredictionParts(question, weights, question, np.zeros_like(question))

    evidence = gather_evidence(straight, index, copies[:1], np.zeros((1, 16), np.float32), np.array([False]))
    third = np.sort(copies @ copies[0])[::-1][2]
    assert set(evidence.result_ids[0, :2].tolist()) == {0, 1}
    assert evidence.feature("margin")[0] == pytest.approx(np.log2(1 - third), abs=1e-3)


def test_known_questions_are_the_most_similar_ones(
    easy_dataset: SteeringDataset, index: SourceIndex, gather: Callable[..., Evidence]
):
    evidence = gather(np.arange(5))
    for row in range(5):
        similarities = index.known_questions @ easy_dataset.questions[row]
        assert evidence.known_ids[row].tolist() == np.argsort(-similarities, kind="stable")[:5].tolist()
        assert evidence.known_similarities[row] == pytest.approx(np.sort(similarities)[::-1][:5])


def test_outcomes_are_judged_by_all_true_sources(index: SourceIndex, gather: Callable[..., Evidence]):
    evidence = gather(np.arange(3))
    outside = np.setdiff1d(np.arange(160), evidence.result_ids[2])
    elsewhere = outside[index.source_category[outside] != evidence.primary[2]]
    relevant = [evidence.result_ids[0, [0, 4]], evidence.result_ids[1, [9]], elsewhere[:2]]
    outcomes = judge(evidence, index, relevant)
    assert outcomes.first_right.tolist() == [True, False, False]
    assert outcomes.among_results.tolist() == [True, True, False]
    assert outcomes.subspace_right[0] == (evidence.primary[0] in index.source_category[relevant[0]])
    assert not outcomes.subspace_right[2]


def test_rows_can_be_taken(gather: Callable[..., Evidence]):
    evidence = gather(np.arange(6))
    taken = evidence.taken([4, 1])
    assert len(taken) == 2
    assert np.array_equal(taken.features, evidence.features[[4, 1]])


def test_the_divergence_is_that_of_the_textbook_and_not_symmetric():
    first, second = np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([[0.5, 0.5], [0.5, 0.5]])
    assert divergence(first, second) == pytest.approx([entropy([0.9, 0.1], [0.5, 0.5]), 0.0])
    assert divergence(first, second)[0] != pytest.approx(divergence(second, first)[0])


def test_the_divergence_from_an_impossible_subspace_is_finite():
    assert np.isfinite(divergence(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))).all()
