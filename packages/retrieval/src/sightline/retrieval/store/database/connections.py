"""A pool of connections to a store's database, and what its errors mean.

A commit here is what acknowledges a write: SQLite's write-ahead log detects a torn one by its checksums and rolls it
back. The log is there while a store is being written; closing folds it into the database, so that a closed store is
plain files that whoever may read can open. This module does not know what the database holds.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from sightline.retrieval.errors import (
    REMEDY,
    StoreClosedError,
    StoreDamagedError,
    StoreError,
    StoreLockedError,
    StoreNotClosedError,
)
from sightline.retrieval.store.database.schema import require_known_schema
from sightline.retrieval.store.database.transaction import Transaction

_BUSY_SECONDS = 30.0
_MAX_CONNECTIONS = 32


class _FrozenConnection(sqlite3.Connection):
    """A connection that would not see what a writer does; so each is used for one transaction."""


class DocumentDatabase:
    """A pool of connections to one database.

    On disk readers work beside the writer, each on the last state committed before it began. In memory there is one
    connection, so operations take turns; each is short. A process forked from the one that made the pool connects anew.

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
        self._inherited: list[sqlite3.Connection] = []  # never closed here: that could write to the parent's files
        self._process = os.getpid()
        self._open = 0
        self._logging = self._folding = self._closed = False

    @contextmanager
    def reading(self) -> Generator[Transaction]:
        """Open a transaction that sees one committed state.

        Raises:
            OSError: the disk refused.
            StoreClosedError: the database was closed.
            StoreDamagedError: the file is no database.
            StoreNotClosedError: opened for reading only, the writer died, and its log cannot be read without writing.
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
            OSError: the disk refused.
            StoreClosedError: the database was closed.
            StoreDamagedError: the file is no database.
            StoreLockedError: another process has kept the database busy for half a minute.
        """
        with self._connection() as connection:
            if not self._logging:
                connection.execute("PRAGMA journal_mode = WAL")
                self._logging = True
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(connection, self._path)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self, *, fold_log: bool) -> None:
        """Close the connections; those in use are closed when they are given back.

        Args:
            fold_log: True to leave plain files: the last connection writes the log into the database and ends it.
        """
        with self._available:
            self._leave_inherited()
            self._closed = True
            self._folding = fold_log and not self._read_only and self._path is not None
            idle, self._idle = self._idle, []
            self._available.notify_all()
            for connection in idle:
                self._retire(connection)

    @contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        with self._naming_errors():
            connection = self._borrow()
            try:
                yield connection
            finally:
                with self._available:
                    if self._closed or isinstance(connection, _FrozenConnection):
                        self._retire(connection)
                    else:
                        self._idle.append(connection)
                    self._available.notify()

    @contextmanager
    def _naming_errors(self) -> Generator[None]:
        try:
            yield
        except UnicodeDecodeError as error:  # in a message of SQLite's that quotes what is damaged
            raise StoreDamagedError(f"{self._path} is damaged: {error}; {REMEDY}") from error
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            if _means_damage(error):
                raise StoreDamagedError(f"{self._path} is damaged: {error}; {REMEDY}") from error
            if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise StoreLockedError(f"{self._path} has been busy for {_BUSY_SECONDS:.0f} s: {error}") from error
            if isinstance(error, sqlite3.OperationalError):
                number = errno.ENOSPC if name.startswith("SQLITE_FULL") else errno.EIO
                number = errno.EACCES if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")) else number
                raise OSError(number, f"{os.strerror(number)} ({error})", str(self._path)) from error
            raise

    def _borrow(self) -> sqlite3.Connection:
        with self._available:
            self._leave_inherited()
            self._available.wait_for(lambda: self._closed or self._idle or self._open < self._limit)
            if self._closed:
                raise StoreClosedError("the store is closed; open it again")
            if self._idle:
                return self._idle.pop()
            connection = self._connect()
            self._open += 1
            return connection

    def _leave_inherited(self) -> None:
        if self._path is not None and self._process != os.getpid():
            self._inherited += self._idle
            self._idle, self._open, self._process = [], 0, os.getpid()

    def _retire(self, connection: sqlite3.Connection) -> None:
        """Close a connection; the last one folds the log into the database first."""
        self._open -= 1
        if not self._open and self._folding:
            _fold_log(connection)
        connection.close()

    def _connect(self) -> sqlite3.Connection:
        if self._path is None:
            connection = _connected(":memory:")
        elif not self._path.is_file():
            raise StoreDamagedError(f"{self._path} is missing; restore it from a backup")
        else:
            connection = _connected(f"{self._path.absolute().as_uri()}?mode={self._mode()}")
        try:
            try:
                require_known_schema(connection, self._path)
            except sqlite3.OperationalError as error:
                if not self._read_only or _means_damage(error):
                    raise
                connection.close()
                connection = self._connected_without_log(error)
                require_known_schema(connection, self._path)
            if not self._read_only:
                connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
        except (sqlite3.Error, StoreError, UnicodeDecodeError):
            connection.close()
            raise
        return connection

    def _connected_without_log(self, error: sqlite3.OperationalError) -> sqlite3.Connection:
        """Connect where SQLite may not make the files that reading a log takes; without a log they are not needed."""
        assert self._path is not None
        log = self._path.with_name(f"{self._path.name}-wal")
        if log.is_file() and log.stat().st_size:
            raise StoreNotClosedError(
                f"{self._path.parent} was not closed by its last writer, and what its log holds cannot be read without "
                f"the right to write there ({error}); open it once for writing, or copy it to where you may write"
            ) from error
        return _connected(f"{self._path.absolute().as_uri()}?immutable=1", _FrozenConnection)

    def _mode(self) -> str:
        return "ro" if self._read_only else "rw"  # not "rwc": a database that went missing must not begin anew


def _connected(target: str, kind: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    return sqlite3.connect(
        target, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, factory=kind
    )


def _fold_log(connection: sqlite3.Connection) -> None:
    """Write the log into the database and do without one; where a reader looks on, or the disk is full, it stays."""
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA busy_timeout = 0")
        if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()


def _means_damage(error: sqlite3.Error) -> bool:
    # SQLITE_ERROR too: the statements here are right, so a table or column that they miss was altered. Errors of
    # Python's own, as for text that is not UTF-8, have no name.
    name = getattr(error, "sqlite_errorname", "SQLITE_ERROR" if isinstance(error, sqlite3.OperationalError) else "")
    return isinstance(error, sqlite3.DatabaseError) and (
        name == "SQLITE_ERROR" or name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT"))
    )
