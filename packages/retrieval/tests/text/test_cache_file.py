from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from sightline.retrieval import CachedEncoder, HashingEncoder, TextEncoder


def renamed(encoder: HashingEncoder) -> HashingEncoder:
    encoder.name = "another"
    return encoder


@pytest.mark.parametrize("other", [HashingEncoder(16), renamed(HashingEncoder(8))])
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


def test_a_damage_that_sqlite_quotes_is_told(tmp_path: Path):
    path = tmp_path / "cache"
    cached = CachedEncoder(HashingEncoder(8), path)
    cached.encode(["a"])
    cached.save()
    whole = path.read_bytes()
    place = whole.index(b"TABLE vectors") + 1
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
    with pytest.raises(ValueError, match=r"cache is damaged .*delete it to encode anew"):
        CachedEncoder(HashingEncoder(8), path)


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


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_keys_are_looked_up_in_several_statements_where_they_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
):
    monkeypatch.setattr("sightline.retrieval.text.cache_file._KEYS_AT_ONCE", 3)
    texts = [f"text {number}" for number in range(count)]
    cached = CachedEncoder(HashingEncoder(8), tmp_path / "cache")
    expected = cached.encode(texts)
    cached.save()

    class Silent(HashingEncoder):
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            raise AssertionError(f"{texts!r} are not in the cache")

    again = CachedEncoder(Silent(8), tmp_path / "cache")
    assert again.encode(texts).tobytes() == expected.tobytes()
