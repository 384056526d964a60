from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.jepa.config import CurriculumConfig
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.steering import steering
from sightline.jepa.training.curriculum import KINDS, Curriculum, steering_shares

CONFIG = CurriculumConfig(
    none_start=0.6, none_end=0.2, wrong_start=0.0, wrong_end=0.2, ramp_epochs=10, category=2, keywords=1, residual=1
)
QUESTIONS = np.tile(np.arange(160), 20)


@pytest.fixture(scope="module")
def curriculum(toy_dataset: SteeringDataset) -> Curriculum:
    return Curriculum(CONFIG, toy_dataset, seed=0)


def test_shares_go_from_start_to_end_and_then_stay(curriculum: Curriculum):
    first, middle, end, later = (curriculum.probabilities(epoch) for epoch in (1, 6, 11, 50))
    assert (first["none"], first["wrong"]) == pytest.approx((0.6, 0.0))
    assert (middle["none"], middle["wrong"]) == pytest.approx((0.4, 0.1))
    assert (end["none"], end["wrong"]) == pytest.approx((0.2, 0.2))
    assert later == end
    assert end["category"] == pytest.approx(2 * end["keywords"])


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(1, 100))
def test_shares_always_sum_to_one(none_start: float, none_end: float, wrong_start: float, wrong_end: float, epoch: int):
    config = CurriculumConfig(
        none_start=none_start,
        none_end=none_end,
        wrong_start=wrong_start * (1 - none_start),
        wrong_end=wrong_end * (1 - none_end),
    )
    shares = Curriculum.probabilities(_without_data(config), epoch)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert min(shares.values()) >= -1e-12


def _without_data(config: CurriculumConfig) -> Curriculum:
    curriculum = object.__new__(Curriculum)
    curriculum._config = config
    return curriculum


def test_examples_are_drawn_in_these_shares(curriculum: Curriculum):
    _, kinds = curriculum.draw(6, QUESTIONS)
    drawn, told = steering_shares(kinds), curriculum.probabilities(6)
    assert list(drawn) == list(KINDS)
    assert drawn == pytest.approx(told, abs=0.03)


def test_the_same_epoch_draws_the_same_and_another_draws_otherwise(toy_dataset: SteeringDataset):
    first, second = (Curriculum(CONFIG, toy_dataset, seed=3).draw(4, QUESTIONS) for _ in range(2))
    assert np.array_equal(first[0].vectors, second[0].vectors)
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[1], Curriculum(CONFIG, toy_dataset, seed=3).draw(5, QUESTIONS)[1])
    assert not np.array_equal(first[1], Curriculum(CONFIG, toy_dataset, seed=4).draw(4, QUESTIONS)[1])


def test_each_true_kind_is_what_the_data_set_gives_for_it(curriculum: Curriculum, toy_dataset: SteeringDataset):
    drawn, kinds = curriculum.draw(8, QUESTIONS)
    for kind in ("none", "category", "keywords", "residual"):
        rows = np.flatnonzero(kinds == KINDS.index(kind))
        expected = steering(toy_dataset, QUESTIONS[rows], kind)
        assert len(rows) > 50
        np.testing.assert_array_equal(drawn.vectors[rows], expected.vectors)
        np.testing.assert_array_equal(drawn.has_steering[rows], expected.has_steering)


def test_wrong_steering_is_the_description_of_another_category(curriculum: Curriculum, toy_dataset: SteeringDataset):
    drawn, kinds = curriculum.draw(20, QUESTIONS)
    rows = np.flatnonzero(kinds == KINDS.index("wrong"))
    category = (drawn.vectors[rows] @ toy_dataset.category_vectors.T).argmax(axis=1)
    np.testing.assert_allclose(drawn.vectors[rows], toy_dataset.category_vectors[category])
    assert len(rows) > 300
    assert (category != toy_dataset.question_category[QUESTIONS[rows]]).all()


def test_near_wrong_categories_are_the_most_similar_ones(make_toy_dataset: Callable[..., SteeringDataset]):
    dataset = make_toy_dataset(categories=8, sources=300)
    config = CurriculumConfig(none_start=0, none_end=0, wrong_start=1, wrong_end=1, near_share=1)
    drawn, _ = Curriculum(config, dataset, seed=0).draw(1, np.arange(300))
    similar = dataset.category_vectors @ dataset.category_vectors.T
    own = dataset.question_category
    category = (drawn.vectors @ dataset.category_vectors.T).argmax(axis=1)
    nearer = (similar[own] > similar[own, category][:, None]).sum(axis=1)
    assert set(nearer) == {1, 2, 3}  # only the category itself and up to two others are nearer


def test_a_question_without_category_stays_without_steering(make_toy_dataset: Callable[..., SteeringDataset]):
    dataset = make_toy_dataset(without_category=1.0)
    config = CurriculumConfig(none_start=0, none_end=0, wrong_start=0.3, wrong_end=0.3)
    drawn, kinds = Curriculum(config, dataset, seed=0).draw(1, np.arange(160))
    assert not drawn.has_steering.any()
    assert not drawn.vectors.any()
    assert steering_shares(kinds)["none"] == 1.0


def test_one_category_cannot_be_wrong(make_toy_dataset: Callable[..., SteeringDataset]):
    dataset = make_toy_dataset(categories=1)
    with pytest.raises(ValueError, match="none can be wrong"):
        Curriculum(CONFIG, dataset, seed=0)
    allowed = CurriculumConfig(wrong_start=0, wrong_end=0)
    assert Curriculum(allowed, dataset, seed=0).draw(1, np.arange(160))[0].has_steering.any()
