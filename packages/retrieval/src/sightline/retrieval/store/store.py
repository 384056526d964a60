"""An embedding store for a thousand to a million documents: in memory, or in a folder that outlives crashes.

Vectors are memory-mapped float32 rows, documents are in SQLite; opening reads neither. Searches work on a view that is
never changed, so any number of threads may search while one writes and while texts are encoded; other processes may
read the folder while one writes it. This module knows how texts become queries and hits, not how rows are kept.

See Also:
    `sightline.retrieval.store.filters` for the grammar and the meaning of `where`.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.retrieval.errors import StaleGenerationError, UnknownDocumentError
from sightline.retrieval.operation_log import logged_operation
from sightline.retrieval.store.document import (
    MAX_CONTENT_CHARACTERS,
    MAX_ID_CHARACTERS,
    Document,
    SearchHit,
    document_records,
    stored_text,
)
from sightline.retrieval.store.filters import MetadataFilter, parse_filter, select
from sightline.retrieval.store.nearest.exact import RankedRows
from sightline.retrieval.store.nearest.hnsw import ApproximateIndex
from sightline.retrieval.store.nearest.search import IndexReport, approximate_rows, exact_rows, measured_recall
from sightline.retrieval.store.parameters import check_search, checked_id, checked_ids
from sightline.retrieval.store.storage import Storage, View
from sightline.retrieval.text.default import default_encoder
from sightline.retrieval.text.protocol import TextEncoder
from sightline.retrieval.text.unit_vectors import Query, UnitVectors, document_vectors, query_vectors

logger = logging.getLogger(__name__)

APPROXIMATE_FROM = 100_000
"""With fewer documents an exact search takes some 10 ms, too little to miss hits for (`benchmarks/store.py`)."""

_PAGE_DOCUMENTS = 1000
_RECALL_TOP_K, _RECALL_QUERIES = 10, 200
_STALE_ATTEMPTS = 10

Where: TypeAlias = Mapping[str, object]
_Answer = TypeVar("_Answer")


class LocalEmbeddingStore:
    """Documents with embeddings; cosine search, exact unless asked otherwise.

    Adding and deleting is all or none; on disk it is acknowledged, by returning, when it would survive a power cut.
    Texts are limited to 1,000,000 characters, ids to 512, metadata to 64 KiB of JSON.

    Args:
        encoder: encoder of documents and queries; None for `default_encoder`.
        path: folder to keep the store in, made if need be; None to keep it in memory.
        read_only: True to open an existing folder without the right to change it, beside a writer or other readers;
            `refresh` shows what the writer did since.
        allow_other_files: True to make a store even in a folder that holds other files; they are left alone, as they
            are beside a store that was made before.
        approximate_from: number of documents below which searches with `approximate=True` are exact all the same.

    Raises:
        EncoderMismatchError: the folder holds vectors of another encoder; the message says both names.
        FileNotFoundError: `read_only`, and the folder holds no store.
        ForeignFolderError: the folder holds other things and no store; nothing was changed.
        StoreDamagedError: a file of the store is missing or damaged; the message names it, and none was changed.
        StoreLockedError: the folder is open for writing elsewhere.
        ValueError: `read_only` without a path, or `approximate_from` is negative.
    """

    def __init__(
        self,
        encoder: TextEncoder | None = None,
        path: str | Path | None = None,
        *,
        read_only: bool = False,
        allow_other_files: bool = False,
        approximate_from: int = APPROXIMATE_FROM,
    ) -> None:
        if read_only and path is None:
            raise ValueError("read_only needs the path of a store; one in memory begins empty")
        if isinstance(approximate_from, bool) or not isinstance(approximate_from, int) or approximate_from < 0:
            raise ValueError(f"approximate_from must be a number of documents, not {approximate_from!r}")
        self._encoder = default_encoder() if encoder is None else encoder
        self._approximate_from = approximate_from
        folder = None if path is None else Path(path)
        with logged_operation(logger, "open", path=str(path), read_only=read_only):
            self._storage = Storage(
                folder,
                self._encoder.name,
                self._encoder.dimension,
                read_only=read_only,
                allow_other_files=allow_other_files,
            )
        self._close = weakref.finalize(self, self._storage.close)

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

    def __enter__(self) -> LocalEmbeddingStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close files and release the lock; whatever was acknowledged is on the disk already. Closing twice is fine."""
        self._close()

    def refresh(self) -> bool:
        """Show what another process has written since this store was opened or refreshed.

        Returns:
            Whether there was anything; never for a store that is open for writing.

        Raises:
            StoreClosedError: the store was closed.
        """
        return self._storage.refresh()

    def add(self, documents: Iterable[Document], vectors: ArrayLike | UnitVectors | None = None) -> None:
        """Add documents, all or none.

        Args:
            documents: documents to add.
            vectors: embeddings `[n, dimension]` in the encoder's space, of any length but zero; None to encode the
                contents.

        Raises:
            DuplicateDocumentError: an id is in the store already, or twice among the documents.
            InvalidDocumentError: metadata is too large, or a vector is zero, not finite or of another dimension.
            OSError: the disk refused; nothing was added.
            ReadOnlyStoreError: the store was opened for reading only.
            StoreClosedError: the store was closed.
            TypeError: something is not a `Document`.
        """
        self._write("add", documents, vectors, overwrite=False)

    def upsert(self, documents: Iterable[Document], vectors: ArrayLike | UnitVectors | None = None) -> None:
        """Add documents, deleting those that have their ids before, all or none; they count as added last.

        Args:
            documents: documents to add.
            vectors: embeddings as for `add`.

        Raises:
            DuplicateDocumentError: an id is twice among the documents.
            InvalidDocumentError: as for `add`, as are `OSError`, `ReadOnlyStoreError`, `StoreClosedError`, `TypeError`.
        """
        self._write("upsert", documents, vectors, overwrite=True)

    def delete(self, ids: Iterable[str]) -> None:
        """Delete documents, all or none.

        Their rows stay behind, unseen, until `compact` runs, which happens of itself when 3 rows of 10 are such.

        Raises:
            OSError: the disk refused; nothing was deleted.
            ReadOnlyStoreError: the store was opened for reading only.
            StoreClosedError: the store was closed.
            TypeError: a single string was given, or something is not a string.
            UnknownDocumentError: an id is not in the store.
        """
        unwanted = [stored_text(document_id) for document_id in checked_ids(ids)]
        with logged_operation(logger, "delete", documents=len(unwanted)):
            if unwanted:
                self._storage.bury(unwanted)

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
                return transaction.documents([row])[row]

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
        check_search(top_k, min_score)
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

    def compact(self) -> int:
        """Drop what deleted and replaced documents left behind, and the approximate index with it.

        Space in the database file is reused rather than given back. Readers go on meanwhile; a crash leaves the old
        state or the new one.

        Returns:
            How many rows were dropped.

        Raises:
            OSError: the disk refused; everything is as it was.
            ReadOnlyStoreError: the store was opened for reading only.
            StoreClosedError: the store was closed.
        """
        with logged_operation(logger, "compact"):
            return self._storage.compact()

    def build_index(self) -> IndexReport:
        """Build, or build anew, the index for approximate search over the documents there are.

        Others may read and write meanwhile; documents added later are searched exactly until the next build.

        Raises:
            ImportError: the extra `approximate` is not installed.
            ReadOnlyStoreError: the store was opened for reading only.
            StaleGenerationError: a compaction ran meanwhile; build again.
            StoreClosedError: the store was closed.
        """
        with logged_operation(logger, "build_index", documents=len(self)):
            start, view = time.perf_counter(), self._storage.view
            index = ApproximateIndex.build(view.vectors, view.alive)
            recall, sample_size = measured_recall(view, index, top_k=_RECALL_TOP_K, sample_size=_RECALL_QUERIES)
            self._storage.publish_index(index, view)
            report = IndexReport(view.live_count, recall, sample_size, time.perf_counter() - start)
            logger.info(
                "approximate index of %d documents: recall@%d %.3f",
                report.document_count,
                _RECALL_TOP_K,
                recall,
                extra={"operation": "build_index", "recall": recall, "documents": report.document_count},
            )
            return report

    def _write(
        self, operation: str, documents: Iterable[Document], vectors: ArrayLike | UnitVectors | None, *, overwrite: bool
    ) -> None:
        documents = list(documents)
        with logged_operation(logger, operation, documents=len(documents)):
            records = document_records(documents)
            unit = document_vectors(self._encoder, [document.content for document in documents], vectors)
            if records:
                self._storage.append(records, unit.rows, overwrite=overwrite)

    def _on_valid_view(self, answer: Callable[[View], _Answer]) -> _Answer:
        """Answer from the present view; again from a fresh one if a compaction renumbers its rows meanwhile."""
        for _ in range(_STALE_ATTEMPTS - 1):
            try:
                return answer(self._storage.view)
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
            documents = transaction.documents(wanted)
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
