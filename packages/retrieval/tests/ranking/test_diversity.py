from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.ranking import diversified, maximal_marginal_relevance


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_the_choice_is_that_of_the_formula_step_by_step(seed: int, top_k: int, weight: float):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(6, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance = rng.random(6)
    expected: list[int] = []
    while len(expected) < min(top_k, 6):
        left = [place for place in range(6) if place not in expected]
        worth = {
            place: weight * relevance[place]
            - (1 - weight) * max((float(vectors[place] @ vectors[other]) for other in expected), default=0.0)
            for place in left
        }
        expected.append(max(left, key=worth.__getitem__))
    assert maximal_marginal_relevance(relevance, vectors, top_k=top_k, relevance_weight=weight) == expected


def test_hits_that_repeat_one_another_give_way():
    store = LocalEmbeddingStore(HashingEncoder(64))
    texts = ["grey desk lamp", "grey desk lamp", "grey desk lamps", "lamp of brass"]
    store.add([Document(id=str(number), content=text) for number, text in enumerate(texts)])
    hits = store.search("grey desk lamp", top_k=4, with_vectors=True)
    assert [hit.document.id for hit in hits[:2]] == ["0", "1"]
    assert {hit.document.id for hit in diversified(hits, top_k=2, relevance_weight=0.4)} == {"0", "3"}
    with pytest.raises(ValueError, match="with_vectors"):
        diversified(store.search("lamp"), top_k=2)
    with pytest.raises(ValueError, match="top_k"):
        maximal_marginal_relevance([1.0], [[1.0]], top_k=0)
    with pytest.raises(ValueError, match="expected relevance"):
        maximal_marginal_relevance([1.0], [1.0], top_k=1)
