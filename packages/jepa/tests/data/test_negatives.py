from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.jepa.data import negatives as module
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.negatives import ADJACENT_CATEGORY, NEAREST_OUTSIDE, RANDOM, SAME_CATEGORY, mine_negatives

MakeDataset = Callable[..., SteeringDataset]


@pytest.fixture(scope="module")
def near_dataset(make_toy_dataset: MakeDataset) -> SteeringDataset:
    """Questions so near their sources that the filter for what may be right leaves most of the corpus."""
    dataset = make_toy_dataset(sources=400, categories=8)
    noisy = dataset.sources + 0.15 * np.random.default_rng(0).normal(size=dataset.sources.shape)
    return replace(dataset, questions=(noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32))


def _shared(dataset: SteeringDataset, seed: int) -> SteeringDataset:
    """The same data where sources have few distinct texts and questions several answers."""
    rng = np.random.default_rng(seed)
    count = len(dataset.sources)
    extra = np.stack([np.arange(count), rng.integers(0, count, count)], axis=1)
    return replace(
        dataset,
        pairs=np.concatenate([dataset.pairs, extra]),
        pair_split=np.tile(dataset.pair_split, 2),
        source_text_ids=rng.integers(0, count // 2, count),
    )


def _may_be_right(dataset: SteeringDataset, row: int) -> np.ndarray:
    """``[S]``: too close to the question, for one training pair."""
    question, source = dataset.pairs[row]
    cosines = dataset.sources @ dataset.questions[question]
    return cosines >= cosines[source] - 0.05 * abs(cosines[source]) - 1e-6


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 11), sources=st.sampled_from([12, 40, 90]))
def test_right_answers_and_their_duplicates_are_never_negatives(
    make_toy_dataset: MakeDataset, seed: int, count: int, sources: int
) -> None:
    dataset = _shared(make_toy_dataset(sources=sources, categories=min(4, sources // 12), seed=seed), seed)
    mined = mine_negatives(dataset, count, seed)
    assert mined.ids.shape == mined.tiers.shape == (int((dataset.pair_split == 0).sum()), count)
    assert ((mined.ids >= 0) & (mined.ids < sources)).all()
    for row, ids in zip(mined.pair_rows, mined.ids, strict=True):
        question = dataset.pairs[row, 0]
        right = set(dataset.source_text_ids[dataset.pairs[dataset.pairs[:, 0] == question, 1]].tolist())
        assert not right & set(dataset.source_text_ids[ids].tolist())


def test_what_is_nearly_as_close_as_the_true_source_is_left_out(make_toy_dataset: MakeDataset) -> None:
    dataset = make_toy_dataset(sources=300)
    mined = mine_negatives(dataset, 8, 0, pool="all")
    checked = 0
    for row, ids in zip(mined.pair_rows, mined.ids, strict=True):
        close = _may_be_right(dataset, row)
        if (~close).any():
            checked += 1
            assert not close[ids].any()
    assert checked > 100


def test_tiers_are_what_their_names_say(near_dataset: SteeringDataset) -> None:
    dataset = near_dataset
    mined = mine_negatives(dataset, 8, 0, pool="all")
    similar = dataset.centroids @ dataset.centroids.T - 2 * np.eye(8)
    for row, ids, tiers in zip(mined.pair_rows, mined.ids, mined.tiers, strict=True):
        own = dataset.source_category[dataset.pairs[row, 1]]
        beside = np.argsort(-similar[own])[:3]
        found = dataset.source_category[ids]
        assert (found[tiers == SAME_CATEGORY] == own).all()
        assert np.isin(found[tiers == ADJACENT_CATEGORY], beside).all()
        assert not np.isin(found[tiers == NEAREST_OUTSIDE], [own, *beside]).any()
        assert len(set(ids)) == len(ids)
    full = (np.sort(mined.tiers, axis=1) == np.repeat(np.arange(4), 2)).all(axis=1)
    assert full.mean() > 0.8


def test_the_nearest_allowed_sources_of_a_category_are_taken(make_toy_dataset: MakeDataset) -> None:
    dataset = make_toy_dataset(sources=300)
    mined = mine_negatives(dataset, 4, 0, pool="all")
    for row, ids, tiers in zip(mined.pair_rows, mined.ids, mined.tiers, strict=True):
        question, source = dataset.pairs[row]
        inside = dataset.source_category == dataset.source_category[source]
        allowed = inside & ~_may_be_right(dataset, row)
        allowed[source] = False
        assert (tiers[0] == SAME_CATEGORY) == allowed.any()
        if allowed.any():
            cosines = np.where(allowed, dataset.sources @ dataset.questions[question], -np.inf)
            assert cosines[ids[0]] == pytest.approx(cosines.max(), abs=1e-5)


def test_the_numbers_of_sources_do_not_matter(near_dataset: SteeringDataset) -> None:
    before = mine_negatives(near_dataset, 4, 0)
    favourite = int(np.bincount(before.ids[before.tiers == SAME_CATEGORY]).argmax())
    order = np.roll(np.arange(len(near_dataset.sources)), -favourite)  # it becomes number 0
    number = np.argsort(order)
    renumbered = replace(
        near_dataset,
        sources=near_dataset.sources[order],
        source_category=near_dataset.source_category[order],
        source_text_ids=near_dataset.source_text_ids[order],
        pairs=np.stack([near_dataset.pairs[:, 0], number[near_dataset.pairs[:, 1]]], axis=1),
    )
    after = mine_negatives(renumbered, 4, 0)
    ranked = (before.tiers != RANDOM) & (after.tiers != RANDOM)
    assert (order[after.ids] == before.ids)[ranked].all()
    assert (after.ids[after.tiers == SAME_CATEGORY] == 0).any()


def test_blocks_change_nothing_but_the_random_draws(
    near_dataset: SteeringDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = mine_negatives(near_dataset, 4, 0)
    monkeypatch.setattr(module, "_BLOCK_SCORES", 400 * 7)
    blocks = mine_negatives(near_dataset, 4, 0)
    ranked = (whole.tiers != RANDOM) & (blocks.tiers != RANDOM)
    assert ranked.mean() > 0.5
    assert (whole.ids[ranked] == blocks.ids[ranked]).all()


def test_the_seed_decides_the_random_tier_alone(near_dataset: SteeringDataset) -> None:
    first, again, other = (mine_negatives(near_dataset, 8, seed) for seed in (1, 1, 2))
    assert (first.ids == again.ids).all()
    assert (first.ids != other.ids)[first.tiers == RANDOM].any()
    ranked = (first.tiers != RANDOM) & (other.tiers != RANDOM)
    assert (first.ids == other.ids)[ranked].all()


def test_too_few_sources_are_repeated_and_marked_as_random(make_toy_dataset: MakeDataset) -> None:
    dataset = make_toy_dataset(sources=6, categories=2, seed=5)
    mined = mine_negatives(dataset, 12, 0)
    assert (mined.ids != dataset.pairs[mined.pair_rows, 1][:, None]).all()
    for ids, tiers in zip(mined.ids, mined.tiers, strict=True):
        assert len(set(ids[tiers != RANDOM])) == (tiers != RANDOM).sum()


def test_a_corpus_without_a_wrong_answer_is_refused(make_toy_dataset: MakeDataset) -> None:
    dataset = make_toy_dataset(sources=8)
    with pytest.raises(ValueError, match="no negatives"):
        mine_negatives(replace(dataset, source_text_ids=np.zeros(8, dtype=np.int64)), 2, 0)


def test_what_answers_no_training_question_is_never_drawn_unless_asked_for(near_dataset: SteeringDataset) -> None:
    training = near_dataset.pairs[near_dataset.pair_split == 0, 1]
    assert set(mine_negatives(near_dataset, 8, 0).ids.ravel()) <= set(training)
    assert not set(mine_negatives(near_dataset, 8, 0, pool="all").ids.ravel()) <= set(training)


def test_no_negatives_at_all_are_refused(toy_dataset: SteeringDataset) -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        mine_negatives(toy_dataset, 0, 0)
