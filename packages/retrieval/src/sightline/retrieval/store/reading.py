"""What is asked of an embedding store: documents by id, in order, or by their nearness to a query.

This module knows how texts become queries and hits, not how rows are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.errors import StaleGenerationError, UnknownDocumentError
from sightline.retrieval.operation_log import logged_operation
from sightline.retrieval.store.document import (
    MAX_CONTENT_CHARACTERS,
    MAX_ID_CHARACTERS,
    Document,
    SearchHit,
    stored_text,
)
from sightline.retrieval.store.filters import MetadataFilter, Where, parse_filter, select
from sightline.retrieval.store.nearest.exact import RankedRows
from sightline.retrieval.store.nearest.search import approximate_rows, exact_rows
from sightline.retrieval.store.nearest.view import View, require_sound
from sightline.retrieval.store.parameters import checked_id, checked_search
from sightline.retrieval.store.storage import Storage
from sightline.retrieval.store.verification import Damage, find_damage
from sightline.retrieval.text.protocol import TextEncoder
from sightline.retrieval.text.unit_vectors import Query, UnitVectors, query_vectors

logger = logging.getLogger(__name__)

_PAGE_DOCUMENTS = 1000
_STALE_ATTEMPTS = 10

_Answer = TypeVar("_Answer")


class StoreReader:
    """The half of a store that changes nothing.

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

    def documents(self) -> Iterator[Document]:
        """Yield all documents, in the order of their ids; those changed while this runs may come in either form.

        To change the encoder, add these to a store of the other one.
        """
        last = b""
        while True:
            page = self._on_valid_view(lambda view, after=last: self._page(view, after))
            for stored_id, document in page:
                last = stored_id
                yield document
            if len(page) < _PAGE_DOCUMENTS:
                return

    def search(
        self,
        query: Query,
        *,
        top_k: int = 5,
        min_score: float | None = None,
        where: Where | None = None,
        approximate: bool = False,
    ) -> list[SearchHit]:
        """Find the documents most similar to a query.

        Args:
            query: text, or a vector `[dimension]` of any length but zero.
            top_k: most hits to return.
            min_score: least cosine of a hit, -1 to 1; None for any.
            where: filter on metadata, for example `{"price": {"<=": 20}, "colour": {"in": ["red", "blue"]}}`; the
                best of the documents for which it holds are found, exactly.
            approximate: True to let the index of `build_index` propose the hits, which may miss some; their scores are
                exact. Ignored with `where`, without an index, and below `approximate_from` documents.

        Returns:
            Hits, best first; equal scores in the order in which the documents were added or upserted.

        Raises:
            FilterError: `where` does not follow the grammar.
            InvalidQueryError: the query is blank, zero, not finite or of another dimension; a number is out of range.
            StoreClosedError: the store was closed.
        """
        return self.search_batch([query], top_k=top_k, min_score=min_score, where=where, approximate=approximate)[0]

    def search_batch(
        self,
        queries: Sequence[Query] | NDArray[np.floating] | UnitVectors,
        *,
        top_k: int = 5,
        min_score: float | None = None,
        where: Where | None = None,
        approximate: bool = False,
    ) -> list[list[SearchHit]]:
        """Search for several queries at once, by one matrix product on one state of the store.

        Args:
            queries: texts, vectors or both; or vectors `[q, dimension]`.
            top_k: most hits to return per query.
            min_score: least cosine of a hit, -1 to 1; None for any.
            where: filter on metadata; see `search`.
            approximate: True to use the index; see `search`, as for the errors.

        Returns:
            One list of hits per query; the same as from single searches.

        Raises:
            TypeError: a single string was given.
        """
        if isinstance(queries, str):
            raise TypeError(f"search_batch takes a sequence of queries, not {queries[:80]!r}; use search for one")
        top_k, min_score = checked_search(top_k, min_score)
        chosen = None if where is None else parse_filter(where)
        with logged_operation(logger, "search", queries=len(queries), top_k=top_k, filtered=where is not None):
            vectors = query_vectors(self._encoder, queries, max_characters=MAX_CONTENT_CHARACTERS).rows

            def answer(view: View) -> list[list[SearchHit]]:
                selected = self._selected(view, chosen)
                by_index = approximate and selected is None and view.live_count >= self._approximate_from
                if by_index and view.index is not None:
                    ranked = approximate_rows(view, view.index, vectors, top_k=top_k, min_score=min_score)
                else:
                    ranked = exact_rows(view, vectors, top_k=top_k, min_score=min_score, selected=selected)
                return self._hits(view, ranked)

            return self._on_valid_view(answer)

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

    def _selected(self, view: View, chosen: MetadataFilter | None) -> NDArray[np.bool_] | None:
        """Return rows `[n]` for which a filter holds."""
        if chosen is None:
            return None
        row_count = view.state.row_count
        with self._storage.reading(view) as transaction:
            return select(chosen, lambda condition: transaction.rows_matching(condition, row_count), row_count)

    def _hits(self, view: View, ranked: Sequence[RankedRows]) -> list[list[SearchHit]]:
        wanted = {row for ranking in ranked for row in ranking.rows.tolist()}
        with self._storage.reading(view) as transaction:
            found = transaction.documents(wanted)
        documents = {row: document for row, (document, _) in found.items()}
        require_sound(view, {row: checksum for row, (_, checksum) in found.items()})
        return [
            [
                SearchHit(documents[row], score)
                for row, score in zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True)
            ]
            for ranking in ranked
        ]

    def _row_in(self, view: View, document_id: str) -> int | None:
        with self._storage.reading(view) as transaction:
            rows = transaction.rows_of_id(stored_text(document_id))
        return next((row for row in rows if row < view.state.row_count and view.alive[row]), None)

    def _page(self, view: View, after: bytes) -> list[tuple[bytes, Document]]:
        with self._storage.reading(view) as transaction:
            return transaction.page(after, _PAGE_DOCUMENTS)
