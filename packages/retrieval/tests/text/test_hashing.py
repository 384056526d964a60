from __future__ import annotations

import math
import subprocess
import sys
import zlib
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sightline.retrieval import HashingEncoder


@given(st.lists(st.text(max_size=60), max_size=8), st.integers(1, 64))
def test_hashed_vectors_have_unit_length(texts: list[str], dimension: int):
    vectors = HashingEncoder(dimension).encode(texts)
    assert vectors.shape == (len(texts), dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_each_feature_counts_with_a_sign_and_the_logarithm_of_its_count():
    words = ["grey", "lamp", "desk", "grey", "steel"]
    marked = [f"<{word}>" for word in words]
    counts = Counter([*marked, *(word[start : start + 3] for word in marked for start in range(len(word) - 2))])
    values = {feature: zlib.crc32(feature.encode()) for feature in counts}
    assert len({value >> 31 for value in values.values()}) == 2
    expected = np.zeros(8)
    for feature, count in counts.items():
        expected[values[feature] % 8] += (-1 if values[feature] >> 31 else 1) * (1 + math.log(count))
    (vector,) = HashingEncoder(8).encode(["Grey lamp, desk; GREY steel"])
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_a_hashed_vector_does_not_depend_on_its_batch(texts: list[str]):
    encoder = HashingEncoder(32)
    np.testing.assert_array_equal(encoder.encode(texts), np.concatenate([encoder.encode([text]) for text in texts]))


def test_hashed_vectors_are_the_same_in_another_process(hashing: HashingEncoder):
    code = (
        "from sightline.retrieval import HashingEncoder as E; print(E(64).encode(['désk lamp, grey']).tobytes().hex())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert hashing.encode(["désk lamp, grey"]).tobytes().hex() == other


def test_a_text_without_words_gives_the_first_unit_vector(hashing: HashingEncoder):
    assert hashing.encode(["", "★ !"])[:, 0].tolist() == [1.0, 1.0]


def test_hashing_puts_texts_with_shared_words_closer():
    lamp, lamps, mug = HashingEncoder().encode(["grey desk lamp", "desk lamps, grey", "ceramic coffee mug"])
    assert lamp @ lamps > 0.6 > 0.3 > lamp @ mug
