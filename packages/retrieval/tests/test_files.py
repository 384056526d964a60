from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from sightline.retrieval.files import RecordError, atomic_file, parse_record


class Point(BaseModel):
    x: int


def write(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        file.write(content)


def test_the_file_takes_the_new_content_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "made" / "file.bin"
    write(path, b"old")
    write(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "file.bin"
    write(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    if broken == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif broken == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_raises_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write(path, b"old")
    with pytest.raises(TypeError):
        write(path, "text where bytes belong")  # ty: ignore[invalid-argument-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_wrong_field_is_named_with_its_place_its_value_and_a_remedy() -> None:
    with pytest.raises(RecordError, match=r"a\.json, line 3, field 'x': .*integer.*found 'seven'\. Try again\."):
        parse_record(Point, b'{"x": "seven"}', where="a.json, line 3", remedy="Try again.")


def test_a_long_value_is_shortened_in_the_error() -> None:
    with pytest.raises(RecordError) as caught:
        parse_record(Point, b'{"x": "' + b"y" * 10_000 + b'"}', where="a.json", remedy="Try again.")
    assert len(str(caught.value)) < 300
