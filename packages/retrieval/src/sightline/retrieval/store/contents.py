"""What is asked of an embedding store without a query: documents by id, in order, by filter, and what became of them.

This module does not know how rows are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np

from sightline.retrieval.awaiting import Awaited
from sightline.retrieval.errors import StaleGenerationError, UnknownDocumentError
from sightline.retrieval.operation_log import logged_operation
from sightline.retrieval.store.changes import changed_documents, mark_of, matching_rows, rows_since
from sightline.retrieval.store.document import (
    MAX_ID_CHARACTERS,
    Document,
    DocumentPage,
    StoreChanges,
    stored_text,
)
from sightline.retrieval.store.filters import Where, parse_filter
from sightline.retrieval.store.nearest.duplicates import duplicate_rows
from sightline.retrieval.store.nearest.view import View, require_sound
from sightline.retrieval.store.parameters import checked_id, checked_ids, checked_search
from sightline.retrieval.store.soundness.verification import Damage, find_damage
from sightline.retrieval.store.storage import Storage
from sightline.retrieval.text.protocol import TextEncoder

logger = logging.getLogger(__name__)

_PAGE_DOCUMENTS = 1000
_STALE_ATTEMPTS = 10

_Answer = TypeVar("_Answer")


class StoreContents:
    """What a store holds, asked for without a query.

    Args:
        storage: rows of the store.
        encoder: encoder of queries.
        approximate_from: number of documents below which searches with `approximate=True` are exact all the same.
    """

    def __init__(self, storage: Storage, encoder: TextEncoder, approximate_from: int) -> None:
        self._storage = storage
        self._encoder = encoder
        self._approximate_from = approximate_from

    @property
    def encoder(self) -> TextEncoder:
        """What embeds documents and queries."""
        return self._encoder

    def __len__(self) -> int:
        """Return the number of documents."""
        return self._storage.view.live_count

    def __contains__(self, document_id: object) -> bool:
        """Return whether there is a document of this id."""
        if not isinstance(document_id, str):
            return False
        return self._on_valid_view(lambda view: self._row_in(view, document_id)) is not None

    def get(self, document_id: str) -> Document:
        """Return the document of this id.

        Raises:
            StoreClosedError: the store was closed.
            TypeError: the id is not a string.
            UnknownDocumentError: the id is not in the store.
        """
        checked_id(document_id)

        def look_up(view: View) -> Document:
            row = self._row_in(view, document_id)
            if row is None:
                raise UnknownDocumentError(f"the store has no document {document_id[:MAX_ID_CHARACTERS]!r}")
            with self._storage.reading(view) as transaction:
                return transaction.documents([row])[row][0]

        with logged_operation(logger, "get"):
            return self._on_valid_view(look_up)

    def get_many(self, ids: Iterable[str]) -> dict[str, Document]:
        """Return the documents of these ids, in their order; ids that are not in the store are left out.

        Raises:
            StoreClosedError: the store was closed.
            TypeError: a single string was given, or something is not a string.
        """
        wanted = {stored_text(document_id): document_id for document_id in checked_ids(ids)}

        def look_up(view: View) -> dict[str, Document]:
            with self._storage.reading(view) as transaction:
                rows = transaction.rows_of_ids(wanted, view.state.row_count)
                living = {stored_id: row for stored_id, row in rows if view.alive[row]}
                found = transaction.documents(living.values())
            return {wanted[key]: found[living[key]][0] for key in wanted if key in living}

        with logged_operation(logger, "get_many", documents=len(wanted)):
            return self._on_valid_view(look_up)

    def count(self, where: Where | None = None) -> int:
        """Return the number of documents for which a filter holds; of all without one.

        Raises:
            FilterError: `where` does not follow the grammar.
            StoreClosedError: the store was closed.
        """
        if where is None:
            return len(self)
        chosen = parse_filter(where)

        def counted(view: View) -> int:
            with self._storage.reading(view) as transaction:
                return int(np.count_nonzero(matching_rows(transaction, view, chosen)))

        with logged_operation(logger, "count"):
            return self._on_valid_view(counted)

    def documents(self, where: Where | None = None) -> Iterator[Document]:
        """Yield all documents, in the order of their ids; those changed while this runs may come in either form.

        To change the encoder, add these to a store of the other one.

        Args:
            where: filter on metadata; None for all documents.
        """
        after: str | None = None
        while True:
            page = self.page(where, after=after, limit=_PAGE_DOCUMENTS)
            yield from page.documents
            after = page.after
            if after is None:
                return

    def page(
        self,
        where: Where | None = None,
        *,
        after: str | None = None,
        limit: int = 100,
        with_vectors: bool = False,
    ) -> DocumentPage:
        """Return some documents, in the order of their ids.

        Args:
            where: filter on metadata; None for all documents.
            after: id after which to begin, in the order of code points; None to begin at the first.
            limit: most documents to return.
            with_vectors: True to read their vectors as well.

        Raises:
            FilterError: `where` does not follow the grammar.
            InvalidQueryError: `limit` is below 1.
            StoreClosedError: the store was closed.
        """
        limit, _ = checked_search(limit, None, name="limit")
        chosen = None if where is None else parse_filter(where)
        start = b"" if after is None else stored_text(checked_id(after))

        def look_up(view: View) -> DocumentPage:
            with self._storage.reading(view) as transaction:
                chosen_rows = matching_rows(transaction, view, chosen)
                rows = transaction.rows_by_id(start, chosen_rows, limit + 1)
                found = transaction.documents(rows[:limit])
            ids = [found[row][0].id for row in rows[:limit]]
            vectors = None
            if with_vectors:
                require_sound(view, {row: checksum for row, (_, checksum) in found.items()})
                vectors = np.array(view.vectors[rows[:limit]])
            documents = tuple(found[row][0] for row in rows[:limit])
            return DocumentPage(documents, ids[-1] if len(rows) > limit else None, vectors)

        with logged_operation(logger, "page", limit=limit, filtered=where is not None):
            return self._on_valid_view(look_up)

    def values(self, keys: tuple[str, ...], where: Where) -> Iterator[tuple[object, ...]]:
        """Yield what the documents for which a filter holds have under some keys, one tuple per document.

        Where a document has several scalars under a key, one of them is given; where it has none, None.

        Args:
            keys: metadata keys.
            where: filter on metadata.

        Raises:
            FilterError: `where` does not follow the grammar.
            StoreClosedError: the store was closed.
        """
        chosen = parse_filter(where)

        def look_up(view: View) -> list[tuple[object, ...]]:
            with self._storage.reading(view) as transaction:
                rows = np.flatnonzero(matching_rows(transaction, view, chosen)).tolist()
                columns = [transaction.scalars(key) for key in keys]
            return [tuple(column.get(row) for column in columns) for row in rows]

        yield from self._on_valid_view(look_up)

    @property
    def mark(self) -> str:
        """What stands for the present state, for `changes_since`."""
        return mark_of(self._storage.view)

    def changes_since(self, mark: str | None) -> StoreChanges:
        """Return what was written and deleted since a mark was taken, for indexes that are kept beside the store.

        Args:
            mark: mark of an earlier state of this store; None for the beginning. After a compaction earlier ones stand
                for the beginning as well.

        Raises:
            StoreClosedError: the store was closed.
        """
        view = self._storage.view
        if (written := rows_since(view, mark)) is None:
            return StoreChanges(self.documents(), (), is_complete=True, mark=mark_of(view))
        try:
            with self._storage.reading(view) as transaction:
                documents, deleted = changed_documents(transaction, view, *written)
        except StaleGenerationError:
            self._storage.refresh()
            return self.changes_since(mark)
        return StoreChanges(iter(documents), deleted, is_complete=False, mark=mark_of(view))

    def duplicates(self, min_score: float = 0.99, *, where: Where | None = None) -> dict[str, str]:
        """Return each document that is nearly the same as an earlier one, with the earlier one: their ids.

        Documents are looked at in the order in which they were added, each beside those that are no duplicates; so
        deleting all the keys leaves for each of them one that is as near as `min_score`.

        Args:
            min_score: least cosine of a duplicate, -1 to 1.
            where: filter on metadata; None for all documents.

        Raises:
            FilterError: `where` does not follow the grammar.
            InvalidQueryError: `min_score` is out of range.
            StoreClosedError: the store was closed.
        """
        _, least = checked_search(1, min_score)
        chosen = None if where is None else parse_filter(where)

        def look_up(view: View) -> dict[str, str]:
            with self._storage.reading(view) as transaction:
                rows = np.flatnonzero(matching_rows(transaction, view, chosen))
                pairs = duplicate_rows(view.vectors, rows, -1.0 if least is None else least)
                ids = transaction.ids_of_rows({*pairs, *pairs.values()})
            return {ids[later]: ids[earlier] for later, earlier in pairs.items()}

        with logged_operation(logger, "duplicates"):
            return self._on_valid_view(look_up)

    def verify(self) -> list[Damage]:
        """Read everything there is and compare it with its checksums.

        What searches find is compared whenever it is found; this also tells what has become impossible to find.

        Returns:
            What is damaged; nothing where all is sound.

        Raises:
            StoreClosedError: the store was closed.
        """
        with logged_operation(logger, "verify", documents=len(self)):
            return list(find_damage(self._storage))

    def _on_valid_view(self, answer: Callable[[View], _Answer]) -> _Answer:
        """Answer from the present view; again from a fresh one if a compaction renumbers its rows meanwhile."""
        for _ in range(_STALE_ATTEMPTS - 1):
            view = self._storage.view
            view.rows.require_whole()
            try:
                return answer(view)
            except StaleGenerationError:
                self._storage.refresh()
        return answer(self._storage.view)

    def _row_in(self, view: View, document_id: str) -> int | None:
        with self._storage.reading(view) as transaction:
            rows = transaction.rows_of_id(stored_text(document_id))
        return next((row for row in rows if row < view.state.row_count and view.alive[row]), None)

    # What the methods above do, awaited.
    aget = Awaited(get)
    aget_many = Awaited(get_many)
    acount = Awaited(count)
    apage = Awaited(page)
    aduplicates = Awaited(duplicates)
    averify = Awaited(verify)
