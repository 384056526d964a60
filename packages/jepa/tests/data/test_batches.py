from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from sightline.jepa.data.batches import TrainingPairs, epoch_batches
from sightline.jepa.data.dataset import SteeringDataset


def test_training_pairs_know_what_else_answers_their_questions(make_toy_dataset: Callable[..., SteeringDataset]):
    dataset = replace(
        make_toy_dataset(sources=20),
        pairs=np.array([[0, 3], [0, 5], [1, 7]]),
        pair_split=np.array([0, 0, 1], dtype=np.int8),
        source_text_ids=np.where(np.arange(20) == 9, 3, np.arange(20)),  # source 9 repeats source 3
    )
    pairs = TrainingPairs.of(dataset, None)
    rows, sources = pairs.others_of(torch.tensor([1, 0]))
    kept = np.array([3, 5, 9])  # what answers no training question is no wrong answer either
    assert torch.equal(pairs.corpus, torch.from_numpy(dataset.sources[kept]))
    assert kept[pairs.source_ids].tolist() == [3, 5]
    assert rows.tolist() == [0, 0, 1, 1]
    assert kept[sources].tolist() == [3, 9, 5, 9]


def test_every_source_or_mined_ones_serve_as_wrong_answers_only_if_asked_for(toy_dataset: SteeringDataset):
    training = toy_dataset.pair_split == 0
    own, mined = toy_dataset.pairs[training, 1], np.flatnonzero(~training)[:2]
    rows = np.tile(mined, (len(own), 1))
    for pairs, expected in (
        (TrainingPairs.of(toy_dataset, None), own),
        (TrainingPairs.of(toy_dataset, None, every_source=True), np.arange(160)),
        (TrainingPairs.of(toy_dataset, rows), np.union1d(own, mined)),
    ):
        assert torch.equal(pairs.corpus, torch.from_numpy(toy_dataset.sources[expected]))
        assert torch.equal(pairs.corpus[pairs.source_ids], torch.from_numpy(toy_dataset.sources[own]))
        assert pairs.corpus_category.tolist() == toy_dataset.source_category[expected].tolist()
    with_mined = TrainingPairs.of(toy_dataset, rows)
    assert with_mined.mined is not None
    assert torch.equal(with_mined.corpus[with_mined.mined[0]], torch.from_numpy(toy_dataset.sources[mined]))


def test_batches_hold_every_pair_once_and_are_of_like_size():
    batches = epoch_batches(103, 25, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(batches).tolist()) == list(range(103))
    assert {len(batch) for batch in batches} == {25, 26}
    assert len(epoch_batches(3, 25, torch.Generator())) == 1


def test_balanced_batches_draw_all_categories_alike():
    categories = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    batches = epoch_batches(1000, 100, torch.Generator().manual_seed(0), categories)
    assert [len(batch) for batch in batches] == [100] * 10
    counts = torch.bincount(categories[torch.cat(batches)])
    assert counts.sum() == 1000
    assert all(abs(int(count) - 333) < 50 for count in counts)  # three standard deviations are 45
