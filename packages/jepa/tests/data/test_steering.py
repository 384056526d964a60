from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.steering import changed_categories, oracle_steering, steering, unreliable_steering

MakeDataset = Callable[..., SteeringDataset]


def test_no_steering_is_zeros_that_are_not_given(built: SteeringDataset) -> None:
    found = steering(built, np.array([0, 2]), "none")
    assert not found.vectors.any()
    assert not found.has_steering.any()


def test_steering_by_category_is_the_description_where_one_is_given(built: SteeringDataset) -> None:
    found = steering(built, np.array([2, 3, 0]), "category")
    assert found.has_steering.tolist() == [True, False, True]
    np.testing.assert_array_equal(found.vectors[[0, 2]], built.category_vectors[[2, 0]])
    assert not found.vectors[1].any()


def test_categories_of_the_call_take_the_place_of_the_questions_own(built: SteeringDataset) -> None:
    found = steering(built, np.array([0, 3]), "category", np.array([-1, 3]))
    assert found.has_steering.tolist() == [False, True]
    np.testing.assert_array_equal(found.vectors[1], built.category_vectors[3])


def test_steering_by_keywords_is_given_where_some_are_typed(built: SteeringDataset) -> None:
    found = steering(built, np.arange(4), "keywords")
    assert found.has_steering.tolist() == [True, False, True, False]
    np.testing.assert_array_equal(found.vectors, built.keyword_vectors)


def test_residual_steering_points_from_the_question_to_the_category(built: SteeringDataset) -> None:
    found = steering(built, np.array([2, 3]), "residual")
    difference = built.category_vectors[2].astype(np.float64) - built.questions[2]
    np.testing.assert_allclose(found.vectors[0], difference / np.linalg.norm(difference), atol=1e-6)
    assert found.has_steering.tolist() == [True, False]
    assert not found.vectors[1].any()
    assert found.vectors.dtype == np.float32


def test_a_question_that_is_its_category_has_no_residual(built: SteeringDataset) -> None:
    same = replace(built, category_vectors=np.tile(built.questions[:1], (4, 1)))
    found = steering(same, np.array([0]), "residual")
    assert not found.has_steering[0]
    assert not found.vectors.any()


@pytest.mark.parametrize("categories", [[0, 4], [-2, 0], [0]])
def test_categories_that_do_not_exist_are_refused(built: SteeringDataset, categories: list[int]) -> None:
    with pytest.raises(ValueError, match="2 ids from -1 to 3"):
        steering(built, np.array([0, 1]), "category", np.array(categories))


def test_an_unknown_kind_is_refused(built: SteeringDataset) -> None:
    with pytest.raises(ValueError, match="'oracle'"):
        steering(built, np.array([0]), "oracle")  # ty: ignore[invalid-argument-type]  # what a caller may try


@pytest.mark.parametrize("change", ["missing", "random", "adjacent"])
def test_a_share_of_the_categories_is_changed(make_toy_dataset: MakeDataset, change: str) -> None:
    dataset = make_toy_dataset(sources=2000, without_category=0.2)
    asked = np.arange(2000)
    own = dataset.question_category
    found = changed_categories(dataset, asked, share=0.3, change=change, seed=0)  # ty: ignore[invalid-argument-type]  # parametrized
    changed = found != own
    assert 0.26 < changed[own >= 0].mean() < 0.34
    assert not changed[own < 0].any()
    assert (found[changed] == -1).all() if change == "missing" else ((found[changed] >= 0) & (found[changed] < 4)).all()


def test_an_adjacent_category_is_the_most_similar_other(toy_dataset: SteeringDataset) -> None:
    found = changed_categories(toy_dataset, np.arange(160), share=1.0, change="adjacent", seed=0)
    for own, other in zip(toy_dataset.question_category, found, strict=True):
        cosines = {k: float(toy_dataset.category_vectors[own] @ toy_dataset.category_vectors[k]) for k in range(4)}
        del cosines[int(own)]
        assert other == max(cosines, key=lambda k: cosines[k])


def test_a_single_category_cannot_be_changed_to_another(make_toy_dataset: MakeDataset) -> None:
    dataset = make_toy_dataset(categories=1)
    with pytest.raises(ValueError, match="at least two"):
        changed_categories(dataset, np.array([0]), share=1.0, change="random", seed=0)


def test_oracle_steering_is_the_centroid_of_the_answers_category(built: SteeringDataset) -> None:
    found = oracle_steering(built, np.array([2, 3]))
    np.testing.assert_array_equal(found.vectors, built.centroids[[2, 0]])
    assert found.has_steering.all()


def test_unreliable_steering_is_wrong_for_half_of_its_share_and_missing_for_the_other(
    make_toy_dataset: MakeDataset,
) -> None:
    dataset = make_toy_dataset(sources=2000)
    found = unreliable_steering(dataset, np.arange(2000), 0.3)
    right = (found.vectors == dataset.category_vectors[dataset.question_category]).all(axis=1)
    assert 0.13 < 1 - found.has_steering.mean() < 0.17
    assert 0.13 < (found.has_steering & ~right).mean() < 0.17
