from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from sightline.retrieval.jsonl import DurableLines, RecordError, parse_record, read_jsonl, write_jsonl


class Point(BaseModel):
    x: int


def test_records_are_read_as_they_were_written_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "points", [Point(x=1), Point(x=-2)])
    assert (tmp_path / "points").read_bytes() == b'{"x":1}\n{"x":-2}\n'
    (tmp_path / "points").write_bytes(b'\n{"x":1}\n  \n{"x":-2}')
    assert read_jsonl(tmp_path / "points", Point) == [Point(x=1), Point(x=-2)]


def test_a_wrong_field_is_named_with_its_place_its_value_and_a_remedy() -> None:
    with pytest.raises(RecordError, match=r"a\.json, line 3, field 'x': .*integer.*found 'seven'\. Try again\."):
        parse_record(Point, b'{"x": "seven"}', where="a.json, line 3", remedy="Try again.")


def test_a_long_value_is_shortened_in_the_error() -> None:
    with pytest.raises(RecordError) as caught:
        parse_record(Point, b'{"x": "' + b"y" * 10_000 + b'"}', where="a.json", remedy="Try again.")
    assert len(str(caught.value)) < 300


@given(
    st.lists(st.binary(min_size=1, max_size=9).map(lambda line: line.replace(b"\n", b"-")), min_size=1), st.integers(0)
)
def test_lines_after_a_cut_anywhere_are_the_complete_ones_and_those_added_since(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cut: int
) -> None:
    file = DurableLines(tmp_path_factory.mktemp("lines") / "made" / "file")
    file.append(*lines)
    content = file.path.read_bytes()
    kept = content[: cut % (len(content) + 1)]
    file.path.write_bytes(kept)
    complete = kept.split(b"\n")[:-1]
    assert [line for _, line in file.read()] == complete
    file.append(b"next")
    # What was cut off stands on a line of its own: it swallows nothing.
    torn = [kept.split(b"\n")[-1]] if not kept.endswith(b"\n") and kept else []
    assert [line for _, line in file.read()] == [*complete, *torn, b"next"]


def test_the_place_of_a_line_and_a_line_that_was_cut_off_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"one\ntw")
    with caplog.at_level(logging.WARNING):
        assert list(DurableLines(tmp_path / "file").read()) == [(f"{tmp_path / 'file'}, line 1", b"one")]
    assert f"{tmp_path / 'file'}, line 2" in caplog.text


@pytest.mark.parametrize(("lines", "left"), [(None, b"a\nb\nc\n"), (2, b"a\nb\n"), (0, b""), (9, b"a\nb\nc\n")])
def test_a_file_is_cut_back_to_its_first_complete_lines(tmp_path: Path, lines: int | None, left: bytes) -> None:
    (tmp_path / "file").write_bytes(b"a\nb\nc\nd")
    assert DurableLines(tmp_path / "file").cut(lines) == left.count(b"\n")
    assert (tmp_path / "file").read_bytes() == left


def test_where_there_is_no_file_there_are_no_lines(tmp_path: Path) -> None:
    file = DurableLines(tmp_path / "file")
    assert (list(file.read()), file.cut(), list(tmp_path.iterdir())) == ([], 0, [])


def test_lines_are_on_the_disk_when_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(os.fstat(handle).st_size))
    DurableLines(tmp_path / "file").append(b"one", b"two")
    assert seen == [8]
