"""The SQLite side of a store: documents, their filterable attributes, and which vector rows count.

A commit here is what acknowledges a write: SQLite's write-ahead log detects a torn one by its checksums and rolls it
back. Rows are written once and never changed until a compaction renumbers them, so whoever remembers how many rows
there were, and in which generation, can go on reading the state it knows. This module does not know where vectors are.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.errors import (
    EncoderMismatchError,
    ForeignFolderError,
    StaleGenerationError,
    StoreClosedError,
    StoreDamagedError,
    StoreError,
)
from sightline.retrieval.store.document import Document, DocumentRecord, document_from
from sightline.retrieval.store.filters import Condition, comparison_sql, stored_key

_SCHEMA_VERSION = 1
_BUSY_SECONDS = 30.0
_MAX_CONNECTIONS = 32

_STATE_TABLE = """
CREATE TABLE state (
    encoder TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    generation INTEGER NOT NULL,  -- compactions so far; row numbers are valid within one
    version INTEGER NOT NULL,     -- commits so far
    row_count INTEGER NOT NULL,   -- vector rows that count; what lies beyond was never acknowledged
    indexed_rows INTEGER NOT NULL -- rows below this are in the approximate index of this generation; 0 for none
)"""
_DOCUMENTS_TABLE = """
CREATE TABLE documents (row INTEGER PRIMARY KEY, id BLOB NOT NULL, content BLOB NOT NULL, metadata TEXT NOT NULL)"""
_ATTRIBUTES_TABLE = """
CREATE TABLE attributes (key BLOB NOT NULL, value NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (key, value, row))
WITHOUT ROWID"""
_DOCUMENTS_INDEX = "CREATE INDEX documents_by_id ON documents (id)"
_TOMBSTONES_TABLE = "CREATE TABLE tombstones (row INTEGER PRIMARY KEY)"


@dataclass(frozen=True, slots=True)
class StoreState:
    """Which vector rows count, in which numbering."""

    generation: int
    version: int
    row_count: int
    indexed_rows: int


class DocumentDatabase:
    """A pool of connections to one database.

    On disk readers work beside the writer, each on the last state committed before it began. In memory there is one
    connection, so operations take turns; each is short.

    Args:
        path: the database file, which exists (an empty file is an empty database); None to keep it in memory.
        read_only: True to connect without the right to write.
    """

    def __init__(self, path: Path | None, *, read_only: bool) -> None:
        self._path = path
        self._read_only = read_only
        self._limit = 1 if path is None else _MAX_CONNECTIONS
        self._available = threading.Condition()
        self._idle: list[sqlite3.Connection] = []
        self._open = 0
        self._closed = False

    @contextmanager
    def reading(self) -> Generator[Transaction]:
        """Open a transaction that sees one committed state.

        Raises:
            StoreClosedError: the database was closed.
            StoreDamagedError: the file is no database.
        """
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield Transaction(connection, self._path)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Generator[Transaction]:
        """Open a transaction that is committed, durably, when the block ends, and undone when it raises.

        Raises:
            StoreClosedError: the database was closed.
            StoreDamagedError: the file is no database.
        """
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(connection, self._path)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connections; those in use are closed when they are given back."""
        with self._available:
            self._closed = True
            idle, self._idle = self._idle, []
            self._available.notify_all()
        for connection in idle:
            connection.close()

    @contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        with self._naming_damage():
            connection = self._borrow()
            try:
                yield connection
            finally:
                with self._available:
                    if self._closed:
                        connection.close()
                    else:
                        self._idle.append(connection)
                        self._available.notify()

    @contextmanager
    def _naming_damage(self) -> Generator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if _means_damage(error):
                raise StoreDamagedError(f"{self._path} is damaged: {error}; restore it from a backup") from error
            raise

    def _borrow(self) -> sqlite3.Connection:
        with self._available:
            self._available.wait_for(lambda: self._closed or self._idle or self._open < self._limit)
            if self._closed:
                raise StoreClosedError("the store is closed; open it again")
            if self._idle:
                return self._idle.pop()
            connection = self._connect()
            self._open += 1
            return connection

    def _connect(self) -> sqlite3.Connection:
        if self._path is not None and not self._path.is_file():
            raise StoreDamagedError(f"{self._path} is missing; restore it from a backup")
        target = ":memory:" if self._path is None else f"{self._path.absolute().as_uri()}?mode={self._mode()}"
        connection = sqlite3.connect(
            target, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            _require_store_or_nothing(connection, self._path)
            if not self._read_only:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
        except (sqlite3.Error, StoreError):
            connection.close()
            raise
        return connection

    def _mode(self) -> str:
        return "ro" if self._read_only else "rw"  # not "rwc": a database that went missing must not begin anew


class Transaction:
    """What can be asked and done within one transaction; row numbers are those of the generation it sees."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self._connection = connection
        self._path = path

    def is_empty(self) -> bool:
        """Return whether no store was made in this database yet."""
        return self._connection.execute("PRAGMA user_version").fetchone() == (0,)

    def require_consistent(self) -> None:
        """Make sure that the rows which count are the rows there are.

        Raises:
            StoreDamagedError: the database contradicts itself.
        """
        states = self._connection.execute("SELECT * FROM state").fetchall()
        (last_row,) = self._connection.execute("SELECT max(row) FROM documents").fetchone()
        (last_tombstone,) = self._connection.execute("SELECT max(row) FROM tombstones").fetchone()
        if len(states) != 1 or not all(isinstance(number, int) and number >= 0 for number in states[0][1:]):
            raise self._damaged(f"its table of states holds {states[:2]!r}")
        row_count, documents = self.state().row_count, 0 if last_row is None else last_row + 1
        if documents != row_count or (last_tombstone is not None and last_tombstone >= row_count):
            raise self._damaged(
                f"it counts {row_count:,} rows, but its documents end at {documents:,} and its last tombstone is on "
                f"{last_tombstone}"
            )

    def create(self, encoder: str, dimension: int) -> None:
        """Make the tables of an empty store."""
        for statement in (_STATE_TABLE, _DOCUMENTS_TABLE, _DOCUMENTS_INDEX, _ATTRIBUTES_TABLE, _TOMBSTONES_TABLE):
            self._connection.execute(statement)
        self._connection.execute("INSERT INTO state VALUES (?, ?, 0, 0, 0, 0)", (encoder, dimension))
        self._connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def require_encoder(self, encoder: str, dimension: int) -> None:
        """Refuse an encoder other than the one the vectors were made with.

        Raises:
            EncoderMismatchError: it is another; the message says both names.
        """
        made_with = self._connection.execute("SELECT encoder, dimension FROM state").fetchone()
        if made_with != (encoder, dimension):
            raise EncoderMismatchError(
                f"the store was made with encoder {made_with[0]!r} ({made_with[1]} dimensions), not {encoder!r} "
                f"({dimension}); open it with the former, or add its documents() to a store of the latter"
            )

    def state(self) -> StoreState:
        """Return which vector rows count."""
        return StoreState(
            *self._connection.execute("SELECT generation, version, row_count, indexed_rows FROM state").fetchone()
        )

    def require_generation(self, generation: int) -> None:
        """Make sure that row numbers of this generation are valid here.

        Raises:
            StaleGenerationError: a compaction has renumbered the rows.
        """
        if self.state().generation != generation:
            raise StaleGenerationError("a compaction renumbered the rows meanwhile; try again")

    def tombstones(self) -> NDArray[np.int64]:
        """Return rows `[m]` that were deleted or replaced."""
        return _row_array(self._connection.execute("SELECT row FROM tombstones"))

    def live_rows(self, ids: Iterable[bytes]) -> dict[bytes, int]:
        """Return the rows of those ids that are in the store."""
        query = (
            "SELECT row FROM documents WHERE id = ? "
            "AND NOT EXISTS (SELECT 1 FROM tombstones AS t WHERE t.row = documents.row)"
        )
        found = ((document_id, self._connection.execute(query, (document_id,)).fetchone()) for document_id in ids)
        return {document_id: row[0] for document_id, row in found if row is not None}

    def rows_of_id(self, document_id: bytes) -> list[int]:
        """Return all rows that documents of this id have, or had, in this generation."""
        return [row for (row,) in self._connection.execute("SELECT row FROM documents WHERE id = ?", (document_id,))]

    def append(self, records: Sequence[DocumentRecord], buried: Iterable[int]) -> StoreState:
        """Write documents to the next rows, and tombstones on rows that were deleted or replaced."""
        state = self.state()
        start = state.row_count
        self._connection.executemany(
            "INSERT INTO documents VALUES (?, ?, ?, ?)",
            ((row, record.id, record.content, record.metadata) for row, record in enumerate(records, start)),
        )
        self._connection.executemany(
            "INSERT INTO attributes VALUES (?, ?, ?)",
            ((key, value, row) for row, record in enumerate(records, start) for key, value in record.attributes),
        )
        self._connection.executemany("INSERT INTO tombstones VALUES (?)", ((row,) for row in buried))
        return self._set_state(replace(state, row_count=start + len(records)))

    def set_indexed_rows(self, indexed_rows: int) -> StoreState:
        """Record how many rows the approximate index covers."""
        return self._set_state(replace(self.state(), indexed_rows=indexed_rows))

    def renumber(self) -> StoreState:
        """Drop rows with tombstones and number the others from 0 in their order, as the next generation."""
        state = self.state()
        run = self._connection.execute
        run(
            "CREATE TEMP TABLE renumbered AS SELECT row AS old, row_number() OVER (ORDER BY row) - 1 AS new "
            "FROM documents WHERE row NOT IN (SELECT row FROM tombstones)"
        )
        run("CREATE UNIQUE INDEX temp.renumbered_by_old ON renumbered (old)")
        run("ALTER TABLE documents RENAME TO old_documents")
        run("ALTER TABLE attributes RENAME TO old_attributes")
        run("DROP INDEX documents_by_id")
        run(_DOCUMENTS_TABLE)
        run(_ATTRIBUTES_TABLE)
        run(
            "INSERT INTO documents SELECT new, id, content, metadata FROM old_documents JOIN renumbered ON old = row "
            "ORDER BY row"
        )
        run(
            "INSERT INTO attributes SELECT key, value, new FROM old_attributes JOIN renumbered ON old = row "
            "ORDER BY key, value, row"
        )
        run("DROP TABLE old_documents")
        run("DROP TABLE old_attributes")
        run("DROP TABLE renumbered")
        run(_DOCUMENTS_INDEX)
        run("DELETE FROM tombstones")
        (kept,) = run("SELECT count(*) FROM documents").fetchone()
        return self._set_state(
            replace(state, generation=state.generation + 1, row_count=kept, indexed_rows=0),
        )

    def documents(self, rows: Iterable[int]) -> dict[int, Document]:
        """Return the documents of these rows."""
        query = "SELECT id, content, metadata FROM documents WHERE row = ?"
        return {row: document_from(*self._connection.execute(query, (row,)).fetchone()) for row in rows}

    def page(self, after: bytes, limit: int) -> list[tuple[bytes, Document]]:
        """Return up to `limit` live documents whose stored id is greater than `after`, in the order of ids."""
        query = (
            "SELECT id, content, metadata FROM documents WHERE id > ? AND NOT EXISTS "
            "(SELECT 1 FROM tombstones AS t WHERE t.row = documents.row) ORDER BY id LIMIT ?"
        )
        return [(fields[0], document_from(*fields)) for fields in self._connection.execute(query, (after, limit))]

    def rows_matching(self, condition: Condition, row_count: int) -> NDArray[np.int64]:
        """Return rows `[m]` below `row_count` for which a condition holds; a row may come more than once."""
        expression, parameters = comparison_sql(condition.comparisons)
        return _row_array(
            self._connection.execute(
                # The expression is made of operators and question marks only; keys and values are bound.
                f"SELECT row FROM attributes WHERE key = ? AND {expression} AND row < ?",
                (stored_key(condition.key), *parameters, row_count),
            )
        )

    def _damaged(self, reason: str) -> StoreDamagedError:
        return StoreDamagedError(f"{self._path} is damaged: {reason}; restore it from a backup")

    def _set_state(self, state: StoreState) -> StoreState:
        state = replace(state, version=state.version + 1)
        self._connection.execute(
            "UPDATE state SET generation = ?, version = ?, row_count = ?, indexed_rows = ?",
            (state.generation, state.version, state.row_count, state.indexed_rows),
        )
        return state


def _require_store_or_nothing(connection: sqlite3.Connection, path: Path | None) -> None:
    """Refuse a database that is neither a store's nor empty, before anything in it is changed."""
    # In this order: whoever makes a store meanwhile commits its tables and its version together.
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0 and tables:
        raise ForeignFolderError(f"{path} is the database of another program; keep the store in another folder")
    if version not in (0, _SCHEMA_VERSION):
        raise StoreDamagedError(f"{path} has format {version}; this version reads format {_SCHEMA_VERSION}")


def _means_damage(error: sqlite3.DatabaseError) -> bool:
    # SQLITE_ERROR too: the statements here are right, so a table or column that they miss was altered. Errors of
    # Python's own, as for text that is not UTF-8, have no name.
    name = getattr(error, "sqlite_errorname", "SQLITE_ERROR" if isinstance(error, sqlite3.OperationalError) else "")
    return name == "SQLITE_ERROR" or name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT"))


def _row_array(cursor: sqlite3.Cursor) -> NDArray[np.int64]:
    return np.fromiter((row for (row,) in cursor), dtype=np.int64)
