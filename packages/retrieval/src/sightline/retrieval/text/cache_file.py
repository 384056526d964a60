"""Vectors of one encoder, by the content of what was encoded, in an SQLite file that several processes may share.

It does not know what the keys stand for, nor how vectors are made.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_APPLICATION_ID = 0x51676874  # marks the SQLite file as ours
_SCHEMA_VERSION = 2
_KEYS_AT_ONCE = 500  # SQLite takes at least 999 parameters in one statement
_SECONDS_TO_WAIT = 60.0  # for another process that is writing
# SQLITE_ERROR too: the statements here are right, so what they do not find was altered.
_SQLITE_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


class CacheFile:
    """An append-only table from keys to vectors; the name and dimension of the encoder are stored with it.

    What `append` has returned from survives the death of the process, and an append that was interrupted is rolled
    back by whoever opens the file next. Appending costs time in proportion to what is appended, looking up to what is
    looked up. Every row has a checksum, so damage is found and never read as a vector. Threads may share an instance.

    Args:
        path: the file; the first append makes it.
        encoder: name of the encoder whose vectors these are.
        dimension: D, length of a vector.

    Raises:
        ValueError: the file is damaged or is something else, or it belongs to another encoder.
    """

    def __init__(self, path: Path, encoder: str, dimension: int) -> None:
        self._path = path
        self._identity = (_SCHEMA_VERSION, encoder, dimension)
        with self._reading() as connection:
            if connection is not None:
                self._check_identity(connection)

    def __len__(self) -> int:
        """Return the number of vectors in the file."""
        with self._reading() as connection:
            return 0 if connection is None else connection.execute("SELECT count(*) FROM vectors").fetchone()[0]

    def read(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """Look up vectors `[D]` by their keys; keys that are not in the file are left out.

        Raises:
            ValueError: the file is damaged.
        """
        found: dict[bytes, NDArray[np.float32]] = {}
        with self._reading() as connection:
            if connection is None:
                return found
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                wanted = keys[start : start + _KEYS_AT_ONCE]
                places = ",".join("?" * len(wanted))
                query = f"SELECT key, vector, checksum FROM vectors WHERE key IN ({places})"
                for key, vector, checksum in connection.execute(query, wanted):
                    whole = isinstance(vector, bytes) and len(vector) == 4 * self._identity[2]
                    if not whole or checksum != zlib.crc32(key + vector):
                        raise self._damaged("a vector does not match its checksum")
                    found[key] = np.frombuffer(vector, dtype="<f4").astype(np.float32)
        return found

    def append(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Add vectors in one transaction; a key that is there already, perhaps from another process, keeps its vector.

        Raises:
            ValueError: the file is damaged or is something else, or it belongs to another encoder.
            sqlite3.OperationalError: the file cannot be written, or another process has kept it busy for a minute.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._open("rwc") as connection:
            connection.execute("BEGIN IMMEDIATE")
            if _is_empty(connection):
                self._create_tables(connection)
            self._check_identity(connection)
            rows = ((key, vector.astype("<f4").tobytes()) for key, vector in vectors.items())
            connection.executemany(
                "INSERT OR IGNORE INTO vectors VALUES (?, ?, ?)",
                ((key, content, zlib.crc32(key + content)) for key, content in rows),
            )
            connection.execute("COMMIT")

    def _create_tables(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute("CREATE TABLE identity (schema_version INTEGER, encoder TEXT, dimension INTEGER)")
        connection.execute("CREATE TABLE vectors (key BLOB PRIMARY KEY, vector BLOB, checksum INTEGER)")
        connection.execute("INSERT INTO identity VALUES (?, ?, ?)", self._identity)

    def _check_identity(self, connection: sqlite3.Connection) -> None:
        if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            raise self._damaged("it is the database of another program")
        found = connection.execute("SELECT * FROM identity").fetchone()
        if found != self._identity:
            raise ValueError(
                f"the embedding cache {self._path} holds (schema, encoder, dimension) {found!r}, but "
                f"{self._identity!r} is wanted; vectors of different encoders cannot be mixed, so use another file or "
                "delete this one"
            )

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection | None]:
        """Open a connection for looking up; None where there is nothing yet."""
        if not self._path.exists():
            yield None
            return
        with self._open("rw") as connection:  # "ro" could not roll back what a killed process has left
            yield None if _is_empty(connection) else connection

    @contextmanager
    def _open(self, mode: str) -> Generator[sqlite3.Connection]:
        """Open a connection of its own for each use, which suits threads and forks."""
        address = f"{self._path.resolve().as_uri()}?mode={mode}"
        try:
            with closing(
                sqlite3.connect(address, uri=True, timeout=_SECONDS_TO_WAIT, isolation_level=None)
            ) as connection:
                yield connection
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            # Errors of Python's own, as for text or messages that are not UTF-8, have no code.
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _SQLITE_DAMAGE:
                raise self._damaged(str(error)) from error
            raise

    def _damaged(self, reason: str) -> ValueError:
        return ValueError(f"the embedding cache {self._path} is damaged ({reason}); delete it to encode anew")


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Return whether there are no tables, as after the death of a process before its first commit."""
    return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
