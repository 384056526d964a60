"""An append-only file of records that survives being killed: a checksum per line, and a torn last line is dropped.

Knows nothing of what the records mean.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Generic, TypeVar

from sightline.teachability.jsonl import RecordError, parse_record
from sightline.teachability.records import Record

R = TypeVar("R", bound=Record)

_DIGITS = 16


class Journal(Generic[R]):
    """Finished pieces of work by key; each is on the disk when `append` returns.

    Args:
        path: the file; made where there is none.
        record_type: type of the records.
        fingerprint: what the work depends on, such as the digest of settings and inputs; a journal of other work is
            refused.

    Raises:
        RecordError: a line other than a torn last one is damaged, or the journal belongs to other work.
    """

    def __init__(self, path: Path, record_type: type[R], *, fingerprint: str) -> None:
        self._path = path
        self.records: dict[str, R] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        good = 0
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last line break was torn off
            content = _content(line)
            if content is None:
                if number < len(lines) - 1 or lines[-1]:
                    raise RecordError(f"{path}, line {number} is damaged; delete the file to do the work again")
                break
            self._take(content, number, record_type, fingerprint)
            good += len(line) + 1
        with path.open("ab") as file:
            file.truncate(good)
        if not good:
            self._write(json.dumps({"fingerprint": fingerprint}))

    def append(self, key: str, record: R) -> None:
        """Write a finished piece of work.

        Raises:
            ValueError: the key has been written before.
        """
        if key in self.records:
            raise ValueError(f"{key!r} is in {self._path} already")
        self._write(json.dumps({"key": key, "record": record.model_dump(mode="json")}))
        self.records[key] = record

    def _take(self, content: bytes, number: int, record_type: type[R], fingerprint: str) -> None:
        fields = json.loads(content)
        if number == 1:
            if fields.get("fingerprint") != fingerprint:
                raise RecordError(
                    f"{self._path} belongs to other work ({fields.get('fingerprint')!r}, not {fingerprint!r}); delete "
                    "it or choose another folder"
                )
            return
        where = f"{self._path}, line {number}"
        self.records[fields["key"]] = parse_record(record_type, json.dumps(fields["record"]).encode(), where=where)

    def _write(self, content: str) -> None:
        line = content.encode()
        with self._path.open("ab") as file:
            file.write(_checksum(line) + b" " + line + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:_DIGITS].encode()


def _content(line: bytes) -> bytes | None:
    checksum, _, content = line.partition(b" ")
    return content if content and checksum == _checksum(content) else None
