"""An embedding store for a thousand to a million documents: in memory, or in a folder that outlives crashes.

Vectors are memory-mapped float32 rows, documents are in SQLite; opening reads neither. Searches work on a view that is
never changed, so any number of threads may search while one writes and while texts are encoded; other processes may
read the folder while one writes it. This module knows how a store is opened, changed and closed.

See Also:
    `sightline.retrieval.store.filters` for the grammar and the meaning of `where`.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sightline.retrieval.awaiting import Awaited
from sightline.retrieval.errors import InvalidDocumentError
from sightline.retrieval.operation_log import logged_operation
from sightline.retrieval.store.changes import adding, deleting, replacing, updating
from sightline.retrieval.store.disk.folder import StoreFolder
from sightline.retrieval.store.document import MAX_ID_CHARACTERS, Document, document_records, stored_text
from sightline.retrieval.store.filters import Where, parse_filter
from sightline.retrieval.store.metadata import MetadataValue, checked_metadata
from sightline.retrieval.store.nearest.hnsw import ApproximateIndex, Precision
from sightline.retrieval.store.nearest.search import IndexReport, measured_recall
from sightline.retrieval.store.opening import recorded_encoder
from sightline.retrieval.store.parameters import checked_id, checked_ids
from sightline.retrieval.store.reading import StoreReader
from sightline.retrieval.store.soundness.repair import RepairReport, repair_store
from sightline.retrieval.store.storage import Storage
from sightline.retrieval.store.syncing import (
    FileReader,
    Progress,
    Splitter,
    SyncReport,
    read_text,
    sync_folder_into,
)
from sightline.retrieval.text.chunking import chunk_text
from sightline.retrieval.text.default import default_encoder, encoder_named
from sightline.retrieval.text.protocol import TextEncoder, Vectors
from sightline.retrieval.text.unit_vectors import UnitVectors, document_vectors

logger = logging.getLogger(__name__)

APPROXIMATE_FROM = 100_000
"""With fewer documents an exact search takes some 10 ms, too little to miss hits for (`benchmarks/store.py`)."""

_RECALL_TOP_K, _RECALL_QUERIES = 10, 200


class LocalEmbeddingStore(StoreReader):
    """Documents with embeddings; cosine search, exact unless asked otherwise.

    Adding and deleting is all or none; on disk it is acknowledged, by returning, when it would survive a power cut.
    Texts are limited to 1,000,000 characters, ids to 512, metadata to 64 KiB of JSON.

    Args:
        encoder: encoder of documents and queries; None for the one that the store was made with, if it is one of this
            package's, and for `default_encoder` in a new store.
        path: folder to keep the store in, made if need be; None to keep it in memory.
        read_only: True to open an existing folder without the right to change it, beside a writer or other readers;
            `refresh` shows what the writer did since.
        allow_other_files: True to make a store even in a folder that holds other files; they are left alone, as they
            are beside a store that was made before.
        lock_timeout: seconds to wait for another writer to close the folder; 0 to give up at once.
        approximate_from: number of documents below which searches with `approximate=True` are exact all the same.

    Raises:
        EncoderMismatchError: the folder holds vectors of another encoder; the message says both names.
        FileNotFoundError: `read_only`, and the folder holds no store.
        ForeignFolderError: the folder holds other things and no store; nothing was changed.
        OSError: the disk refused.
        StoreDamagedError: a file of the store is missing or damaged; the message names it, and none was changed.
        StoreLockedError: the folder is open for writing elsewhere.
        StoreNotClosedError: `read_only` in a folder that cannot be written, and its last writer died.
        ValueError: `read_only` without a path, or `approximate_from` or `lock_timeout` is negative.
    """

    def __init__(
        self,
        encoder: TextEncoder | None = None,
        path: str | Path | None = None,
        *,
        read_only: bool = False,
        allow_other_files: bool = False,
        lock_timeout: float = 0.0,
        approximate_from: int = APPROXIMATE_FROM,
    ) -> None:
        if read_only and path is None:
            raise ValueError("read_only needs the path of a store; one in memory begins empty")
        if not lock_timeout >= 0:
            raise ValueError(f"lock_timeout must be a number of seconds, not {lock_timeout!r}")
        if isinstance(approximate_from, bool) or not isinstance(approximate_from, int) or approximate_from < 0:
            raise ValueError(f"approximate_from must be a number of documents, not {approximate_from!r}")
        folder = None if path is None else Path(path)
        encoder = _encoder_of(folder) if encoder is None else encoder
        with logged_operation(logger, "open", path=str(path), read_only=read_only):
            storage = Storage(
                folder,
                encoder.name,
                encoder.dimension,
                read_only=read_only,
                allow_other_files=allow_other_files,
                lock_timeout=lock_timeout,
            )
        super().__init__(storage, encoder, approximate_from)
        self._close = weakref.finalize(self, storage.close)

    def __enter__(self) -> LocalEmbeddingStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close files and release the lock; whatever was acknowledged is on the disk already. Closing twice is fine."""
        self._close()

    @staticmethod
    def repair(folder: str | Path, encoder: TextEncoder | None = None, *, lock_timeout: float = 0.0) -> RepairReport:
        """Keep all that is sound in a damaged store, and put its files as they were aside, in a folder within.

        Args:
            folder: folder of the store, which nobody has open for writing.
            encoder: encoder of the store, to embed again the texts whose vectors are damaged; None to give these up.
            lock_timeout: seconds to wait for another writer to close the folder.

        Raises:
            FileNotFoundError: there is no database, and so there are no texts.
            OSError: the disk refused; the store is as it was.
            StoreDamagedError: nothing tells the encoder of the store any more; give it.
            StoreLockedError: the folder is open for writing.
        """
        with logged_operation(logger, "repair", path=str(folder)):
            return repair_store(Path(folder), encoder, lock_timeout)

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
                self._storage.change(deleting(unwanted))

    def delete_where(self, where: Where) -> int:
        """Delete all documents for which a filter holds, in one commit.

        Args:
            where: filter on metadata; `{}` for all documents.

        Returns:
            How many there were.

        Raises:
            FilterError: `where` does not follow the grammar.
            OSError: the disk refused; nothing was deleted, as for `ReadOnlyStoreError` and `StoreClosedError`.
        """
        chosen = parse_filter(where)
        with logged_operation(logger, "delete_where"):
            return len(self._storage.change(replacing(chosen, [], self._no_vectors)).buried)

    def replace(
        self, where: Where, documents: Iterable[Document], vectors: ArrayLike | UnitVectors | None = None
    ) -> None:
        """Delete all documents for which a filter holds and upsert others, in one commit: for example all of a file's.

        Args:
            where: filter on metadata.
            documents: documents to have instead.
            vectors: embeddings as for `add`.

        Raises:
            FilterError: `where` does not follow the grammar; the others are as for `upsert`.
        """
        chosen, documents = parse_filter(where), list(documents)
        with logged_operation(logger, "replace", documents=len(documents)):
            records = document_records(documents)
            unit = document_vectors(self._encoder, [document.content for document in documents], vectors)
            self._storage.change(replacing(chosen, records, unit.rows))

    def sync(
        self,
        folder: str | Path,
        pattern: str = "**/*",
        *,
        name: str | None = None,
        read: FileReader = read_text,
        split: Splitter = chunk_text,
        version: str = "",
        progress: Progress | None = None,
    ) -> SyncReport:
        """Make the documents that come from a folder those of its files: added, changed and removed by content.

        A document is a piece of a file; its metadata has `folder`, `path`, `sha256` and `part`. Others are left alone.
        A kill leaves every file in its old form or its new one, and the next call goes on from there.

        Args:
            folder: folder of the files; one that is not there is refused, and never taken for an empty one.
            pattern: glob of the files, relative to the folder; files that it does not name any more are removed.
            name: name in the metadata; None for the folder's own. Give one to each of several folders in a store.
            read: function from path and bytes to the text; None from it passes the file over. The default reads UTF-8.
            split: function from a text to its pieces; the default is `chunk_text`.
            version: text that stands for `read` and `split`; with another one all files are read anew.
            progress: function that is told how many files of how many are done.

        Raises:
            NotADirectoryError: the folder is not there; nothing was changed.
            OSError: the disk refused; the files before are in the store. The others are as for `upsert`.
        """
        folder = Path(folder)
        own = None if self._storage.folder is None else self._storage.folder.path
        with logged_operation(logger, "sync", path=str(folder)):
            return sync_folder_into(
                self,
                folder,
                pattern,
                name=folder.resolve().name if name is None else name,
                read=read,
                split=split,
                version=version,
                exclude=own,
                progress=progress,
            )

    def update_metadata(self, updates: Mapping[str, Mapping[str, MetadataValue]], *, replace: bool = False) -> None:
        """Change metadata of documents without encoding their texts again, all or none; they count as added last.

        Args:
            updates: keys to set, by id.
            replace: True to drop the keys that are not among those.

        Raises:
            InvalidDocumentError: metadata would be too large, or is no metadata.
            OSError: the disk refused; nothing was changed, as for `ReadOnlyStoreError` and `StoreClosedError`.
            UnknownDocumentError: an id is not in the store.
        """
        checked = {checked_id(document_id): _checked_update(document_id, new) for document_id, new in updates.items()}
        with logged_operation(logger, "update_metadata", documents=len(checked)):
            if checked:
                self._storage.change(updating(checked, replace=replace))

    def compact(self) -> int:
        """Drop what deleted and replaced documents left behind; the approximate index keeps the others it has.

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

    def build_index(self, *, precision: Precision = "int8") -> IndexReport:
        """Build, or build anew, the index for approximate search over the documents there are.

        Others may read and write meanwhile; documents added later are searched exactly until the next build.

        Args:
            precision: numbers of a vector in the index, of 8 bits or of 1. What it proposes is scored again with the
                vectors themselves, which stay on the disk.

        Raises:
            ImportError: the extra `approximate` is not installed.
            ReadOnlyStoreError: the store was opened for reading only.
            StaleGenerationError: a compaction ran meanwhile; build again.
            StoreClosedError: the store was closed.
        """
        with logged_operation(logger, "build_index", documents=len(self)):
            start, view = time.perf_counter(), self._storage.view
            index = ApproximateIndex.build(view.vectors, view.alive, precision)
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
                self._storage.change(adding(records, unit.rows, overwrite=overwrite))

    @property
    def _no_vectors(self) -> Vectors:
        return np.empty((0, self._encoder.dimension), dtype=np.float32)

    # What the methods above do, awaited.
    aadd = Awaited(add)
    aupsert = Awaited(upsert)
    adelete = Awaited(delete)
    adelete_where = Awaited(delete_where)
    areplace = Awaited(replace)
    aupdate_metadata = Awaited(update_metadata)
    async_ = Awaited(sync)  # `async` itself is a word of the language
    acompact = Awaited(compact)
    abuild_index = Awaited(build_index)


def _checked_update(document_id: str, metadata: Mapping[str, MetadataValue]) -> dict[str, Any]:
    try:
        return checked_metadata(metadata)
    except ValueError as error:
        raise InvalidDocumentError(f"document {document_id[:MAX_ID_CHARACTERS]!r}: {error}") from None


def _encoder_of(folder: Path | None) -> TextEncoder:
    """Return the encoder that a store was made with; for a new one the default."""
    made_with = None if folder is None else recorded_encoder(StoreFolder(folder))
    return default_encoder() if made_with is None else encoder_named(made_with[0])
