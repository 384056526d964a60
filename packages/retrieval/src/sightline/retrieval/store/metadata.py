"""What metadata may hold, and how it is written as JSON: dates and times stand there as objects of one known key.

`{"$date": "2026-05-01"}` and `{"$datetime": "2026-05-01T12:30:00+02:00"}` are how a date and a time are written, so
that files stay readable; given like this, they are taken for what they say. This module knows no document and no
filter.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, TypeAlias

MetadataValue: TypeAlias = str | int | float | bool | date | list[Any] | dict[str, Any] | None
"""JSON, with `date` and `datetime` wherever a scalar may stand."""

MAX_DEPTH = 64

_DATE, _DATETIME = "$date", "$datetime"
_PLAIN = frozenset((str, int, bool, type(None)))  # looked at first, for most values are such
_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def checked_metadata(value: object) -> dict[str, Any]:
    """Return metadata in the form in which it is read back from a store.

    Raises:
        ValueError: something in it is neither JSON nor a date nor a time, or it is nested deeper than 64 levels.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"metadata must be a dictionary, not {type(value).__name__}")  # noqa: TRY004 (for pydantic)
    return {_checked_key(key): _checked(element, key, MAX_DEPTH) for key, element in value.items()}


def metadata_json(metadata: Mapping[str, Any]) -> str:
    """Return checked metadata as ASCII JSON, in which lone surrogates may stand."""
    return _JSON.encode(tagged(metadata))


def metadata_from_json(text: str) -> dict[str, Any]:
    """Return the metadata that `metadata_json` wrote."""
    if '"$date' not in text:
        return json.loads(text)
    return {key: _restored(value) for key, value in json.loads(text).items()}


def tagged(value: Any) -> Any:
    """Return checked metadata, or a value in it, as JSON values."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {key: tagged(element) for key, element in value.items()}
    if isinstance(value, list):
        return [tagged(element) for element in value]
    if isinstance(value, datetime):
        return {_DATETIME: value.isoformat()}
    return {_DATE: value.isoformat()} if isinstance(value, date) else value


def _checked_key(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"a metadata key is a string, not {key!r}")  # noqa: TRY004 (for pydantic)
    return key


def _checked(value: object, key: object, depth: int) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, datetime):
        # A class of its own, such as pandas', would not come back as such; so it does not go in as such.
        return datetime.fromisoformat(value.isoformat(timespec="microseconds"))
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"metadata[{key!r}] must be a finite number, not {value!r}")
        return value
    if depth == 0:
        raise ValueError(f"metadata is nested deeper than {MAX_DEPTH} levels; flatten it")
    if isinstance(value, (list, tuple)):
        return [_checked(element, key, depth - 1) for element in value]
    if isinstance(value, Mapping):
        return _untagged({_checked_key(name): _checked(part, key, depth - 1) for name, part in value.items()})
    raise ValueError(
        f"metadata[{key!r}] must be a string, a number, true, false, null, a date, a datetime, or lists or "
        f"dictionaries of these, not {type(value).__name__}"
    )


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(element) for element in value]
    return _untagged({key: _restored(element) for key, element in value.items()}) if isinstance(value, dict) else value


def _untagged(value: dict[str, Any]) -> Any:
    if len(value) != 1:
        return value
    ((key, text),) = value.items()
    kind = {_DATE: date, _DATETIME: datetime}.get(key)
    if kind is None or not isinstance(text, str):
        return value
    try:
        found = kind.fromisoformat(text)
    except ValueError:
        return value
    # Whatever would be written otherwise is left as it is, so that everything comes back as it went in.
    return found if found.isoformat() == text else value
