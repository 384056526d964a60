"""Records as JSON Lines: written atomically, read with errors that name the place.

This module knows nothing of what the records mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from sightline.teachability.files import atomic_file

Record = TypeVar("Record", bound=BaseModel)

_SHOWN_CHARACTERS = 80


class RecordError(ValueError):
    """A file holds something other than what was expected; the message says where, what and what to do."""


def write_jsonl(path: Path, records: Sequence[Record]) -> None:
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
