"""Reads the elements of one huge JSON list or object in bounded memory, and says what is wrong with any other file.

It knows JSON and bytes, and nothing of what the elements mean.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn

from sightline.webshop_env.errors import CatalogueError

SHOWN = 80
"""Characters of a wrong value that an error repeats."""

_CHUNK = 1 << 20
"""Bytes read at a time."""

_LONGEST_ELEMENT = 1 << 26
"""Characters. Published records are far below a million, and an element has to be held whole."""

_LONGEST_TOKEN = 32
"""Where parsing fails at least this far from the end of the text, reading on cannot mend it: escape sequences and words
of JSON are shorter, and numbers and objects that are cut off fail at their end."""

_SPACE = re.compile(r"[ \t\n\r]*")
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_CLOSING = {"[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a list or object."""

    key: str
    """Its name in an object; "" in a list."""
    value: Any
    """As `loads` makes it."""
    start: int
    """Offset in the file, in bytes, at which it begins (in an object: its key)."""
    stop: int
    """Offset behind its last byte."""


class JsonStream:
    """The elements of a file that holds one JSON list or object, one at a time and in file order.

    Iterate over it once, inside `with`.

    Args:
        path: the file; a byte order mark at its head is skipped.
        expected: what the file should be, for errors.
        progress: called with the number of bytes read so far, about once per megabyte.

    Raises:
        CatalogueError: here or at the element where it is met: the file cannot be read, is not UTF-8, is not JSON, is
            neither list nor object, or has an element of over 64 million characters or with half of a surrogate pair.
    """

    def __init__(self, path: Path, expected: str, progress: Callable[[int], None] | None = None) -> None:
        self._path = path
        self._expected = expected
        self._progress = progress
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._scan = json.JSONDecoder().raw_decode
        self._ended = False
        self._read = 0
        self._text, self._position = "", 0
        # The character `_marked` of the text stands at byte `_offset` of the file.
        self._marked, self._offset = 0, 0
        try:
            self._file: BinaryIO = path.open("rb")
        except FileNotFoundError:
            raise CatalogueError(f"{path}: no such file; expected {expected}") from None
        except OSError as error:
            self._refuse(f"cannot be read ({error.strerror})")
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> JsonStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def is_list(self) -> bool:
        """Whether the file holds a list; otherwise it holds an object."""
        return self._closing == "]"

    @property
    def head(self) -> str:
        """How the file begins, bounded; for errors."""
        return shown(self._head)

    def __iter__(self) -> Iterator[Element]:
        closed = self._peek() == self._closing
        if closed:
            self._position += 1
        while not closed:
            element, after = self._next()
            closed = self._text[after] == self._closing
            self._position = after + 1
            yield element
        if self._peek():
            self._not_json("something follows its end", self._position)

    def reread(self, start: int, stop: int) -> tuple[str, Any]:
        """Read an element of an object again, after the iteration.

        Args:
            start: offset of the element, as in `Element`.
            stop: offset behind the element, as in `Element`.

        Returns:
            Its key and value.

        Raises:
            CatalogueError: the file has changed since, or cannot be read twice.
        """
        try:
            self._file.seek(start)
            ((key, value),) = json.loads(b"{%b}" % self._file.read(stop - start)).items()
        except (OSError, ValueError):
            raise CatalogueError(
                f"{self._path}: cannot be read again at byte {start}; it must be a file, no pipe, and nobody may "
                "write to it meanwhile"
            ) from None
        return key, value

    def _open(self) -> None:
        """Read up to the opening bracket."""
        first = self._bytes(len(codecs.BOM_UTF8))
        if first == codecs.BOM_UTF8:
            self._offset = len(first)
            first = b""
        self._text = self._decode(first)
        opening = self._peek()
        while len(self._text) < self._position + SHOWN and self._fill():
            pass
        self._head = self._text[self._position : self._position + SHOWN + 1]
        if not opening:
            self._refuse("the file is empty")
        if opening not in _CLOSING:
            self._refuse(f"is {shown(self._scalar())}")
        self._closing = _CLOSING[opening]
        self._position += 1

    def _scalar(self) -> Any:
        """Return what a file holds that is neither list nor object."""
        try:
            value, end = self._scan(self._text, self._position)
        except ValueError as error:
            self._failed(error)
        if self._text[end:].strip() or self._fill():
            self._not_json("neither a list nor an object", self._position)
        return value

    def _peek(self) -> str:
        """Skip white space and return the next character, or "" at the end of the file."""
        while True:
            self._position = self._skip(self._position)
            if self._position < len(self._text) or not self._fill():
                return self._text[self._position : self._position + 1]

    def _next(self) -> tuple[Element, int]:
        """Return the next element, and the place in the text of the comma or bracket after it."""
        self._peek()
        while True:
            try:
                return self._parse(self._position)
            except (ValueError, RecursionError) as error:
                unfinished = (
                    isinstance(error, json.JSONDecodeError)
                    and not self._ended
                    and (len(self._text) - error.pos < _LONGEST_TOKEN or error.msg.startswith("Unterminated string"))
                )
                if not unfinished:
                    self._failed(error)
            self._fill()

    def _parse(self, begin: int) -> tuple[Element, int]:
        text, key, position = self._text, "", begin
        if self._closing == "}":
            if not text.startswith('"', position):
                raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, position)
            key, end = self._scan(text, position)
            position = self._skip(end)
            if not text.startswith(":", position):
                raise json.JSONDecodeError("Expecting ':' delimiter", text, position)
            position = self._skip(position + 1)
        value, end = self._scan(text, position)
        # An element counts only with its delimiter in sight: a number may go on beyond the text read so far.
        after = self._skip(end)
        if not text.startswith((",", self._closing), after):
            raise json.JSONDecodeError("Expecting ',' delimiter", text, after)
        if _HALF_PAIR.search(text, begin, end):
            check_encodable(json.dumps([key, value], ensure_ascii=False), str(self._path))
        return Element(key, value, self._byte(begin), self._byte(end)), after

    def _skip(self, position: int) -> int:
        # Most often there is nothing to skip, and a comparison is cheaper than a match.
        match = None if self._text[position : position + 1] > " " else _SPACE.match(self._text, position)
        return match.end() if match else position

    def _fill(self) -> bool:
        """Drop what was parsed and read on, twice as far when that was not enough; False at the end of the file."""
        if self._ended:
            return False
        if len(self._text) - self._position > _LONGEST_ELEMENT:
            begins = shown(self._text[self._position : self._position + SHOWN + 1])
            self._refuse(
                f"the element at byte {self._byte(self._position)}, which begins with {begins}, is longer than "
                f"{_LONGEST_ELEMENT} characters"
            )
        # Doubling keeps the work linear in the length of an element, which is parsed again after each reading.
        data = self._bytes(max(_CHUNK, len(self._text) - self._position))
        self._byte(self._position)
        self._text = self._text[self._position :] + self._decode(data)
        self._position = self._marked = 0
        return not self._ended

    def _bytes(self, count: int) -> bytes:
        try:
            data = self._file.read(count)
        except OSError as error:
            self._refuse(f"cannot be read ({error.strerror})")
        self._read += len(data)
        self._ended = not data
        if self._progress is not None:
            self._progress(self._read)
        return data

    def _decode(self, data: bytes) -> str:
        try:
            return self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            place = self._read - len(error.object) + error.start
            self._refuse(f"is not UTF-8 at byte {place} ({error.object[error.start : error.start + 8]!r})")

    def _byte(self, position: int) -> int:
        """Return the offset in the file of a character of the text at or behind the last one asked for."""
        self._offset += len(self._text[self._marked : position].encode())
        self._marked = position
        return self._offset

    def _failed(self, error: ValueError | RecursionError) -> NoReturn:
        if not isinstance(error, json.JSONDecodeError):
            self._not_json(str(error), self._position)
        if self._ended and (error.pos >= len(self._text) or error.msg.startswith("Unterminated string")):
            self._not_json("it ends too early, perhaps as a download that was cut off", len(self._text))
        self._not_json(error.msg, error.pos)

    def _not_json(self, reason: str, position: int) -> NoReturn:
        # A failed download often leaves a web page or a pointer file under the right name: show how it begins.
        near = self._text[max(0, position - 20) : position + 20]
        self._refuse(f"is not JSON ({reason}: byte {self._byte(position)}, near {near!r}); it begins with {self.head}")

    def _refuse(self, reason: str) -> NoReturn:
        raise CatalogueError(f"{self._path}: {reason}; expected {self._expected}") from None


def shown(value: object) -> str:
    """Return a value as errors quote it: its representation, cut to 80 characters."""
    text = repr(value[: SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def check_encodable(text: str, where: str) -> None:
    """Refuse half of a surrogate pair, which JSON can escape but neither a file nor a page can hold.

    Args:
        text: text to be stored or shown.
        where: begins the error.

    Raises:
        CatalogueError: the text has such a half; quotes what is around it.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - 20) : error.end + 20]
        raise CatalogueError(f"{where}: holds half of a surrogate pair, in {around!r}; remove it") from None
