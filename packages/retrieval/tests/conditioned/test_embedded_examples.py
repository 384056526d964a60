from __future__ import annotations

import numpy as np
import pytest

from sightline.retrieval import CachedEncoder, HashingEncoder
from sightline.retrieval.conditioned import EmbeddedExamples, RetrievalExample, embed_examples


def example(chunks: list[str], pos_idx: list[int], neg_idx: list[int]) -> RetrievalExample:
    return RetrievalExample.model_validate(
        {
            "episode_id": "e",
            "t": 0,
            "instruction": "",
            "events": [],
            "obs_text": "",
            "chunks": chunks,
            "pos_idx": pos_idx,
            "neg_idx": neg_idx,
            "action": "click[x]",
        }
    )


def test_each_distinct_chunk_is_embedded_once_and_found_again(hashing: HashingEncoder):
    first = example(["buy now", "desk lamp", "back to search"], [1], [0, 2])
    second = example(["back to search", "mug", "grey mug", "buy now"], [3, 1], [0])
    encoder = CachedEncoder(hashing)
    indexed = embed_examples([first, second], encoder)
    assert len(indexed) == 2
    assert len(indexed.embeddings) == len(encoder) == 4
    np.testing.assert_array_equal(indexed.embeddings[indexed.candidates[0]], hashing.encode(first.chunks))
    np.testing.assert_array_equal(
        indexed.embeddings[indexed.candidates[1]], hashing.encode(["back to search", "mug", "buy now"])
    )
    assert [positives.tolist() for positives in indexed.positives] == [[False, True, False], [False, True, True]]


@pytest.mark.parametrize(
    ("candidates", "positives", "complaint"),
    [
        ([[0, 1]], [[False, False]], "example 0 has no positive"),
        ([[0, 1], [0, 9]], [[True, False], [True, False]], "example 1: a candidate"),
        ([[0, 1]], [[True]], "do not fit"),
        ([[0, 1]], [], "1 lists of candidates but 0"),
    ],
)
def test_examples_that_do_not_fit_together_are_refused(candidates: list, positives: list, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        EmbeddedExamples(
            np.ones((3, 2), np.float32),
            tuple(np.array(rows, np.int64) for rows in candidates),
            tuple(np.array(rows, np.bool_) for rows in positives),
        )
