from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline.webshop_env.files import replacing, write_atomically


def test_the_pieces_are_written_as_they_are(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", ["é\r\n", "", "\n"])
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\r\n\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_written_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", ["text"])
    (tmp_path / "b").write_text("text")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_text_that_fails_to_be_made_leaves_the_old_file_alone(tmp_path: Path) -> None:
    def broken() -> Iterator[str]:
        yield "new"
        raise ValueError("no more")

    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(ValueError, match="no more"):
        write_atomically(path, broken())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    path = tmp_path / "a"
    path.write_text("old")
    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, ["new"])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_several_files_take_their_places_together(tmp_path: Path) -> None:
    paths = tmp_path / "a", tmp_path / "b"
    with replacing(*paths) as (first, second):
        second.write("2")
        first.write("1")
        assert not any(path.exists() for path in paths)
    assert [path.read_text() for path in paths] == ["1", "2"]
    assert sorted(tmp_path.iterdir()) == list(paths)


def test_a_disk_that_fails_at_the_second_of_two_files_leaves_both_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("old")
    synced: list[int] = []

    def fail_at_second(handle: int) -> None:
        synced.append(handle)
        if len(synced) == 2:
            raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail_at_second)
    with pytest.raises(OSError, match="disk full"), replacing(tmp_path / "a", tmp_path / "b") as (first, _):
        first.write("new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    assert len(synced) == 2
