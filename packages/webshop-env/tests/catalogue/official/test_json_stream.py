from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.webshop_env.catalogue.official import json_stream
from sightline.webshop_env.catalogue.official.json_stream import JsonStream
from sightline.webshop_env.errors import CatalogueError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers() | st.floats(allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.lists(VALUES, max_size=4) | st.dictionaries(TEXT, VALUES, max_size=4)
CHUNKS = st.integers(1, 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stream")


def read(folder: Path, content: bytes, chunk: int = 1 << 20) -> Any:
    """The whole document, read in chunks of so many bytes."""
    path = folder / "file.json"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch, JsonStream(path, "a test file") as stream:
        patch.setattr(json_stream, "_CHUNK", chunk)
        elements = list(stream)
        if stream.is_list:
            return [element.value for element in elements]
        for element in elements:
            assert stream.reread(element.start, element.stop) == (element.key, element.value)
        return {element.key: element.value for element in elements}


def error_of(folder: Path, content: bytes, chunk: int = 1 << 20) -> str:
    with pytest.raises(CatalogueError) as caught:
        read(folder, content, chunk)
    return str(caught.value)


@settings(deadline=None)
@given(document=DOCUMENTS, chunk=CHUNKS, indent=st.none() | st.integers(0, 50), ascii_only=st.booleans())
def test_chunk_boundaries_anywhere_give_the_same_elements(
    folder: Path, document: Any, chunk: int, indent: int | None, ascii_only: bool
) -> None:
    content = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    assert read(folder, content, chunk) == document


@settings(deadline=None)
@given(document=DOCUMENTS, chunk=CHUNKS, data=st.data())
def test_a_file_that_is_cut_off_anywhere_is_refused(
    folder: Path, document: Any, chunk: int, data: st.DataObject
) -> None:
    content = json.dumps(document, ensure_ascii=False).encode()
    message = error_of(folder, content[: data.draw(st.integers(0, len(content) - 1))], chunk)
    assert "expected a test file" in message


@settings(deadline=None)
@given(document=DOCUMENTS, chunk=CHUNKS, data=st.data())
def test_a_damaged_file_is_read_as_a_whole_parser_reads_it_or_refused(
    folder: Path, document: Any, chunk: int, data: st.DataObject
) -> None:
    content = bytearray(json.dumps(document, ensure_ascii=False).encode())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.sampled_from(b'[]{},:" \\\n\xff\x000-e.'))
    try:
        whole = json.loads(content.decode())
        json.dumps(whole, ensure_ascii=False).encode()
    except ValueError:
        whole = None
    if isinstance(whole, list | dict):
        assert read(folder, bytes(content), chunk) == whole
    else:
        error_of(folder, bytes(content), chunk)


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_an_error_names_the_byte_what_is_near_it_and_how_the_file_begins(folder: Path, chunk: int) -> None:
    content = '["é", "😀", {"a": oops}, 1, 2, "and so on, as long as it takes"]'.encode()
    message = error_of(folder, content, chunk)
    assert f"is not JSON (Expecting value: byte {content.index(b'oops')}, near " in message
    assert "oops" in message
    assert 'it begins with \'["é", "😀"' in message


@pytest.mark.parametrize("chunk", [1, 5, 1 << 20])
def test_a_byte_that_is_not_utf8_is_counted_from_the_head_of_the_file(folder: Path, chunk: int) -> None:
    content = b'\xef\xbb\xbf["\xc3\xa9", "' + b"x" * 50 + b'\xff"]'
    assert f"is not UTF-8 at byte {content.index(0xFF)} (b'\\xff" in error_of(folder, content, chunk)
    assert "is not UTF-8 at byte 4 (b'\\xc3" in error_of(folder, b'["ab\xc3', chunk)


def test_a_file_that_ends_too_early_is_said_to(folder: Path) -> None:
    for content in (b'[{"a": 1}, {"b', b"[1,", b"[1", b'{"a"', b'{"a": [', b"["):
        assert "it ends too early, perhaps as a download that was cut off" in error_of(folder, content)
    assert "ends too early" not in error_of(folder, b"[1, oops]")


@pytest.mark.parametrize("content", [b"[1] 2", b"[1,]", b'{"a": 1,}', b"{1: 2}", b"[1 2]", b'{"a" 1}', b"[1}", b"[]]"])
def test_what_only_resembles_json_is_refused(folder: Path, content: bytes) -> None:
    assert "is not JSON" in error_of(folder, content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b" 12 ", "is 12; expected a test file"),
        (b'"text"', "is 'text'; expected a test file"),
        (b"12 13", "is not JSON (neither a list nor an object"),
        (b"[" * 100_000, "is not JSON (maximum recursion depth"),
        (b"[" + b"9" * 5000 + b"]", "is not JSON (Exceeds the limit"),
    ],
)
def test_other_content_is_named(folder: Path, content: bytes, words: str) -> None:
    assert words in error_of(folder, content)


def test_numbers_that_only_this_parser_knows_are_read(folder: Path) -> None:
    assert read(folder, b"[NaN, -Infinity, 1e999]", 1)[1:] == [float("-inf"), float("inf")]


def test_an_element_of_many_chunks_is_parsed_a_few_times_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "large.json"
    path.write_text(json.dumps([1, ["x" * 1000] * 2000, 2]))
    readings: list[int] = []
    monkeypatch.setattr(json_stream, "_CHUNK", 1000)
    with JsonStream(path, "a test file", readings.append) as stream:
        assert [element.value if isinstance(element.value, int) else 0 for element in stream] == [1, 0, 2]
    # Two million bytes are eleven doublings of a thousand.
    assert len(readings) < 20
    assert readings == sorted(readings)
    assert readings[-1] == path.stat().st_size


def test_an_element_that_would_fill_the_memory_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_LONGEST_ELEMENT", 5000)
    message = error_of(folder, b'["short", "' + b"x" * 100_000, 1000)
    assert "the element at byte 10, which begins with '\"xxx" in message
    assert "is longer than 5000 characters" in message
    assert len(message) < len(str(folder)) + 250


def test_an_error_ends_the_reading(folder: Path) -> None:
    path = folder / "late.json"
    path.write_bytes(b"[1, oops, " + b"0, " * 1_000_000 + b"0]")
    readings: list[int] = []
    with (
        pytest.raises(CatalogueError, match="byte 4, near"),
        JsonStream(path, "a test file", readings.append) as stream,
    ):
        list(stream)
    assert readings[-1] < path.stat().st_size


def test_an_element_that_changed_since_it_was_read_is_refused(folder: Path) -> None:
    path = folder / "changing.json"
    path.write_text('{"a": [1, 2]}')
    with JsonStream(path, "a test file") as stream:
        (element,) = stream
        path.write_text('{"a": 1, 2]}}}')
        with pytest.raises(CatalogueError, match=r"cannot be read again at byte 1; .* nobody may write"):
            stream.reread(element.start, element.stop)
