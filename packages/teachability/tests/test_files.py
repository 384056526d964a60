from __future__ import annotations

import importlib
import os
import stat
import threading
from pathlib import Path

import pytest

(FOLDER,) = (path for path in (Path(__file__).parents[1] / "src" / "sightline").iterdir() if path.is_dir())
files = importlib.import_module(f"sightline.{FOLDER.name}.files")


def write(path: Path, content: bytes) -> None:
    with files.atomic_file(path) as file:
        file.write(content)


def test_the_file_takes_the_new_content_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "made" / "file.bin"
    write(path, b"old")
    write(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_disk_that_fails_keeps_the_old_file_and_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "file.bin"
    write(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os if broken == "fsync" else Path, broken, fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_raises_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write(path, b"old")

    def break_off() -> None:
        with files.atomic_file(path) as file:
            file.write(b"new")
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        break_off()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_two_writers_of_one_path_do_not_write_into_each_other(tmp_path: Path) -> None:
    path, both_open = tmp_path / "file", threading.Barrier(2)

    def write_slowly(content: bytes) -> None:
        with files.atomic_file(path) as file:
            both_open.wait(10)
            file.write(content)

    writers = [threading.Thread(target=write_slowly, args=(content * 100_000,)) for content in (b"a", b"b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(10)
    assert path.read_bytes() in (b"a" * 100_000, b"b" * 100_000)
    assert list(tmp_path.iterdir()) == [path]


def test_the_name_is_on_the_disk_when_the_block_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    real = os.fsync

    def note(handle: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(handle).st_mode))
        real(handle)

    monkeypatch.setattr(os, "fsync", note)
    write(tmp_path / "file", b"x")
    assert synced == [False, True]


def test_several_files_take_their_places_together(tmp_path: Path) -> None:
    paths = tmp_path / "a", tmp_path / "b"
    with files.atomic_files(*paths) as (first, second):
        second.write(b"2")
        first.write(b"1")
        assert not any(path.exists() for path in paths)
    assert [path.read_bytes() for path in paths] == [b"1", b"2"]
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
    with pytest.raises(OSError, match="disk full"), files.atomic_files(tmp_path / "a", tmp_path / "b") as (first, _):
        first.write(b"new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
