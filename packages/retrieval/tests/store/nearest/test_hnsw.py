from __future__ import annotations

from functools import partialmethod

import numpy as np
import pytest
from usearch import index as usearch_index

from sightline.retrieval.store.nearest import hnsw
from sightline.retrieval.store.nearest.hnsw import ApproximateIndex


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usearch_index.Index, "add", partialmethod(usearch_index.Index.add, threads=1))


def unit(count: int, dimension: int = 8) -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("rows_at_once", [1, 7, 30, 31])
def test_batches_of_any_size_index_every_row_that_is_alive_under_its_own_number(
    monkeypatch: pytest.MonkeyPatch, rows_at_once: int
):
    monkeypatch.setattr(hnsw, "_BATCH_ROWS", rows_at_once)
    rows, alive = unit(30), np.arange(30) % 3 > 0
    alive[7:14] = False  # a batch without any
    index = ApproximateIndex.build(rows, alive)
    (proposed,) = index.candidates(rows[:1], 30)
    assert proposed.tolist() == np.flatnonzero(alive).tolist()
    assert index.row_count == 30
    for row in np.flatnonzero(alive):
        keys = index._index.search(rows[row], 1).keys
        assert keys.tolist() == [row]


def test_more_candidates_than_hits_are_proposed_in_the_order_of_rows(monkeypatch: pytest.MonkeyPatch):
    rows = unit(400)
    index = ApproximateIndex.build(rows, np.ones(400, dtype=np.bool_))
    assert (hnsw.OVERSAMPLING["int8"], hnsw.MIN_CANDIDATES["int8"]) == (4, 64)
    for top_k, count in [(1, 64), (16, 64), (17, 68), (100, 400), (101, 400)]:
        for queries in (rows[:1], rows[:3]):
            proposals = index.candidates(queries, top_k)
            assert len(proposals) == len(queries)
            for proposed in proposals:
                assert len(proposed) == count
                assert proposed.tolist() == sorted(set(proposed.tolist()))
    empty = ApproximateIndex.build(rows[:0], np.ones(0, dtype=np.bool_))
    assert [proposed.tolist() for proposed in empty.candidates(rows[:2], 1)] == [[], []]


def test_after_a_compaction_rows_have_their_new_numbers_and_those_dropped_are_not_proposed():
    rows = unit(30)
    index = ApproximateIndex.build(rows, np.ones(30, dtype=np.bool_))
    kept = np.array([3, 4, 11, 29])
    for left, expected in ((kept, [0, 1, 2, 3]), (kept[:0], [])):
        renumbered = index.with_keys(left)
        assert renumbered.row_count == len(left)
        for queries in (rows[:1], rows[:2]):
            assert [proposed.tolist() for proposed in renumbered.candidates(queries, 2)] == [expected] * len(queries)
