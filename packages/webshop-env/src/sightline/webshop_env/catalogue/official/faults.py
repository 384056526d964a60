"""What is wrong with the records of official files, and how many of them may be left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NoReturn

from sightline.webshop_env.catalogue.official.json_stream import shown
from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.files import atomic_file

_SHOWN_FAULTS: Final = 20
_FAULTS_KEPT: Final = 100_000


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with one record."""

    where: str
    """File and record, with the asin where it is known."""
    field: str | None
    """Path of the wrong field; None where the record itself is wrong."""
    found: str
    """Value that is there, shortened."""
    expected: str
    """Description of what should be there."""

    def __str__(self) -> str:
        place = self.where if self.field is None else f"{self.where}, field {self.field!r}"
        return f"{place}: {self.found}; expected {self.expected}"


class RecordError(CatalogueError):
    """A record of an official file says something else than it should.

    Attributes:
        faults: what is wrong with it, at least one fault; the message names the first.
    """

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(str(faults[0]))
        self.faults = faults


class SkippedRecords:
    """The records that an import leaves out because they are wrong.

    Args:
        limit: number of records that may be left out; with more, the import fails, but not before all of the faults
            are known (the first 100,000 of them).

    Attributes:
        limit: number of records that may be left out.
        count: number of records left out so far.
        faults: what is wrong with them, in file order.
    """

    def __init__(self, limit: int) -> None:
        if limit < 0:
            raise ValueError(f"limit must be at least 0, not {limit!r}")
        self.limit = limit
        self.count = 0
        self.faults: list[Fault] = []

    def add(self, error: RecordError) -> None:
        """Leave a record out.

        Raises:
            CatalogueError: there are more faults than anyone would read.
        """
        self.count += 1
        self.faults.extend(error.faults)
        if len(self.faults) >= max(_FAULTS_KEPT, self.limit):
            self.check()

    def check(self) -> None:
        """Refuse an import that left out too much.

        Raises:
            CatalogueError: more records were left out than the limit allows; lists the first faults.
        """
        if self.count > self.limit:
            raise CatalogueError(f"{self.count:,} records are faulty, and {self.limit:,} may be left out:\n{self}")

    def write(self, path: Path) -> None:
        """Write all faults to a file, one JSON object a line with the fields of `Fault`."""
        with atomic_file(path) as file:
            file.writelines(json.dumps(asdict(fault)).encode() + b"\n" for fault in self.faults)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from (f"  {fault}" for fault in self.faults[:_SHOWN_FAULTS])
        if len(self.faults) > _SHOWN_FAULTS:
            yield f"  and {len(self.faults) - _SHOWN_FAULTS:,} more faults"


def fault(where: str, field: str | None, met: object, expected: str, *, missing: bool = False) -> Fault:
    """Say what is wrong with a record.

    Args:
        where: file and record.
        field: path of the wrong field; None where the record itself is wrong.
        met: value that is there.
        expected: description of what should be there.
        missing: the field is absent from `met`.
    """
    return Fault(where, field, f"is missing from {shown(met)}" if missing else f"is {shown(met)}", expected)


def fail(where: str, field: str | None, met: object, expected: str, *, missing: bool = False) -> NoReturn:
    """Raise what `fault` says.

    Raises:
        RecordError: always.
    """
    raise RecordError((fault(where, field, met, expected, missing=missing),)) from None
