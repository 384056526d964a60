"""What is asked of a store's database, and done in it, within one transaction.

Rows are written once and never changed until a compaction renumbers them, so whoever remembers how many rows there
were, and in which generation, can go on reading the state it knows. This module does not know where vectors are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.errors import REMEDY, EncoderMismatchError, StaleGenerationError, StoreDamagedError
from sightline.retrieval.store.checksums import numbers_checksum, record_is_sound, rows_digest
from sightline.retrieval.store.database.schema import (
    ATTRIBUTES_TABLE,
    DOCUMENTS_INDEX,
    DOCUMENTS_TABLE,
    SCHEMA_VERSION,
    STATE_COLUMNS,
    TABLES,
    StoreState,
)
from sightline.retrieval.store.document import Document, DocumentRecord, document_from
from sightline.retrieval.store.filters import Condition, Scalar, comparison_sql, scalar_from, stored_key

_SHOWN_BYTES: Final = 80
_ROWS_AT_ONCE: Final = 500  # SQLite takes at least 999 parameters in one statement
_FEW_ROWS: Final = 2000


class Transaction:
    """What can be asked and done within one transaction; row numbers are those of the generation it sees."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self._connection = connection
        self._path = path

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for those who look at more than rows."""
        return self._connection

    def schema_version(self) -> int:
        """Return the format of the database, 0 where no store was made in it yet."""
        return self._connection.execute("PRAGMA user_version").fetchone()[0]

    def require_consistent(self) -> None:
        """Make sure that the rows which count are the rows there are.

        Raises:
            StoreDamagedError: the database contradicts itself.
        """
        states = self._connection.execute(f"SELECT encoder, dimension, {STATE_COLUMNS}, checksum FROM state").fetchall()
        (last_row,) = self._connection.execute("SELECT max(row) FROM documents").fetchone()
        (last_tombstone,) = self._connection.execute("SELECT max(row) FROM tombstones").fetchone()
        if len(states) != 1 or numbers_checksum(states[0][:-1]) != states[0][-1]:
            raise self._damaged(f"its table of states holds {states[:2]!r}")
        row_count, documents = self.state().row_count, 0 if last_row is None else last_row + 1
        if documents != row_count or (last_tombstone is not None and last_tombstone >= row_count):
            raise self._damaged(
                f"it counts {row_count:,} rows, but its documents end at {documents:,} and its last tombstone is on "
                f"{last_tombstone}"
            )

    def create(self, encoder: str, dimension: int, generation: int = 0) -> None:
        """Make the tables of an empty store.

        Args:
            encoder: name of the encoder of the vectors.
            dimension: length of a vector.
            generation: number of the first generation.
        """
        for statement in TABLES:
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self.insert_state(encoder, dimension, StoreState(generation, version=0, row_count=0))

    def insert_state(self, encoder: str, dimension: int, state: StoreState) -> None:
        """Write the one row of the table of states, which is empty.

        Args:
            encoder: name of the encoder of the vectors.
            dimension: length of a vector.
            state: state to begin with.
        """
        values = (encoder, dimension, *state.numbers(), state.checksum(encoder, dimension))
        self._connection.execute(f"INSERT INTO state VALUES ({', '.join('?' * len(values))})", values)

    def made_with(self) -> tuple[str, int]:
        """Return the name of the encoder that the vectors were made with, and their length."""
        return self._connection.execute("SELECT encoder, dimension FROM state").fetchone()

    def require_encoder(self, encoder: str, dimension: int) -> None:
        """Refuse an encoder other than the one the vectors were made with.

        Raises:
            EncoderMismatchError: it is another; the message says both names.
        """
        made_with = self.made_with()
        if made_with != (encoder, dimension):
            raise EncoderMismatchError(
                f"the store was made with encoder {made_with[0]!r} ({made_with[1]} dimensions), not {encoder!r} "
                f"({dimension}); open it with the former, or add its documents() to a store of the latter"
            )

    def state(self) -> StoreState:
        """Return which vector rows count."""
        return StoreState(*self._connection.execute(f"SELECT {STATE_COLUMNS} FROM state").fetchone())

    def require_generation(self, generation: int) -> None:
        """Make sure that row numbers of this generation are valid here.

        Raises:
            StaleGenerationError: a compaction has renumbered the rows.
        """
        if self.state().generation != generation:
            raise StaleGenerationError("a compaction renumbered the rows meanwhile; try again")

    def tombstones(self, row_count: int) -> NDArray[np.int64]:
        """Return rows `[m]` that were deleted or replaced, out of `row_count`.

        Raises:
            StoreDamagedError: they are no rows of the store.
        """
        found = self._connection.execute("SELECT row FROM tombstones")
        try:
            rows = np.fromiter((row for (row,) in found), dtype=np.int64)
        except (TypeError, ValueError) as error:
            raise self._damaged(f"a tombstone is on no row ({error})") from None
        if rows.size and (rows.min() < 0 or rows.max() >= row_count):
            raise self._damaged(f"it counts {row_count:,} rows, and has tombstones on {rows.min()} to {rows.max()}")
        return rows

    def live_rows(self, ids: Iterable[bytes]) -> dict[bytes, int]:
        """Return the rows of those ids that are in the store, in the order of the ids."""
        wanted, found = list(ids), {}
        for start in range(0, len(wanted), _ROWS_AT_ONCE):
            part = wanted[start : start + _ROWS_AT_ONCE]
            query = (
                f"SELECT id, row FROM documents WHERE id IN ({', '.join('?' * len(part))}) "
                "AND NOT EXISTS (SELECT 1 FROM tombstones AS t WHERE t.row = documents.row)"
            )
            found.update(self._connection.execute(query, part).fetchall())
        return {document_id: found[document_id] for document_id in wanted if document_id in found}

    def rows_of_id(self, document_id: bytes) -> list[int]:
        """Return all rows that documents of this id have, or had, in this generation."""
        return [row for (row,) in self._connection.execute("SELECT row FROM documents WHERE id = ?", (document_id,))]

    def append(
        self, records: Sequence[DocumentRecord], vector_checksums: Sequence[int], buried: Collection[int]
    ) -> StoreState:
        """Write documents to the next rows, and tombstones on rows that were deleted or replaced.

        Args:
            records: documents to add.
            vector_checksums: checksum of the vector of each.
            buried: rows that were alive before.
        """
        state = self.state()
        start = state.row_count
        self._connection.executemany(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)",
            (
                (row, record.id, record.content, record.metadata, record.checksum, vector_checksum)
                for row, (record, vector_checksum) in enumerate(zip(records, vector_checksums, strict=True), start)
            ),
        )
        attributes = [
            (key, value, row) for row, record in enumerate(records, start) for key, value in record.attributes
        ]
        # In the order of the table, numbers before bytes as SQLite has it: neighbours then go to the same page.
        attributes.sort(key=lambda one: (one[0], isinstance(one[1], bytes), one[1]))
        self._connection.executemany("INSERT INTO attributes VALUES (?, ?, ?)", attributes)
        self._connection.executemany("INSERT INTO tombstones VALUES (?)", ((row,) for row in buried))
        tombstones = state.tombstones ^ rows_digest(buried)
        return self.set_state(replace(state, row_count=start + len(records), tombstones=tombstones))

    def set_index(self, state: StoreState, indexed_rows: int, checksum: int) -> StoreState:
        """Record an approximate index that was built in this generation.

        Args:
            state: state so far.
            indexed_rows: rows that it covers.
            checksum: CRC-32 of its file; 0 in memory.
        """
        self._connection.execute("DELETE FROM index_keys")
        return self.set_state(
            replace(
                state,
                indexed_rows=indexed_rows,
                index_generation=state.generation,
                index_size=indexed_rows,
                index_checksum=checksum,
            )
        )

    def index_keys(self) -> NDArray[np.int64] | None:
        """Return the key in the index of each indexed row `[m]`; None where it is the row's own number."""
        found = self._connection.execute("SELECT keys FROM index_keys").fetchone()
        return None if found is None else np.frombuffer(found[0], dtype="<u4").astype(np.int64)

    def renumber(self, index_keys: NDArray[np.int64] | None) -> StoreState:
        """Drop rows with tombstones and number the others from 0 in their order, as the next generation.

        Args:
            index_keys: key in the index of each indexed row that is left; None where nothing is indexed.
        """
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
        run(DOCUMENTS_TABLE)
        run(ATTRIBUTES_TABLE)
        run(
            "INSERT INTO documents SELECT new, id, content, metadata, record_checksum, vector_checksum "
            "FROM old_documents JOIN renumbered ON old = row ORDER BY row"
        )
        run(
            "INSERT INTO attributes SELECT key, value, new FROM old_attributes JOIN renumbered ON old = row "
            "ORDER BY key, value, row"
        )
        run("DROP TABLE old_documents")
        run("DROP TABLE old_attributes")
        run("DROP TABLE renumbered")
        run(DOCUMENTS_INDEX)
        run("DELETE FROM tombstones")
        run("DELETE FROM index_keys")
        indexed_rows = 0
        if index_keys is not None and len(index_keys):
            indexed_rows = len(index_keys)
            run("INSERT INTO index_keys VALUES (?)", (index_keys.astype("<u4").tobytes(),))
        (kept,) = run("SELECT count(*) FROM documents").fetchone()
        return self.set_state(
            replace(state, generation=state.generation + 1, row_count=kept, indexed_rows=indexed_rows, tombstones=0)
        )

    def documents(self, rows: Iterable[int]) -> dict[int, tuple[Document, int]]:
        """Return the documents of these rows, each with the checksum that its vector should have.

        Raises:
            StoreDamagedError: a row has no document, or its fields do not match their checksum.
        """
        wanted, found = list(rows), {}
        for start in range(0, len(wanted), _ROWS_AT_ONCE):
            part = wanted[start : start + _ROWS_AT_ONCE]
            query = (
                "SELECT row, id, content, metadata, record_checksum, vector_checksum FROM documents "
                f"WHERE row IN ({', '.join('?' * len(part))})"
            )
            for row, *fields, checksum, vector_checksum in self._connection.execute(query, part):
                found[row] = self._document(fields, checksum), vector_checksum
        if missing := [row for row in wanted if row not in found]:
            raise self._damaged(f"row {missing[0]:,} has no document")
        return found

    def rows_of_ids(self, ids: Iterable[bytes], row_count: int) -> list[tuple[bytes, int]]:
        """Return the rows below `row_count` that documents of these ids have, or had, in this generation."""
        wanted, found = list(ids), []
        for start in range(0, len(wanted), _ROWS_AT_ONCE):
            part = wanted[start : start + _ROWS_AT_ONCE]
            query = f"SELECT id, row FROM documents WHERE id IN ({', '.join('?' * len(part))}) AND row < ?"
            found += self._connection.execute(query, (*part, row_count)).fetchall()
        return found

    def rows_by_id(self, after: bytes, chosen: NDArray[np.bool_], limit: int) -> list[int]:
        """Return up to `limit` rows of those chosen, in the order of their stored ids, which are greater than `after`.

        Args:
            after: stored id.
            chosen: `[n]`, which rows count.
            limit: most rows to return.
        """
        places = np.flatnonzero(chosen)
        if len(places) <= _FEW_ROWS:  # cheaper than walking over all others
            ids = self.stored_ids(places.tolist())
            return [row for _, row in sorted((found, row) for row, found in ids.items() if found > after)[:limit]]
        rows: list[int] = []
        for (row,) in self._connection.execute("SELECT row FROM documents WHERE id > ? ORDER BY id", (after,)):
            if row < len(chosen) and chosen[row]:
                rows.append(row)
                if len(rows) == limit:
                    break
        return rows

    def ids_of_rows(self, rows: Iterable[int]) -> dict[int, str]:
        """Return the ids of the documents in these rows."""
        return {row: found.decode("utf-8", "surrogatepass") for row, found in self.stored_ids(rows).items()}

    def stored_ids(self, rows: Iterable[int]) -> dict[int, bytes]:
        """Return the stored ids of the documents in these rows.

        Raises:
            StoreDamagedError: one is no id.
        """
        wanted, found = list(rows), {}
        for start in range(0, len(wanted), _ROWS_AT_ONCE):
            part = wanted[start : start + _ROWS_AT_ONCE]
            query = f"SELECT row, id FROM documents WHERE row IN ({', '.join('?' * len(part))})"
            found.update(self._connection.execute(query, part).fetchall())
        if wrong := [row for row, document_id in found.items() if not isinstance(document_id, bytes)]:
            raise self._damaged(f"the fields of document {found[wrong[0]]!r} do not match their checksum")
        return found

    def rows_matching(self, condition: Condition, row_count: int) -> NDArray[np.int64]:
        """Return rows `[m]` below `row_count` for which a condition holds; a row may come more than once."""
        expression, parameters = comparison_sql(condition.comparisons)
        found = self._connection.execute(
            # The expression is made of operators and question marks only; keys and values are bound.
            f"SELECT row FROM attributes WHERE key = ? AND {expression} AND row < ?",
            (stored_key(condition.key), *parameters, row_count),
        )
        return np.fromiter((row for (row,) in found), dtype=np.int64)

    def scalars(self, key: str) -> dict[int, Scalar]:
        """Return a scalar that each row has under a metadata key; rows without any are left out."""
        found = self._connection.execute("SELECT row, value FROM attributes WHERE key = ?", (stored_key(key),))
        return {row: scalar_from(value) for row, value in found}

    def set_state(self, state: StoreState) -> StoreState:
        """Write the state as that of the next version, and return it."""
        state = replace(state, version=state.version + 1)
        names = ", ".join(f"{name} = ?" for name in (*STATE_COLUMNS.split(", "), "checksum"))
        self._connection.execute(f"UPDATE state SET {names}", (*state.numbers(), state.checksum(*self.made_with())))
        return state

    def _document(self, fields: Sequence[Any], checksum: int) -> Document:
        document_id, content, metadata = fields
        if not record_is_sound(document_id, content, metadata, checksum):
            shown = document_id[:_SHOWN_BYTES] if isinstance(document_id, bytes) else document_id
            raise self._damaged(f"the fields of document {shown!r:.{_SHOWN_BYTES + 3}} do not match their checksum")
        return document_from(document_id, content, metadata)

    def _damaged(self, reason: str) -> StoreDamagedError:
        return StoreDamagedError(f"{self._path} is damaged: {reason}; {REMEDY}")
