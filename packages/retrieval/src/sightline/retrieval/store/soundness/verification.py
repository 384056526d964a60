"""Looking at everything that a store holds: which of its parts are not what was written.

Nothing is changed. This module knows how rows, attributes and tombstones belong together, not what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Final

import numpy as np

from sightline.retrieval.errors import REMEDY, StoreDamagedError
from sightline.retrieval.store.checksums import file_checksum, record_is_sound, rows_digest, vector_checksums
from sightline.retrieval.store.database.schema import TABLES
from sightline.retrieval.store.database.transaction import Transaction
from sightline.retrieval.store.filters import stored_attributes
from sightline.retrieval.store.metadata import metadata_from_json
from sightline.retrieval.store.nearest.view import View
from sightline.retrieval.store.storage import Storage

_ROWS_AT_ONCE: Final = 1000
_SHOWN_PROBLEMS: Final = 100


@dataclass(frozen=True, slots=True)
class Damage:
    """Something in a store that is not what was written."""

    file: str
    """Name of the file; "memory" for a store without files."""
    document_id: str | None
    """Id of the document that is concerned; None for all of the file."""
    problem: str
    """What is wrong."""
    remedy: str
    """What to do."""


def find_damage(storage: Storage) -> Iterator[Damage]:
    """Yield what is damaged, by reading all there is: about a second per million numbers and core.

    Args:
        storage: storage that is open.

    Raises:
        StoreClosedError: the storage was closed.
    """
    view = storage.view
    names = _Names(storage, view)
    try:
        view.rows.require_whole()
        with storage.reading(view) as transaction:
            yield from _of_database(transaction, names)
            yield from _of_documents(transaction, view, names)
            yield from _of_attributes(transaction, names)
            yield from _of_tombstones(transaction, view, names)
    except StoreDamagedError as error:
        yield Damage(names.database, None, str(error), REMEDY)
    yield from _of_index(view, storage, names)


class _Names:
    """Names of the files of a store."""

    def __init__(self, storage: Storage, view: View) -> None:
        folder = storage.folder
        self.database = "memory" if folder is None else folder.database.name
        self.vectors = "memory" if folder is None else folder.vectors(view.state.generation).name


def _of_database(transaction: Transaction, names: _Names) -> Iterator[Damage]:
    for (line,) in transaction.connection.execute(f"PRAGMA integrity_check({_SHOWN_PROBLEMS})"):
        if line != "ok":
            yield Damage(names.database, None, line, REMEDY)
    found = {" ".join(sql.split()) for (sql,) in transaction.connection.execute("SELECT sql FROM sqlite_master") if sql}
    for statement in TABLES:
        if " ".join(statement.split()) not in found:
            yield Damage(names.database, None, f"it lacks what {' '.join(statement.split()[:3])} makes", REMEDY)
    transaction.require_consistent()


def _of_documents(transaction: Transaction, view: View, names: _Names) -> Iterator[Damage]:
    remedy = "repair the store with its encoder, which embeds the text again, or write the document again"
    for start in range(0, view.state.row_count, _ROWS_AT_ONCE):
        vectors = view.vectors[start : start + _ROWS_AT_ONCE]
        checksums = vector_checksums(vectors)
        usable = np.all(np.isfinite(vectors), axis=1)
        expected = range(start, start + len(vectors))
        rows = transaction.connection.execute(
            "SELECT row, id, content, metadata, record_checksum, vector_checksum FROM documents "
            "WHERE row >= ? AND row < ? ORDER BY row",
            (start, start + len(vectors)),
        ).fetchall()
        for row in sorted({*expected} - {row for row, *_ in rows}):
            yield Damage(names.database, None, f"row {row:,} has no document", REMEDY)
        for row, document_id, content, metadata, record, vector in rows:
            name = _shown_id(document_id)
            if not record_is_sound(document_id, content, metadata, record):
                problem = "its text or metadata does not match their checksum"
                yield Damage(names.database, name, problem, "write the document again, or restore a backup")
            if checksums[row - start] != vector or not usable[row - start]:
                yield Damage(names.vectors, name, f"its vector, row {row:,}, does not match its checksum", remedy)


def _of_attributes(transaction: Transaction, names: _Names) -> Iterator[Damage]:
    """Yield the documents whose filterable values are not those of their metadata."""
    run = transaction.connection.execute
    (last,) = run("SELECT coalesce(max(row), -1) FROM documents").fetchone()
    (count,) = run("SELECT count(*) FROM attributes WHERE row < 0 OR row > ?", (last,)).fetchone()
    if count:
        yield Damage(names.database, None, f"{count} values to filter by belong to no document", REMEDY)
    # Side by side in the order of rows, so that neither has to be held.
    values = groupby(run("SELECT row, key, value FROM attributes ORDER BY row"), key=itemgetter(0))
    row_of_values, found = next(values, (-1, iter(())))
    for row, document_id, metadata in run("SELECT row, id, metadata FROM documents ORDER BY row"):
        stored = {(key, value) for _, key, value in found} if row_of_values == row else set()
        if row_of_values == row:
            row_of_values, found = next(values, (-1, iter(())))
        try:
            expected = set(stored_attributes(metadata_from_json(metadata)))
        except (ValueError, TypeError, AttributeError):
            continue  # no metadata at all, as its checksum tells
        if stored != expected:
            name = _shown_id(document_id)
            problem = "the values to filter it by are not those of its metadata"
            yield Damage(names.database, name, problem, REMEDY)


def _of_tombstones(transaction: Transaction, view: View, names: _Names) -> Iterator[Damage]:
    if rows_digest(transaction.tombstones(view.state.row_count)) != view.state.tombstones:
        yield Damage(names.database, None, "the list of deleted documents does not match its checksum", REMEDY)
    twice = transaction.connection.execute(
        "SELECT id FROM documents WHERE row NOT IN (SELECT row FROM tombstones) GROUP BY id HAVING count(*) > 1"
    ).fetchall()
    for (document_id,) in twice:
        yield Damage(names.database, _shown_id(document_id), "two documents have this id", REMEDY)


def _shown_id(document_id: object) -> str | None:
    """Return the id of a document in words, or None where what is stored is no id."""
    return document_id.decode("utf-8", "replace") if isinstance(document_id, bytes) else None


def _of_index(view: View, storage: Storage, names: _Names) -> Iterator[Damage]:
    path = None if storage.folder is None else storage.folder.index(view.state)
    remedy = "build the index again; until then searches are exact"
    if path is None:
        return
    try:
        if file_checksum(path) != view.state.index_checksum:
            yield Damage(path.name, None, "the approximate index does not match its checksum", remedy)
    except FileNotFoundError:
        yield Damage(path.name, None, "the approximate index is missing", remedy)
