from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.jepa.data.splits import TEST, TRAIN, VALIDATION, pair_components, split_by_components


def _graph(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Up to 25 pairs of up to 12 questions and 12 sources, some of which share a text."""
    rng = np.random.default_rng(seed)
    questions, sources, texts = rng.integers(1, 13, size=3)
    pairs = np.stack([rng.integers(0, questions, 25), rng.integers(0, sources, 25)], axis=1)[: rng.integers(1, 26)]
    return np.unique(pairs, axis=0), rng.integers(0, texts, questions), rng.integers(0, texts, sources)


def _reachable(pairs: np.ndarray, question_texts: np.ndarray, source_texts: np.ndarray) -> list[frozenset[int]]:
    """For each pair the pairs that a flood from it reaches, by pairwise comparison."""
    left, right = question_texts[pairs[:, 0]], source_texts[pairs[:, 1]]
    found = []
    for start in range(len(pairs)):
        seen, frontier = {start}, [start]
        while frontier:
            here = frontier.pop()
            beside = {i for i in range(len(pairs)) if left[i] == left[here] or right[i] == right[here]} - seen
            seen |= beside
            frontier.extend(beside)
        found.append(frozenset(seen))
    return found


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_components_are_what_a_flood_through_shared_texts_reaches(seed: int) -> None:
    graph = _graph(seed)
    components = pair_components(*graph)
    for number, reached in enumerate(_reachable(*graph)):
        assert set(np.flatnonzero(components == components[number])) == reached


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_no_question_source_or_text_is_in_two_splits(seed: int) -> None:
    pairs, question_texts, source_texts = _graph(seed)
    split = split_by_components(pairs, question_texts, source_texts, seed=seed)
    assert set(split.tolist()) <= {TRAIN, VALIDATION, TEST}
    for values in (pairs[:, 0], pairs[:, 1], question_texts[pairs[:, 0]], source_texts[pairs[:, 1]]):
        for value in np.unique(values):
            assert len(np.unique(split[values == value])) == 1


def test_splits_have_their_shares_and_components_of_all_sizes() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.choice([1, 2, 3, 8], p=[0.7, 0.15, 0.1, 0.05], size=600)
    sources = np.repeat(np.arange(600), sizes)
    pairs = np.stack([np.arange(len(sources)), sources], axis=1)
    split = split_by_components(pairs, np.arange(len(sources)), np.arange(600), seed=3)
    shares = np.bincount(split, minlength=3) / len(pairs)
    assert np.abs(shares - (0.7, 0.1, 0.2)).max() < 0.02
    mean_sizes = [sizes[np.unique(sources[split == part])].mean() for part in (TRAIN, VALIDATION, TEST)]
    assert np.ptp(mean_sizes) < 0.5


def test_a_component_too_large_for_a_small_split_goes_to_the_largest() -> None:
    sources = np.r_[np.zeros(60, dtype=np.int64), np.arange(1, 41)]
    pairs = np.stack([np.arange(100), sources], axis=1)
    for seed in range(10):
        split = split_by_components(pairs, np.arange(100), np.arange(41), seed=seed)
        assert split[0] == TRAIN
        assert np.bincount(split).tolist() == [70, 10, 20]


def test_the_seed_alone_decides_the_split() -> None:
    pairs = np.stack([np.arange(50), np.arange(50)], axis=1)
    first, again, other = (split_by_components(pairs, np.arange(50), np.arange(50), seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_a_share_of_nothing_gets_nothing() -> None:
    pairs = np.stack([np.arange(50), np.arange(50)], axis=1)
    split = split_by_components(pairs, np.arange(50), np.arange(50), fractions=(0.5, 0.0, 0.5), seed=0)
    assert np.bincount(split, minlength=3).tolist() == [25, 0, 25]


@pytest.mark.parametrize("fractions", [(0.7, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_fractions_that_are_no_shares_of_a_whole_are_refused(fractions: tuple[float, float, float]) -> None:
    pairs = np.zeros((1, 2), dtype=np.int64)
    with pytest.raises(ValueError, match="add up to 1"):
        split_by_components(pairs, np.arange(1), np.arange(1), fractions=fractions, seed=0)
