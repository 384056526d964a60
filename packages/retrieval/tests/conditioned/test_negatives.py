from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.retrieval.conditioned.negatives import in_batch_negatives, sample_page_negatives


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 8), st.sampled_from([0.5, 0.9, 1.0]))
def test_in_batch_negatives_are_the_pooled_chunks_that_a_loop_over_the_pages_leaves(
    seed: int, count: int, width: int, max_cosine: float
):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(10, 3)).astype(np.float32)
    table[9] = 2 * table[0]  # says the same as row 0
    rows = rng.integers(0, 10, size=(count, width))
    mask = np.arange(width) < rng.integers(1, width + 1, size=count)[:, None]
    positives = mask & (rng.random(mask.shape) < 0.3)
    positives[:, 0] = True
    pooled = positives | (mask & (rng.random(mask.shape) < 0.6))
    pool, negatives = in_batch_negatives(*map(torch.from_numpy, (table, rows, positives, mask, pooled)), max_cosine)

    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    assert pool.tolist() == sorted(set(rows[pooled].tolist()))
    for page, kept, right, answer in zip(rows, mask, positives, negatives.tolist(), strict=True):
        expected = [
            row not in page[kept] and all(unit[row] @ unit[p] < max_cosine - 1e-5 for p in page[right])
            for row in pool.tolist()
        ]
        assert answer == expected


def test_a_chunk_with_the_same_embedding_as_a_positive_is_no_negative():
    table = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, -1.0]])
    rows, positives = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[True, False], [True, False]])
    everything = torch.ones(2, 2, dtype=torch.bool)
    pool, negatives = in_batch_negatives(table, rows, positives, everything, everything, max_cosine=1.0)
    assert pool.tolist() == [0, 1, 2, 3]
    assert negatives.tolist() == [[False, False, False, True], [False, True, False, False]]


def test_sampled_page_negatives_keep_all_positives_and_no_more_negatives_than_asked():
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(9) < torch.tensor([[9], [3]])
    positives = torch.zeros(2, 9, dtype=torch.bool)
    positives[:, 1] = True
    draws = [sample_page_negatives(positives, mask, 4, generator) for _ in range(60)]
    for kept in draws:
        assert kept.sum(dim=1).tolist() == [5, 3]
        assert (kept & positives).equal(positives)
        assert not (kept & ~mask).any()
    assert torch.stack(draws).any(dim=0)[0].all()
