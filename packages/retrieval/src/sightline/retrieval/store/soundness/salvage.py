"""Reading what can be read of a damaged database and of the vectors beside it.

Nothing is changed, and nothing is believed that does not match its checksum.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from sightline.retrieval.errors import StoreDamagedError
from sightline.retrieval.store.checksums import record_is_sound, rows_digest, vector_checksums
from sightline.retrieval.store.database.schema import SCHEMA_VERSION, TABLES
from sightline.retrieval.store.document import Document, document_from

_BATCH: Final = 500
_ALIKE: Final = 0.9  # of a damaged definition to its own; those of different tables are far from it
_DEFINITIONS: Final = "SELECT rowid, CAST(sql AS BLOB) FROM sqlite_master WHERE sql NOT NULL"
_UNREADABLE: Final = (sqlite3.Error, UnicodeDecodeError)  # the latter in messages that quote what is damaged
_UNIT_TOLERANCE: Final = 1e-3  # of a norm; in format 1 a vector has no checksum to match

_Row = tuple[int, Any, Any, Any, int | None, int | None]


@dataclass(frozen=True, slots=True)
class SalvagedRow:
    """A row of a damaged store."""

    row: int
    """Its number."""
    document_id: bytes
    """Its id, as it is stored."""
    document: Document | None
    """Its document; None where the fields do not match their checksum."""
    vector: np.ndarray | None
    """`[D]`, its vector; None where it does not match its checksum."""


class DamagedStore:
    """A damaged database, copied to where SQLite may roll back what it must, and a file of vectors.

    Args:
        database: copy of the database.
        vectors: file of vectors; None where there is none.
        dimension: length of a vector; None where nothing tells it.
    """

    def __init__(self, database: Path, vectors: Path | None, dimension: int | None) -> None:
        self._connection = sqlite3.connect(database)
        self._vectors = np.empty((0, dimension or 1), dtype=np.float32)
        if vectors is not None and dimension:
            # Read rather than mapped: what lies on a broken disk raises here, where it can be told.
            numbers = np.fromfile(vectors, dtype="<f4", count=vectors.stat().st_size // (4 * dimension) * dimension)
            self._vectors = numbers.reshape(-1, dimension)

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    def deleted(self) -> tuple[set[int], bool]:
        """Return the rows with tombstones that can be read, and whether these are all of them."""
        rows: set[int] = set()
        with suppress(sqlite3.Error, StoreDamagedError, TypeError, ValueError):
            rows.update(int(row) for (row,) in self._connection.execute("SELECT row FROM tombstones"))
            if not self._has_checksums():
                return rows, True
            (digest,) = self._connection.execute("SELECT tombstones FROM state").fetchone()
            return rows, rows_digest(rows) == digest
        return rows, False

    def rows(self) -> Iterator[SalvagedRow]:
        """Yield every row whose id can be read, in their order."""
        for row, document_id, content, metadata, record, vector in self._raw_rows():
            if isinstance(document_id, bytes):
                document = _sound_document(document_id, content, metadata, record)
                yield SalvagedRow(row, document_id, document, self._sound_vector(row, vector))

    def _has_checksums(self) -> bool:
        try:
            columns = {name for _, name, *_ in self._connection.execute("PRAGMA table_info(documents)")}
        except _UNREADABLE as error:
            raise StoreDamagedError(f"no document can be read any more ({error}); restore a backup") from error
        return "vector_checksum" in columns

    def _raw_rows(self) -> Iterator[_Row]:
        """Yield rows from batch to batch; where one cannot be read, row by row."""
        checksums = "record_checksum, vector_checksum" if self._has_checksums() else "NULL, NULL"
        query = f"SELECT row, id, content, metadata, {checksums} FROM documents WHERE row >= ? AND row < ? ORDER BY row"
        for start in range(0, self._row_limit(), _BATCH):
            try:
                yield from self._connection.execute(query, (start, start + _BATCH)).fetchall()
            except _UNREADABLE:
                for row in range(start, start + _BATCH):
                    with suppress(*_UNREADABLE):
                        yield from self._connection.execute(query, (row, row + 1)).fetchall()

    def _row_limit(self) -> int:
        counts = [len(self._vectors)]
        for query in ("SELECT max(row) + 1 FROM documents", "SELECT row_count FROM state"):
            with suppress(*_UNREADABLE):
                counts += [count for (count,) in self._connection.execute(query) if isinstance(count, int)]
        # A damaged number must not make this go on for ever; a row takes at least its vector.
        return min(max(counts), len(self._vectors) + _BATCH)

    def _sound_vector(self, row: int, checksum: int | None) -> np.ndarray | None:
        if row >= len(self._vectors):
            return None
        vector = self._vectors[row]
        if checksum is None:
            return vector if abs(float(np.linalg.norm(vector.astype(np.float64))) - 1.0) <= _UNIT_TOLERANCE else None
        return vector if vector_checksums(vector[None]) == [checksum] else None


def restore_tables(database: Path) -> None:
    """Give tables whose definition is damaged the one that they were made by, which is known.

    Args:
        database: copy of a damaged database; one of another format stays as it is, as does what cannot be read.
    """
    known: dict[str, str] = {" ".join(statement.split()): statement.strip() for statement in TABLES}
    with suppress(*_UNREADABLE), closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")  # else nothing at all is read where one table is damaged
        if connection.execute("PRAGMA user_version").fetchone() != (SCHEMA_VERSION,):
            return
        for row, found in connection.execute(_DEFINITIONS).fetchall():
            text = " ".join(found.decode("utf-8", "replace").split())
            if near := get_close_matches(text, known, n=1, cutoff=_ALIKE):
                _, kind, name, *_ = words = near[0].partition("(")[0].split()
                connection.execute(
                    "UPDATE sqlite_master SET type = ?, name = ?, tbl_name = ?, sql = ? WHERE rowid = ?",
                    (kind.lower(), name, words[-1], known[near[0]], row),
                )


def recorded_numbers(database: Path) -> tuple[str, int, int] | None:
    """Return encoder, dimension and generation as a copy of a damaged database tells them; None if it does not.

    Args:
        database: copy of the database.
    """
    connection = sqlite3.connect(database)
    try:
        found = connection.execute("SELECT encoder, dimension, generation FROM state").fetchall()
    except _UNREADABLE:
        return None
    finally:
        connection.close()
    if len(found) != 1 or tuple(map(type, found[0])) != (str, int, int) or found[0][1] < 1 or found[0][2] < 0:
        return None
    return found[0]


def _sound_document(document_id: bytes, content: Any, metadata: Any, checksum: int | None) -> Document | None:
    try:
        if checksum is not None and not record_is_sound(document_id, content, metadata, checksum):
            return None
        return document_from(document_id, content, metadata)
    except (TypeError, AttributeError, ValueError, ValidationError):
        return None
