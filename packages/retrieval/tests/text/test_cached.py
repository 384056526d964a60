from __future__ import annotations

import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from sightline.retrieval import CachedEncoder, HashingEncoder


class BatchSensitiveEncoder:
    """Like a neural encoder, gives a text slightly different bytes in each batch; counts what it is asked for."""

    name = "batch-sensitive"
    dimension = 4

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.append(list(texts))
        vectors = np.array([[1, len(text), text.count("a"), 1e-6 * len(self.asked)] for text in texts], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_cache_asks_for_each_text_once_and_returns_identical_bytes():
    inner = BatchSensitiveEncoder()
    cached = CachedEncoder(inner)
    first = cached.encode(["a", "bb", "a"])
    second = cached.encode(["ccc", "bb", "a"])
    assert inner.asked == [["a", "bb"], ["ccc"]]
    assert first[[1, 0]].tobytes() == second[[1, 2]].tobytes()
    assert len(cached) == 3
    assert cached.encode([]).shape == (0, 4)


def test_changing_a_returned_array_leaves_the_cache_alone():
    cached = CachedEncoder(HashingEncoder(8))
    before = cached.encode(["desk lamp"])
    cached.encode(["desk lamp"])[:] = 0
    np.testing.assert_array_equal(cached.encode(["desk lamp"]), before)


def test_threads_that_encode_one_text_at_once_get_identical_bytes():
    threads = 8
    barrier = Barrier(threads)

    class Slow(BatchSensitiveEncoder):
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            barrier.wait(timeout=10)  # every thread has found the text missing before any has encoded it
            return super().encode(texts)

    inner = Slow()
    cached = CachedEncoder(inner)
    with ThreadPoolExecutor(threads) as pool:
        answers = {vectors.tobytes() for vectors in pool.map(cached.encode, [["same text"]] * threads)}
    assert len(inner.asked) == threads
    assert len(answers) == 1


def test_a_saved_cache_answers_without_asking(tmp_path: Path):
    path = tmp_path / "cache"
    first = CachedEncoder(BatchSensitiveEncoder(), path)
    before = first.encode(["a", "lone surrogate \ud800", ""])
    first.save()
    inner = BatchSensitiveEncoder()
    assert CachedEncoder(inner, path).encode(["a", "lone surrogate \ud800", ""]).tobytes() == before.tobytes()
    assert inner.asked == []


def test_an_empty_cache_can_be_saved(tmp_path: Path):
    CachedEncoder(HashingEncoder(8), tmp_path / "cache").save()
    assert len(CachedEncoder(HashingEncoder(8), tmp_path / "cache")) == 0


def test_saving_again_adds_to_the_file_what_is_missing(tmp_path: Path):
    path = tmp_path / "folder" / "cache"
    first, second = (CachedEncoder(BatchSensitiveEncoder(), path) for _ in range(2))
    before = first.encode(["a", "b"])
    first.save()
    assert second.encode(["b", "c"])[0].tobytes() == before[1].tobytes()
    second.save()
    inner = BatchSensitiveEncoder()
    CachedEncoder(inner, path).encode(["a", "b", "c"])
    assert inner.asked == []


def test_a_cache_without_a_path_cannot_be_saved():
    with pytest.raises(ValueError, match="no file"):
        CachedEncoder(HashingEncoder(8)).save()


def test_a_pickled_cache_is_the_same_encoder_and_finds_what_was_saved(tmp_path: Path) -> None:
    encoder = CachedEncoder(HashingEncoder(16), tmp_path / "cache.sqlite")
    vectors = encoder.encode(["a lamp", "a desk"])
    encoder.save()
    other = pickle.loads(pickle.dumps(encoder))  # noqa: S301 - ours
    assert (other.name, len(other)) == (encoder.name, 2)
    assert other.encode(["a lamp", "a desk"]).tobytes() == vectors.tobytes()
