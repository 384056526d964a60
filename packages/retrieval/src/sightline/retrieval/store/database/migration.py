"""Bringing a database of an earlier format to the present one, within one transaction.

Format 1 had no checksums: what is there is taken for sound, as it was until now.
"""

from __future__ import annotations

import logging

from sightline.retrieval.errors import REMEDY, StoreDamagedError
from sightline.retrieval.store.checksums import record_checksum, rows_digest, vector_checksums
from sightline.retrieval.store.database.schema import (
    DOCUMENTS_INDEX,
    DOCUMENTS_TABLE,
    INDEX_KEYS_TABLE,
    SCHEMA_VERSION,
    STATE_TABLE,
    StoreState,
)
from sightline.retrieval.store.database.transaction import Transaction
from sightline.retrieval.text.protocol import Vectors

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 1000


def state_of_format_1(transaction: Transaction) -> tuple[str, int, StoreState]:
    """Return the encoder's name, the dimension and the state of a database of format 1, without its index.

    Raises:
        StoreDamagedError: the table of states does not hold one sensible row.
    """
    rows = transaction.connection.execute(
        "SELECT encoder, dimension, generation, version, row_count FROM state"
    ).fetchall()
    if len(rows) != 1 or not all(isinstance(number, int) and number >= 0 for number in rows[0][1:]):
        raise StoreDamagedError(f"the table of states holds {rows[:2]!r}; {REMEDY}")
    encoder, dimension, generation, version, row_count = rows[0]
    tombstones = rows_digest(transaction.tombstones(row_count))
    return encoder, dimension, StoreState(generation, version, row_count, tombstones=tombstones)


def migrate(transaction: Transaction, vectors: Vectors) -> None:
    """Bring a database of format 1 to the present format; its approximate index has to be built again.

    Args:
        transaction: transaction that writes.
        vectors: `[row_count, D]`, the rows that count.
    """
    encoder, dimension, state = state_of_format_1(transaction)
    run = transaction.connection.execute
    run("ALTER TABLE documents RENAME TO old_documents")
    run("DROP INDEX documents_by_id")
    run(DOCUMENTS_TABLE)
    for start in range(0, state.row_count, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, state.row_count)
        rows = run("SELECT row, id, content, metadata FROM old_documents WHERE row >= ? AND row < ?", (start, stop))
        checksums = dict(enumerate(vector_checksums(vectors[start:stop]), start))
        transaction.connection.executemany(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)",
            [(row, *fields, record_checksum(*fields), checksums[row]) for row, *fields in rows],
        )
    run("DROP TABLE old_documents")
    run(DOCUMENTS_INDEX)
    run("DROP TABLE state")
    run(STATE_TABLE)
    run(INDEX_KEYS_TABLE)
    run(f"PRAGMA user_version = {SCHEMA_VERSION}")
    transaction.insert_state(encoder, dimension, state)
    logger.info("brought a store of %d documents from format 1 to %d", state.row_count, SCHEMA_VERSION)
