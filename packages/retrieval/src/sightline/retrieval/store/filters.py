"""Filters over metadata: a small algebra, read from plain JSON-like dictionaries.

Grammar::

    filter    := {key: condition, "and": [filter, ...], "or": [filter, ...], "not": filter}   (all entries must hold)
    condition := scalar                                            (the same as {"==": scalar})
               | {"==": scalar, "<": bound, "<=": bound, ">": bound, ">=": bound, "in": [scalar, ...]}
    scalar    := string | number | true | false | null | date | datetime
    bound     := string | number | date | datetime

Meaning: a condition holds for a document if some value under the key passes all of the condition's comparisons. The
values under a key are the scalar there, or the scalar elements of the list there; a missing key, an object and an empty
list have none, so a condition never holds for them (`{"key": None}` asks for an explicit null). `not` is the
complement: it holds wherever its filter does not, also where the key is missing. Numbers compare by value whether whole
or not, strings by code points. A `datetime` with a time zone is an instant and compares as one, whatever its zone; one
without is a reading of a clock; these two and a `date` are three kinds. True and false are no numbers, and values of
different kinds are never equal nor in order. `{}` holds for every document. Metadata keys named "and", "or" and "not"
cannot be asked for.

This module knows no database: conditions are translated to comparisons with bound parameters, and `select` combines the
rows for which they hold.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.errors import FilterError

MAX_DEPTH = 16
MAX_CONDITIONS = 256
MAX_CHOICES = 1000

Scalar: TypeAlias = str | int | float | bool | date | None
Where: TypeAlias = Mapping[str, object]
"""A filter as its dictionary, in the grammar above."""
StoredScalar: TypeAlias = int | float | bytes
Operator: TypeAlias = Literal["==", "<", "<=", ">", ">=", "in"]

_SQL = {"==": "value = ?", "<": "value < ?", "<=": "value <= ?", ">": "value > ?", ">=": "value >= ?"}
_OPERATORS = (*_SQL, "in")
_INT64 = range(-(2**63), 2**63)
# Stored values: numbers as they are; strings, booleans, null, dates and times as bytes whose first letter tells the
# kind. The database orders numbers before all bytes and bytes by memcmp, which for UTF-8 is the order of code points,
# and for dates and times, written with all their digits, the order of time.
_TEXT, _DATE, _CLOCK, _INSTANT, _LEAST_BYTES = b"t", b"d", b"c", b"i", b""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One operator with its operand; a tuple of scalars for "in"."""

    operator: Operator
    operand: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """Some value under `key` passes all of `comparisons`."""

    key: str
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds; with no parts, always."""

    parts: tuple[MetadataFilter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[MetadataFilter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: MetadataFilter


MetadataFilter: TypeAlias = Condition | AllOf | AnyOf | Not


def parse_filter(where: Mapping[str, object]) -> MetadataFilter:
    """Read a filter from its dictionary; the module's docstring has the grammar.

    Raises:
        FilterError: the dictionary does not follow the grammar, or is nested deeper than 16 levels, or has more than
            256 comparisons or 1,000 choices in an "in"; the message names the place.
    """
    parsed = _parse(where, "where", MAX_DEPTH)
    if (count := _comparisons(parsed)) > MAX_CONDITIONS:
        raise FilterError(f"where holds {count} comparisons, more than {MAX_CONDITIONS}; use 'in' for many values")
    return parsed


def select(
    chosen: MetadataFilter, rows_of: Callable[[Condition], NDArray[np.int64]], row_count: int
) -> NDArray[np.bool_]:
    """Return which rows a filter holds for.

    Args:
        chosen: the filter.
        rows_of: function from a condition to the rows `[m]` for which it holds, in any order, repeats allowed.
        row_count: number of rows.

    Returns:
        `[row_count]` booleans.
    """
    match chosen:
        case Condition():
            mask = np.zeros(row_count, dtype=np.bool_)
            mask[rows_of(chosen)] = True
            return mask
        case Not(part):
            return ~select(part, rows_of, row_count)
        case AllOf(parts):
            mask = np.ones(row_count, dtype=np.bool_)
            for part in parts:
                mask &= select(part, rows_of, row_count)
            return mask
        case AnyOf(parts):
            mask = np.zeros(row_count, dtype=np.bool_)
            for part in parts:
                mask |= select(part, rows_of, row_count)
            return mask


def stored_key(key: str) -> bytes:
    """Return a metadata key as it is stored."""
    return key.encode("utf-8", "surrogatepass")


def stored_scalar(value: Scalar) -> StoredScalar:
    """Return a scalar as it is stored: a number, or bytes that begin with the kind.

    Raises:
        OverflowError: a whole number needs more than 64 bits, or an instant is not in the years 1 to 9999 of UTC.
    """
    if isinstance(value, str):
        return _TEXT + value.encode("utf-8", "surrogatepass")
    if isinstance(value, datetime):
        return _stored_time(value)
    if isinstance(value, date):
        return _DATE + value.isoformat().encode()
    if isinstance(value, bool):
        return b"b1" if value else b"b0"
    if value is None:
        return b"n"
    if isinstance(value, int) and value not in _INT64:
        raise OverflowError("holds a whole number of more than 64 bits")
    return value


def scalar_from(stored: StoredScalar) -> Scalar:
    """Return the scalar that is stored so; an instant comes back in UTC."""
    if not isinstance(stored, bytes):
        return stored
    kind, text = stored[:1], stored[1:].decode("utf-8", "surrogatepass")
    if kind == _TEXT:
        return text
    if kind == _DATE:
        return date.fromisoformat(text)
    if kind in (_CLOCK, _INSTANT):
        return datetime.fromisoformat(text).replace(tzinfo=UTC if kind == _INSTANT else None)
    return None if kind == b"n" else text == "1"


def stored_attributes(metadata: Mapping[str, Any]) -> Iterator[tuple[bytes, StoredScalar]]:
    """Yield the stored key and value of everything in metadata that a condition can ask for.

    Raises:
        OverflowError: a whole number needs more than 64 bits, or an instant is not in the years 1 to 9999 of UTC.
    """
    for key, value in metadata.items():
        for element in value if isinstance(value, list) else [value]:
            if not isinstance(element, (list, dict)):
                yield stored_key(key), stored_scalar(element)


def comparison_sql(comparisons: tuple[Comparison, ...]) -> tuple[str, list[StoredScalar]]:
    """Return an SQL expression over a column `value` of stored scalars, and its parameters, none in the text."""
    terms: list[str] = []
    parameters: list[StoredScalar] = []
    for comparison in comparisons:
        if isinstance(comparison.operand, tuple):
            terms.append(f"value IN ({', '.join('?' * len(comparison.operand))})")
            parameters.extend(stored_scalar(choice) for choice in comparison.operand)
            continue
        bound = stored_scalar(comparison.operand)
        terms.append(_SQL[comparison.operator])
        parameters.append(bound)
        # A range is open at one end: values of other kinds lie beyond it and must be cut off.
        if comparison.operator in (">", ">="):
            terms.append("value < ?")
            parameters.append(bytes([bound[0] + 1]) if isinstance(bound, bytes) else _LEAST_BYTES)
        elif comparison.operator in ("<", "<=") and isinstance(bound, bytes):
            terms.append("value >= ?")
            parameters.append(bound[:1])
    return " AND ".join(terms), parameters


def _stored_time(value: datetime) -> bytes:
    kind = _CLOCK
    if value.tzinfo is not None:
        try:
            kind, value = _INSTANT, value.astimezone(UTC).replace(tzinfo=None)
        except OverflowError:
            raise OverflowError("holds an instant outside of the years 1 to 9999 of UTC") from None
    return kind + value.isoformat(timespec="microseconds").encode()


def _parse(where: object, place: str, depth: int) -> MetadataFilter:
    if depth == 0:
        raise FilterError(f"{place} is nested deeper than {MAX_DEPTH} levels; flatten it")
    if not isinstance(where, Mapping):
        raise FilterError(f"{place} must be a dictionary such as {{'price': {{'<=': 20}}}}, not {reprlib.repr(where)}")
    parts: list[MetadataFilter] = []
    for key, value in where.items():
        if not isinstance(key, str):
            raise FilterError(f"{place}: a metadata key is a string, not {reprlib.repr(key)}")
        inside = f"{place}[{reprlib.repr(key)}]"
        if key == "not":
            parts.append(Not(_parse(value, inside, depth - 1)))
        elif key in ("and", "or"):
            if not isinstance(value, (list, tuple)) or not value:
                raise FilterError(f"{inside} must be a list of at least one filter, not {reprlib.repr(value)}")
            branches = tuple(_parse(part, f"{inside}[{n}]", depth - 1) for n, part in enumerate(value))
            parts.append(AllOf(branches) if key == "and" else AnyOf(branches))
        else:
            parts.append(_condition(key, value, inside))
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _condition(key: str, value: object, place: str) -> Condition:
    if not isinstance(value, Mapping):
        return Condition(key, (Comparison("==", _scalar(value, place)),))
    if not value:
        raise FilterError(f"{place} holds no operator; write a value or one of {', '.join(_OPERATORS)}")
    return Condition(key, tuple(_comparison(operator, operand, place) for operator, operand in value.items()))


def _comparison(operator: object, operand: object, place: str) -> Comparison:
    if operator not in _OPERATORS:
        raise FilterError(f"{place}: unknown operator {reprlib.repr(operator)}; there are {', '.join(_OPERATORS)}")
    inside = f"{place}[{operator!r}]"
    if operator == "in":
        if not isinstance(operand, (list, tuple)) or len(operand) > MAX_CHOICES:
            raise FilterError(f"{inside} must be a list of at most {MAX_CHOICES} values, not {reprlib.repr(operand)}")
        return Comparison("in", tuple(_scalar(choice, inside) for choice in operand))
    scalar = _scalar(operand, inside)
    if operator != "==" and (scalar is None or isinstance(scalar, bool)):
        raise FilterError(f"{inside} must be a number, a string or a date, for {reprlib.repr(operand)} is in no order")
    return Comparison(cast("Operator", operator), scalar)


def _scalar(value: object, place: str) -> Scalar:
    if not isinstance(value, (str, int, float, bool, date, type(None))):
        raise FilterError(f"{place} must be a string, a number, a date, true, false or null, not {reprlib.repr(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise FilterError(f"{place} must be a finite number, not {value!r}")
    try:
        stored_scalar(value)
    except OverflowError as error:
        raise FilterError(f"{place} {error}, which no metadata can hold") from None
    return value


def _comparisons(chosen: MetadataFilter) -> int:
    match chosen:
        case Condition(_, comparisons):
            return len(comparisons)
        case Not(part):
            return _comparisons(part)
        case AllOf(parts) | AnyOf(parts):
            return sum(_comparisons(part) for part in parts)
