"""The tables of a store's database, and the state that says which of its rows count.

Format 2. Every row of `documents` carries two checksums, of its fields and of its vector; the state carries a digest of
the tombstones and a checksum of itself. What `attributes` holds follows from the metadata.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from sightline.retrieval.errors import ForeignFolderError, StoreDamagedError
from sightline.retrieval.store.checksums import numbers_checksum

SCHEMA_VERSION: Final = 2

STATE_TABLE: Final = """
CREATE TABLE state (
    encoder TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    generation INTEGER NOT NULL,       -- compactions so far; row numbers are valid within one
    version INTEGER NOT NULL,          -- commits so far
    row_count INTEGER NOT NULL,        -- vector rows that count; what lies beyond was never acknowledged
    indexed_rows INTEGER NOT NULL,     -- rows below this are in the approximate index; 0 for none
    index_generation INTEGER NOT NULL, -- generation in which the index was built, and
    index_size INTEGER NOT NULL,       -- rows that it then covered: its file is named after these two
    index_checksum INTEGER NOT NULL,   -- CRC-32 of that file
    tombstones INTEGER NOT NULL,       -- digest of the rows with tombstones
    checksum INTEGER NOT NULL          -- CRC-32 of all the others
)"""
DOCUMENTS_TABLE: Final = """
CREATE TABLE documents (
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    content BLOB NOT NULL,
    metadata TEXT NOT NULL,
    record_checksum INTEGER NOT NULL,
    vector_checksum INTEGER NOT NULL
)"""
ATTRIBUTES_TABLE: Final = """
CREATE TABLE attributes (key BLOB NOT NULL, value NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (key, value, row))
WITHOUT ROWID"""
DOCUMENTS_INDEX: Final = "CREATE INDEX documents_by_id ON documents (id)"
TOMBSTONES_TABLE: Final = "CREATE TABLE tombstones (row INTEGER PRIMARY KEY)"
INDEX_KEYS_TABLE: Final = """
CREATE TABLE index_keys (
    keys BLOB NOT NULL -- key of each indexed row in the index, if compactions have renumbered the rows
)"""
TABLES: Final = (
    STATE_TABLE,
    DOCUMENTS_TABLE,
    DOCUMENTS_INDEX,
    ATTRIBUTES_TABLE,
    TOMBSTONES_TABLE,
    INDEX_KEYS_TABLE,
)


@dataclass(frozen=True, slots=True)
class StoreState:
    """Which vector rows count, in which numbering, and which of them are indexed."""

    generation: int
    """Compactions so far; row numbers are valid within one."""
    version: int
    """Commits so far."""
    row_count: int
    """Vector rows that count."""
    indexed_rows: int = 0
    """Rows below this are in the approximate index; 0 for none."""
    index_generation: int = 0
    """Generation in which the index was built."""
    index_size: int = 0
    """Rows that the index covered when it was built."""
    index_checksum: int = 0
    """CRC-32 of the file of the index; 0 in memory."""
    tombstones: int = 0
    """Digest of the rows with tombstones."""

    def numbers(self) -> tuple[int, ...]:
        """Return the fields in the order of the columns."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def checksum(self, encoder: str, dimension: int) -> int:
        """Return the checksum that the table holds beside these numbers.

        Args:
            encoder: name of the encoder of the vectors.
            dimension: length of a vector.
        """
        return numbers_checksum((encoder, dimension, *self.numbers()))


STATE_COLUMNS: Final = ", ".join(field.name for field in fields(StoreState))


def require_known_schema(connection: sqlite3.Connection, path: Path | None) -> None:
    """Refuse a database that is neither a store's nor empty, before anything in it is changed.

    Args:
        connection: connection to the database.
        path: its file, for errors.

    Raises:
        ForeignFolderError: another program made it.
        StoreDamagedError: a later version made it.
    """
    # In this order: whoever makes a store meanwhile commits its tables and its version together.
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0 and tables:
        raise ForeignFolderError(f"{path} is the database of another program; keep the store in another folder")
    if not 0 <= version <= SCHEMA_VERSION:
        raise StoreDamagedError(f"{path} has format {version}; this version reads formats up to {SCHEMA_VERSION}")
