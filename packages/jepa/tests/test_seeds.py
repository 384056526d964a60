"""What follows from a seed stays what it is: published figures were measured on these splits and draws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from sightline.jepa import SteeringDataset, mine_negatives
from sightline.jepa.config import CurriculumConfig
from sightline.jepa.data import changed_categories, hold_out_fold, resplit, split_by_components, unreliable_steering
from sightline.jepa.data.batches import epoch_batches
from sightline.jepa.training import Curriculum

IDS = np.arange(24)
SHARED_ANSWERS = np.stack([IDS, np.repeat(np.arange(12), 2)], axis=1)
"""Questions 0 and 1 have one answer, 2 and 3 another, ..."""


@pytest.fixture(scope="module")
def dataset(make_toy_dataset: Callable[..., SteeringDataset]) -> SteeringDataset:
    return make_toy_dataset(sources=24)


def digits(values: np.ndarray) -> str:
    return "".join("-" if value < 0 else str(value) for value in values.tolist())


@pytest.mark.parametrize(
    ("seed", "fractions", "expected"),
    [
        (0, (0.7, 0.1, 0.2), "222211000000002200000000"),
        (1, (0.7, 0.1, 0.2), "002200222200000000000011"),
        (20, (0.7, 0.1, 0.2), "000000222200000011002200"),
        (7, (0.5, 0.25, 0.25), "000000110011110022222200"),
    ],
)
def test_the_split_of_a_seed(seed: int, fractions: tuple[float, float, float], expected: str):
    split = split_by_components(SHARED_ANSWERS, IDS, np.arange(12), fractions=fractions, seed=seed)
    assert digits(split) == expected


def test_the_split_and_the_folds_of_a_data_set(dataset: SteeringDataset):
    again = resplit(dataset, 5)
    assert digits(again.pair_split) == "000000020002102200000021"
    held = hold_out_fold(again, 1, 3, seed=2)
    assert held.pairs[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 13, 16, 17, 18, 19, 20, 21, 23]
    assert digits(held.pair_split) == "0022000022100002021"


def test_the_categories_that_a_seed_changes(dataset: SteeringDataset):
    assert digits(dataset.source_category) == "313230330120223311130101"
    found = {
        change: digits(changed_categories(dataset, IDS, share=0.5, change=change, seed=3))
        for change in ("missing", "random")
    }
    assert found == {"missing": "--32----0--0-233-11--1--", "random": "213200311132220301200131"}


def test_the_unreliable_steering_of_every_run(dataset: SteeringDataset):
    steering = unreliable_steering(dataset, IDS, 0.6)
    nearest = (steering.vectors @ dataset.category_vectors.T).argmax(axis=1)
    assert digits(np.where(steering.has_steering, nearest, -1)) == "-2-0-1-30321-3-310-1-1-2"


def test_the_negatives_of_a_seed(dataset: SteeringDataset):
    mined = mine_negatives(resplit(dataset, 5), 4, seed=1, pool="all")
    assert mined.ids[:4].tolist() == [[7, 18, 10, 3], [22, 22, 22, 22], [0, 21, 23, 1], [12, 11, 0, 20]]
    assert mined.tiers[:4].tolist() == [[0, 1, 3, 3], [3, 1, 3, 3], [0, 1, 3, 3], [0, 1, 3, 3]]


def test_the_batches_and_the_steering_of_an_epoch(dataset: SteeringDataset):
    batches = epoch_batches(10, 4, torch.Generator().manual_seed(3))
    assert [batch.tolist() for batch in batches] == [[6, 0, 3, 7, 8], [5, 1, 9, 2, 4]]
    _, kinds = Curriculum(CurriculumConfig(), dataset, seed=4).draw(2, IDS)
    assert digits(kinds) == "110141014001101101000011"
