"""What a writer may do with the rows of a store: plans, made into one change within one transaction.

A plan looks at the newest state and says which rows are added and which are buried; whoever carries it out makes that
durable. This module does not know where rows are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.errors import DuplicateDocumentError, UnknownDocumentError
from sightline.retrieval.store.database.transaction import Transaction
from sightline.retrieval.store.document import Document, DocumentRecord, document_record, stored_text
from sightline.retrieval.store.filters import MetadataFilter, select
from sightline.retrieval.store.nearest.view import View, require_sound
from sightline.retrieval.text.protocol import Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """Rows to add behind the others, and rows to bury."""

    records: Sequence[DocumentRecord]
    """Documents to add."""
    vectors: Vectors
    """`[n, D]`, the vector of each."""
    buried: Collection[int]
    """Rows that are alive and shall not be any more."""


Plan: TypeAlias = Callable[[Transaction, View], Change]
"""From the newest state to what is done to it."""

_NO_VECTORS: Final = np.empty((0, 1), dtype=np.float32)


def matching_rows(transaction: Transaction, view: View, chosen: MetadataFilter | None) -> NDArray[np.bool_]:
    """Return which rows `[n]` of a view are alive and pass a filter.

    Args:
        transaction: transaction in which the view is valid.
        view: state of the store.
        chosen: the filter; None for all.
    """
    if chosen is None:
        return view.alive
    row_count = view.state.row_count
    return view.alive & select(chosen, lambda condition: transaction.rows_matching(condition, row_count), row_count)


def mark_of(view: View) -> str:
    """Return what stands for a state of a store, for `rows_since`."""
    return f"{view.state.generation}.{view.state.row_count}.{view.state.tombstones}"


def rows_since(view: View, mark: str | None) -> tuple[list[int], list[int]] | None:
    """Return the rows that are alive and were added since a mark, and earlier ones that are not alive any more.

    Args:
        view: state of the store.
        mark: mark of an earlier state; None for that of nothing.

    Returns:
        None where a compaction has renumbered the rows since.
    """
    generation, row_count, tombstones = (int(part) for part in (mark or "-1.0.0").split("."))
    if generation != view.state.generation or row_count > view.state.row_count:
        return None
    added = (row_count + np.flatnonzero(view.alive[row_count:])).tolist()
    return added, [] if tombstones == view.state.tombstones else np.flatnonzero(~view.alive[:row_count]).tolist()


def changed_documents(
    transaction: Transaction, view: View, added: Sequence[int], buried: Sequence[int]
) -> tuple[list[Document], tuple[str, ...]]:
    """Return the documents in rows that were added, and the ids of those in buried rows that are in no row now.

    Args:
        transaction: transaction in which the view is valid.
        view: state of the store.
        added: rows that are alive.
        buried: rows that are not.
    """
    documents = [document for document, _ in transaction.documents(added).values()]
    ids = set(transaction.stored_ids(buried).values())
    living = {stored for stored, row in transaction.live_rows(ids).items() if row < view.state.row_count}
    return documents, tuple(sorted(map(_text, ids - living)))


def adding(records: Sequence[DocumentRecord], vectors: Vectors, *, overwrite: bool) -> Plan:
    """Add documents with `vectors` [n, D]; without `overwrite` none whose id is there already."""

    def plan(transaction: Transaction, view: View) -> Change:
        del view
        replaced = transaction.live_rows(record.id for record in records)
        if replaced and not overwrite:
            raise DuplicateDocumentError(
                f"the store already has a document {_text(next(iter(replaced)))!r}; use upsert to replace it"
            )
        return Change(records, vectors, list(replaced.values()))

    return plan


def deleting(ids: Sequence[bytes]) -> Plan:
    """Delete documents, all of which have to be there."""

    def plan(transaction: Transaction, view: View) -> Change:
        del view
        rows = transaction.live_rows(ids)
        if missing := [document_id for document_id in ids if document_id not in rows]:
            raise UnknownDocumentError(f"the store has no document {_text(missing[0])!r}")
        return Change([], _NO_VECTORS, list(rows.values()))

    return plan


def replacing(chosen: MetadataFilter, records: Sequence[DocumentRecord], vectors: Vectors) -> Plan:
    """Delete all documents that pass a filter, and add others with `vectors` [n, D] instead of those of their ids."""

    def plan(transaction: Transaction, view: View) -> Change:
        buried = set(np.flatnonzero(matching_rows(transaction, view, chosen)).tolist())
        buried.update(transaction.live_rows(record.id for record in records).values())
        return Change(records, vectors, sorted(buried))

    return plan


def updating(updates: Mapping[str, Mapping[str, Any]], *, replace: bool) -> Plan:
    """Give documents other metadata, and the vectors that they have.

    Args:
        updates: metadata by id.
        replace: True to drop what the documents have besides.
    """

    def plan(transaction: Transaction, view: View) -> Change:
        rows = transaction.live_rows(stored_text(document_id) for document_id in updates)
        found = transaction.documents(rows.values())
        require_sound(view, {row: checksum for row, (_, checksum) in found.items()})
        records = []
        for document_id, metadata in updates.items():
            row = rows.get(stored_text(document_id))
            if row is None:
                raise UnknownDocumentError(f"the store has no document {document_id!r}")
            document = found[row][0]
            changed = dict(metadata) if replace else {**document.metadata, **metadata}
            records.append(document_record(Document(id=document.id, content=document.content, metadata=changed)))
        places = [rows[record.id] for record in records]
        return Change(records, np.array(view.vectors[places]), places)

    return plan


def _text(document_id: bytes) -> str:
    return document_id.decode("utf-8", "surrogatepass")
