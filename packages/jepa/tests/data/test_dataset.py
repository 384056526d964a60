from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.jepa.data.dataset import DatasetError, SteeringDataset, unit

MakeDataset = Callable[..., SteeringDataset]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("questions", lambda a: a * 2, r"questions, row 0: norm 2"),
        ("sources", lambda a: np.where(np.arange(len(a))[:, None] == 3, np.nan, a), r"sources, row 3: norm nan"),
        ("centroids", lambda a: a * 0, r"centroids, row 0: norm 0"),
        ("keyword_vectors", lambda a: a * 0.5, r"keyword_vectors, row 0: norm 0\.5"),
        ("questions", lambda a: a.astype(np.float64), "questions must be float32"),
        ("questions", lambda a: a[:, 0], "questions must have shape"),
        ("sources", lambda a: a[:, :-1], "sources must be float32 of shape"),
        ("pairs", lambda a: a + 4, r"pairs, column 0, row 0: 4 is not within 0 to 3"),
        ("pairs", lambda a: a * [1, -1], r"pairs, column 1, row 1: -1"),
        ("pair_split", lambda a: a + 3, "pair_split, row 0"),
        ("question_category", lambda a: a - 1, "question_category, row 3: -2"),
        ("source_category", lambda a: a + 2, "source_category, row 2: 4"),
        ("question_texts", lambda a: a[:2], "question_texts has 2 texts for 4 rows"),
    ],
)
def test_parts_that_do_not_fit_are_named(
    built: SteeringDataset, name: str, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    changed = change(getattr(built, name))
    if name in ("sources", "centroids", "keyword_vectors") and isinstance(changed, np.ndarray):
        changed = changed.astype(np.float32)
    with pytest.raises(DatasetError, match=message):
        replace(built, **{name: changed})


def test_a_question_may_not_be_in_two_splits(built: SteeringDataset) -> None:
    with pytest.raises(DatasetError, match="different splits"):
        replace(built, pairs=np.array([[0, 0], [0, 2]]), pair_split=np.array([0, 2], dtype=np.int8))


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_right_answers_are_found_as_by_going_through_all_pairs_and_texts(
    make_toy_dataset: MakeDataset, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    dataset = make_toy_dataset(sources=30)
    pairs = np.stack([rng.integers(0, 25, 40), rng.integers(0, 30, 40)], axis=1)
    texts = rng.integers(0, 20, 30)
    dataset = replace(dataset, pairs=pairs, pair_split=np.zeros(40, dtype=np.int8), source_text_ids=texts)
    asked = rng.integers(0, 30, 12)
    for question, found in zip(asked, dataset.relevant(asked), strict=True):
        wanted = {texts[source] for owner, source in pairs if owner == question}
        assert found.tolist() == [source for source in range(30) if texts[source] in wanted]
        assert found.dtype == np.int64


def test_queries_are_the_distinct_questions_of_a_split(toy_dataset: SteeringDataset) -> None:
    twice = replace(
        toy_dataset,
        pairs=np.tile(toy_dataset.pairs, (2, 1)),
        pair_split=np.tile(toy_dataset.pair_split, 2),
    )
    assert twice.queries("test").tolist() == np.flatnonzero(toy_dataset.pair_split == 2).tolist()
    assert sum(len(twice.queries(split)) for split in ("train", "validation", "test")) == len(toy_dataset.questions)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_of_zeros_stay_zeros_and_others_get_length_one_in_every_precision(dtype: type[np.floating]) -> None:
    rows = unit(np.array([[0, 0, 0], [3, 0, 4], [0, 1e-3, 0]], dtype=dtype))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0, 0, 0], [0.6, 0, 0.8], [0, 1, 0]], atol=1e-6)
