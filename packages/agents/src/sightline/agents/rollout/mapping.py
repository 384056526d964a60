"""Any function over items on any engine, in order, with a journal that survives a kill.

This module knows nothing of episodes, processes or clusters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from sightline.agents.rollout.job import Engine, Item, ProgressFn, Result, RolloutError, Work
from sightline.agents.rollout.journal import JournalError
from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import DurableLines, RecordError, parse_record

_RECORD = ConfigDict(frozen=True, extra="forbid")
_REMEDY = "Give another journal, or delete this one to begin anew."


class MapMethod:
    """Gives an engine `map`."""

    __slots__ = ()

    def map(
        self: Engine,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        after: Mapping[int, int] | None = None,
        journal: Path | None = None,
        result_type: Any = Any,
        progress: ProgressFn | None = None,
    ) -> list[Result]:
        """Return the results of a function for every item, in the order of the items.

        When a worker dies, its item is given to another one; when that dies too, the work ends.

        Args:
            function: function of one item; workers get it by pickle, as they get the items.
            items: what it is called with, one after another in each worker.
            after: position of an item -> position of one that must be done before.
            journal: file to which results are added durably, so that only the others are computed when it is there
                already. Results then are read back from JSON. None to keep nothing.
            result_type: type of the results, for the journal: JSON values, or anything that pydantic knows.
            progress: function that is told of finished items.

        Raises:
            JournalError: the journal belongs to other work.
            ValueError: items wait for one another, or for none that there is.
            RolloutError: the function raised in a worker, or two workers died over one item. In this process, what the
                function raises is passed on as it is.
        """
        every = list(items)
        record = None if journal is None else _MapJournal(journal, _header(function, every), TypeAdapter(result_type))
        found: dict[int, Any] = {} if record is None else dict(record.results)
        left = {number: [item] for number, item in enumerate(every) if number not in found}
        told = progress or (lambda _: None)
        told(len(found))
        waits = {number: first for number, first in (after or {}).items() if first not in found}
        if left:
            work = Work(_Caller(function), _lost, waits)
            with closing(self.run(work, left, told)) as results:
                for number, (result,) in results:
                    found[number] = result if record is None else record.append(number, result)
        if len(found) < len(every):
            raise ValueError(
                f"{len(every) - len(found)} items wait for others that never come; mend the argument `after`"
            )
        return [found[number] for number in range(len(every))]


@dataclass(frozen=True)
class _Caller(Generic[Item, Result]):
    """Makes itself: a player that calls a function."""

    function: Callable[[Item], Result]

    def __call__(self) -> _Caller[Item, Result]:
        return self

    def play(self, batch: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        for place, item in enumerate(batch):
            yield place, self.function(item)


def _lost(item: Any) -> Any:
    shown = repr(item)
    raise RolloutError(f"two workers died over the item {shown[:200]}")


class _MapHeader(BaseModel):
    model_config = _RECORD

    schema_version: Literal[1] = 1
    function: str
    items: int
    digest: str


class _MapEntry(BaseModel):
    model_config = _RECORD

    item: int
    result: Any


def _header(function: Callable[..., Any], items: Sequence[Any]) -> _MapHeader:
    digest = hashlib.blake2b("\n".join(map(repr, items)).encode(), digest_size=16).hexdigest()
    inner = getattr(function, "func", function)  # of a partial
    name = f"{inner.__module__}.{getattr(inner, '__qualname__', type(inner).__qualname__)}"
    return _MapHeader(function=name, items=len(items), digest=digest)


class _MapJournal:
    """Results of a map, one line each after a header that says of which items."""

    def __init__(self, path: Path, header: _MapHeader, codec: TypeAdapter[Any]) -> None:
        self._lines, self._codec = DurableLines(path), codec
        self.results: dict[int, Any] = {}
        if not path.exists():
            with atomic_file(path) as file:
                file.write(header.model_dump_json().encode() + b"\n")
            return
        for position, (where, line) in enumerate(self._lines.read()):
            if position == 0:
                if parse_record(_MapHeader, line, where=where, remedy=_REMEDY) != header:
                    raise JournalError(f"{path} is the journal of other work, or of other items. {_REMEDY}")
                continue
            entry = parse_record(_MapEntry, line, where=where, remedy=_REMEDY)
            if not 0 <= entry.item < header.items:
                raise RecordError(f"{where}: there is no item {entry.item}. {_REMEDY}")
            try:
                self.results[entry.item] = codec.validate_python(entry.result)
            except ValidationError as error:
                raise RecordError(f"{where}: the result is of another type: {error}. {_REMEDY}") from error
        self._lines.cut()

    def append(self, number: int, result: Any) -> Any:
        """Add a result; return it as it will be read."""
        value = self._codec.dump_python(result, mode="json")
        self._lines.append(_MapEntry(item=number, result=value).model_dump_json().encode())
        self.results[number] = self._codec.validate_python(value)
        return self.results[number]
