from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from sightline.jepa.data.building import SteeringTexts, build_dataset, hold_out_fold, resplit, text_ids
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.splits import pair_components

MakeDataset = Callable[..., SteeringDataset]


Encode = Callable[[Sequence[str]], np.ndarray]


def test_equal_texts_are_embedded_once_and_scaled_to_unit_length(texts: SteeringTexts, encode: Encode) -> None:
    asked: list[str] = []

    def noted(batch: Sequence[str]) -> np.ndarray:
        asked.extend(batch)
        return encode(batch)

    dataset = build_dataset(texts, noted, encoder="letters")
    assert len(asked) == len(set(asked))
    assert "" not in asked
    expected = encode(["make a bucket"])[0]
    np.testing.assert_allclose(dataset.questions[2], expected / np.linalg.norm(expected), rtol=1e-5)


def test_texts_are_equal_up_to_case_and_white_space() -> None:
    assert text_ids(["A  b", "c", "a B ", "C!", "c"]).tolist() == [0, 1, 0, 3, 1]


def test_questions_of_one_text_are_in_one_split(built: SteeringDataset) -> None:
    for seed in range(8):
        split = resplit(built, seed).pair_split
        assert split[0] == split[1]


def test_centroids_are_means_of_training_sources_else_of_all_else_the_description(built: SteeringDataset) -> None:
    data = replace(
        built,
        pairs=np.array([[0, 0], [1, 2], [2, 2], [3, 3]]),
        question_text_ids=np.arange(4),
        source_text_ids=np.arange(5),
    )
    for seed in range(6):
        data = resplit(data, seed, (0.4, 0.2, 0.4))
        training = set(data.pairs[data.pair_split == 0, 1].tolist())
        for category in range(3):
            members = np.flatnonzero(data.source_category == category)
            mean = data.sources[[m for m in members if m in training] or members].astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(data.centroids[category], mean / np.linalg.norm(mean), atol=1e-6)
        np.testing.assert_array_equal(data.centroids[3], data.category_vectors[3])


def test_a_split_again_learns_its_centroids_from_training_sources_alone(toy_dataset: SteeringDataset) -> None:
    data = resplit(toy_dataset, 1, (0.4, 0.2, 0.4))
    training = np.unique(data.pairs[data.pair_split == 0, 1])
    for category in range(len(data.names)):
        mean = data.sources[training[data.source_category[training] == category]].mean(axis=0)
        np.testing.assert_allclose(data.centroids[category], mean / np.linalg.norm(mean), atol=1e-5)


def test_a_split_again_shares_the_embeddings(built: SteeringDataset) -> None:
    assert resplit(built, 7).sources is built.sources


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda n: np.ones((n - 1, 4)), "a row per text"),
        (lambda n: np.zeros((n, 4)), "zero or not finite"),
        (lambda n: np.full((n, 4), np.inf), "zero or not finite"),
    ],
)
def test_anencoder_that_breaks_its_promise_is_named(
    rows: Callable[[int], np.ndarray], message: str, texts: SteeringTexts, encode: Encode
) -> None:
    with pytest.raises(ValueError, match=f"'letters' gave .*{message}"):
        build_dataset(texts, lambda texts: rows(len(texts)), encoder="letters")


def test_folds_hold_out_every_training_component_once(built: SteeringDataset) -> None:
    folds = [hold_out_fold(built, fold, 2, seed=5) for fold in range(2)]
    held = np.concatenate([fold.queries("test") for fold in folds])
    assert sorted(held.tolist()) == built.queries("train").tolist()
    for fold in folds:
        assert fold.queries("validation").tolist() == built.queries("validation").tolist()
        seen = {*fold.queries("train").tolist(), *fold.queries("test").tolist()}
        assert seen == set(built.queries("train").tolist())
        components = pair_components(fold.pairs, fold.question_text_ids, fold.source_text_ids)
        parts = [set(components[fold.pair_split == split].tolist()) for split in range(3)]
        assert not parts[0] & parts[2]
        assert not parts[1] & parts[2]


def test_what_is_held_out_leaves_no_trace_in_the_centroids(built: SteeringDataset) -> None:
    fold = hold_out_fold(built, 0, 2, seed=0)
    training = np.unique(fold.pairs[fold.pair_split == 0, 1])
    for category in np.unique(built.source_category[training]):
        own = training[built.source_category[training] == category]
        mean = built.sources[own].mean(axis=0)
        np.testing.assert_allclose(fold.centroids[category], mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize(("fold", "folds"), [(2, 2), (-1, 2), (0, 0)])
def test_a_fold_that_is_none_is_refused(built: SteeringDataset, fold: int, folds: int) -> None:
    with pytest.raises(ValueError, match="fold must be"):
        hold_out_fold(built, fold, folds, seed=0)


def test_more_folds_than_components_are_refused(built: SteeringDataset) -> None:
    with pytest.raises(ValueError, match="empty"):
        hold_out_fold(built, 9999, 10_000, seed=0)
