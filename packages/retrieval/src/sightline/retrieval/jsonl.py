"""Records as JSON Lines: written atomically, read with errors that name the place, or appended durably.

This module knows nothing of what the records mean.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from sightline.retrieval.files import atomic_file

logger = logging.getLogger(__name__)

Record = TypeVar("Record", bound=BaseModel)

_SHOWN_CHARACTERS = 80


class RecordError(ValueError):
    """A file holds something other than what was expected; the message says where, what and what to do."""


def write_jsonl(path: Path, records: list[Record] | tuple[Record, ...]) -> None:
    """Write one JSON object per line, atomically."""
    with atomic_file(path) as file:
        file.writelines(record.model_dump_json().encode() + b"\n" for record in records)


def read_jsonl(path: Path, record_type: type[Record]) -> list[Record]:
    """Read one record per line; blank lines are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        RecordError: a line is not such a record; the message names file, line and field.
    """
    with path.open("rb") as file:
        return [
            parse_record(record_type, line, where=f"{path}, line {number}")
            for number, line in enumerate(file, start=1)
            if line.strip()
        ]


def parse_record(record_type: type[Record], text: bytes, *, where: str, remedy: str = "") -> Record:
    """Parse one JSON object.

    Args:
        record_type: the pydantic model of the record.
        text: JSON in UTF-8.
        where: the place to name in an error, for example `runs/a/train.jsonl, line 3`.
        remedy: advice to the reader of an error.

    Raises:
        RecordError: not JSON, or a field is missing, unknown or wrong.
    """
    try:
        return record_type.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        given = repr(first["input"])
        if len(given) > _SHOWN_CHARACTERS:
            given = given[: _SHOWN_CHARACTERS - 3] + "..."
        place = f"{where}, field {field!r}" if field else where
        raise RecordError(f"{place}: {first['msg']}, but found {given}. {remedy}".rstrip()) from error


class DurableLines:
    """A file that lines are added to, by one process or several; a line that a crash cut off harms no other.

    Args:
        path: path of the file; made, with its folder, by the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, *lines: bytes) -> None:
        """Add lines; when this returns, they are on the disk.

        Args:
            lines: texts without line ends.

        Raises:
            OSError: they could not be written, for example on a full disk.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
            # A line that a crash cut off must not swallow the first of these.
            start = b"\n" if size and file.read(1) != b"\n" else b""
            text = start + b"".join(line + b"\n" for line in lines)
            # One call, so that lines of several processes do not mix.
            written = file.write(text)
            os.fsync(file.fileno())
        if written != len(text):
            raise OSError(f"{self.path} took only {written} of {len(text)} bytes; is the disk full?")

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Yield the place (`runs/a.jsonl, line 3`) and the text of each line; nothing where there is no file.

        A last line without its end was never acknowledged; it is left out, with a warning.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                where = f"{self.path}, line {number}"
                if line.endswith(b"\n"):
                    yield where, line[:-1]
                else:
                    logger.warning("%s: a line that was cut off is left out", where)

    def cut(self, lines: int | None = None) -> int:
        """Cut the file back to its first complete lines.

        Args:
            lines: number of lines to keep at most; all complete ones when None.

        Returns:
            The number of lines that are left.
        """
        if not self.path.exists():
            return 0
        kept = size = 0
        with self.path.open("rb") as file:
            for line in file:
                if kept == lines or not line.endswith(b"\n"):
                    break
                kept, size = kept + 1, size + len(line)
        if size < self.path.stat().st_size:
            os.truncate(self.path, size)
        return kept
