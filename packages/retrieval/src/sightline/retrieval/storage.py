"""Where a store keeps its rows: documents in a database, vectors beside it, in a folder or in memory.

A write puts vectors behind the last row that counts, makes them durable, and then commits the database, which says how
many rows count. A crash before the commit leaves bytes that nobody counts. Readers hold a `View`, which is never
changed; a writer replaces it after its commit. This module does not know how texts become vectors or how views are
searched.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from sightline.retrieval.approximate_search import ApproximateIndex
from sightline.retrieval.document import DocumentRecord
from sightline.retrieval.document_database import DocumentDatabase, StoreState, Transaction
from sightline.retrieval.store_errors import (
    DuplicateDocumentError,
    ReadOnlyStoreError,
    StoreDamagedError,
    StoreLockedError,
    UnknownDocumentError,
)
from sightline.retrieval.vector_rows import VectorArray, VectorFile, VectorRows, Vectors, sync_folder

logger = logging.getLogger(__name__)

_DATABASE_FILE, _LOCK_FILE = "documents.sqlite", "writer.lock"
_COPY_ROWS = 2**16
_READ_ATTEMPTS = 10
# Rows with tombstones cost memory bandwidth in every search; a compaction costs about as much as writing the rest anew.
COMPACTION_SHARE, COMPACTION_MIN_ROWS = 0.3, 1000


@dataclass(frozen=True, slots=True)
class View:
    """One committed state of the rows."""

    state: StoreState
    vectors: Vectors
    """``[n, D]`` unit rows, in the order in which they were added."""
    alive: NDArray[np.bool_]
    """``[n]``, false for rows that were deleted or replaced."""
    live_count: int
    index: ApproximateIndex | None


class Storage:
    """Rows of documents and vectors: many readers, one writer at a time.

    Args:
        path: a folder, made if need be; None to keep everything in memory.
        encoder: name of the encoder that the vectors are made with.
        dimension: length of a vector.
        read_only: open an existing folder without locking it.

    Raises:
        EncoderMismatchError: the folder holds vectors of another encoder.
        FileNotFoundError: ``read_only``, and the folder holds no store.
        StoreDamagedError: a file is damaged.
        StoreLockedError: another store, here or in another process, has the folder open for writing.
    """

    def __init__(self, path: Path | None, encoder: str, dimension: int, *, read_only: bool) -> None:
        self._path = path
        self._dimension = dimension
        self._read_only = read_only
        self._writing = threading.Lock()
        self._vectors: VectorRows = VectorArray(dimension)
        self._vectors_generation = -1 if path is not None else 0
        if read_only and (path is None or not (path / _DATABASE_FILE).is_file()):
            raise FileNotFoundError(f"{path} holds no store to read; open it for writing to make one")
        self._lock = None if path is None or read_only else _locked(path)
        self._database = DocumentDatabase(None if path is None else path / _DATABASE_FILE, read_only=read_only)
        try:
            if not read_only:
                self._create_if_empty(encoder)
            self._view = self._read_view(None, encoder)
            if not read_only:
                self._discard_unfinished()
        except BaseException:
            self.close()
            raise

    @property
    def view(self) -> View:
        """The state that was committed last by this storage, or read last by `refresh`."""
        return self._view

    @contextmanager
    def reading(self, view: View) -> Generator[Transaction]:
        """A transaction in which the rows of ``view`` are valid.

        Raises:
            StaleGenerationError: a compaction has renumbered the rows; take a fresh view.
            StoreClosedError: the storage was closed.
        """
        with self._database.reading() as transaction:
            transaction.require_generation(view.state.generation)
            yield transaction

    def append(self, records: Sequence[DocumentRecord], vectors: Vectors, *, overwrite: bool) -> None:
        """Add documents with their vectors ``[n, D]``, all or none; durable when this returns.

        Raises:
            DuplicateDocumentError: not ``overwrite``, and an id is in the store.
            OSError: the disk refused; nothing was added.
        """
        with self._exclusive():
            with self._database.writing() as transaction:
                view = self._newest(transaction, self._view)
                replaced = transaction.live_rows(record.id for record in records)
                if replaced and not overwrite:
                    raise DuplicateDocumentError(
                        f"the store already has a document {_text(next(iter(replaced)))!r}; use upsert to replace it"
                    )
                self._vectors.write(view.state.row_count, vectors)
                self._vectors.sync()
                fresh = self._next_view(view, transaction.append(records, replaced.values()), replaced.values())
            self._view = fresh
            self._compact_if_worthwhile()

    def bury(self, ids: Sequence[bytes]) -> None:
        """Delete documents, all or none; durable when this returns.

        Raises:
            UnknownDocumentError: an id is not in the store.
        """
        with self._exclusive():
            with self._database.writing() as transaction:
                view = self._newest(transaction, self._view)
                rows = transaction.live_rows(ids)
                if missing := [document_id for document_id in ids if document_id not in rows]:
                    raise UnknownDocumentError(f"the store has no document {_text(missing[0])!r}")
                fresh = self._next_view(view, transaction.append([], rows.values()), rows.values())
            self._view = fresh
            self._compact_if_worthwhile()

    def compact(self) -> int:
        """Write the rows that are alive anew, without the others and without the approximate index.

        Readers go on meanwhile; a crash leaves the old state or the new one.

        Returns:
            How many rows were dropped.
        """
        with self._exclusive():
            return self._compact()

    def refresh(self) -> bool:
        """Read what other processes committed; returns whether there was anything."""
        with self._writing:
            before, self._view = self._view, self._read_view(self._view)
            return self._view is not before

    def publish_index(self, index: ApproximateIndex, view: View) -> None:
        """Let readers use an index that was built from ``view``.

        Raises:
            StaleGenerationError: a compaction has renumbered the rows since.
        """
        with self._exclusive():
            with self._database.writing() as transaction:
                transaction.require_generation(view.state.generation)
                newest = self._newest(transaction, self._view)
                state = transaction.set_indexed_rows(index.row_count)
                if (path := self._index_path(state)) is not None:
                    index.save(path)
                    index = ApproximateIndex.open(path, index.row_count)  # mapped, in place of the one in memory
                fresh = replace(newest, state=state, index=index)
            self._view = fresh
            self._remove_strays()

    def close(self) -> None:
        """Let a write that is under way end, then close files and release the lock. Closing twice is fine."""
        with self._writing:
            self._database.close()
            self._vectors.close()
            if self._lock is not None:
                self._lock.release()

    @contextmanager
    def _exclusive(self) -> Generator[None]:
        if self._read_only:
            raise ReadOnlyStoreError(
                f"{self._path} was opened for reading only; open it without read_only to change it"
            )
        with self._writing:
            yield

    def _create_if_empty(self, encoder: str) -> None:
        with self._database.writing() as transaction:
            if transaction.is_empty():
                if self._path is not None:
                    VectorFile.create(self._vectors_path(0), self._dimension).close()
                transaction.create(encoder, self._dimension)
        if self._path is not None:
            sync_folder(self._path)
            sync_folder(self._path.parent)

    def _read_view(self, known: View | None, encoder: str | None = None) -> View:
        for _ in range(_READ_ATTEMPTS):
            with self._database.reading() as transaction:
                if transaction.is_empty():
                    raise FileNotFoundError(f"{self._path} holds no store yet; its writer is about to make it")
                if encoder is not None:
                    transaction.require_encoder(encoder, self._dimension)
                try:
                    return self._newest(transaction, known)
                except (
                    FileNotFoundError
                ) as error:  # a compaction may have replaced the file since the transaction began
                    missing = error
        raise StoreDamagedError(f"{missing.filename} is missing; restore it from a backup") from missing

    def _newest(self, transaction: Transaction, known: View | None) -> View:
        """The state that a transaction sees: ``known`` if that is it."""
        state = transaction.state()
        if known is not None and state.version == known.state.version:
            return known
        if state.generation != self._vectors_generation:
            writable = not self._read_only
            vectors = VectorFile(self._vectors_path(state.generation), self._dimension, writable=writable)
            self._vectors.close()
            self._vectors, self._vectors_generation = vectors, state.generation
        alive = np.ones(state.row_count, dtype=np.bool_)
        alive[transaction.tombstones()] = False
        index = self._opened_index(state, known)
        return View(state, self._vectors.rows(state.row_count), alive, int(np.count_nonzero(alive)), index)

    def _opened_index(self, state: StoreState, known: View | None) -> ApproximateIndex | None:
        path = self._index_path(state)
        if path is None:
            return None
        if known is not None and known.index is not None and self._index_path(known.state) == path:
            return known.index
        try:
            return ApproximateIndex.open(path, state.indexed_rows)
        except (ImportError, StoreDamagedError) as error:
            logger.warning("searching exactly, for the approximate index cannot be used: %s", error)
            return None

    def _next_view(self, view: View, state: StoreState, buried: Collection[int]) -> View:
        alive = np.ones(state.row_count, dtype=np.bool_)
        alive[: len(view.alive)] = view.alive
        alive[list(buried)] = False
        added = state.row_count - view.state.row_count
        vectors = self._vectors.rows(state.row_count) if added else view.vectors
        return View(state, vectors, alive, view.live_count + added - len(buried), view.index)

    def _compact_if_worthwhile(self) -> None:
        rows = self._view.state.row_count
        if rows < COMPACTION_MIN_ROWS or rows - self._view.live_count < COMPACTION_SHARE * rows:
            return
        try:
            self._compact()
        except (OSError, sqlite3.Error) as error:
            # The write that led here is committed and stays so; a later one tries again.
            logger.warning("compaction failed, the store goes on without: %s", error)

    def _compact(self) -> int:
        with self._database.writing() as transaction:
            view = self._newest(transaction, self._view)
            dropped = view.state.row_count - view.live_count
            if not dropped:
                return 0
            state = transaction.renumber()
            vectors = self._created_vectors(state.generation)
            written = 0
            for start in range(0, len(view.vectors), _COPY_ROWS):
                kept = view.vectors[start : start + _COPY_ROWS][view.alive[start : start + _COPY_ROWS]]
                vectors.write(written, kept)
                written += len(kept)
            vectors.sync()
            alive = np.ones(written, dtype=np.bool_)
            fresh = View(state, vectors.rows(written), alive, written, None)
        self._vectors.close()
        self._vectors, self._vectors_generation, self._view = vectors, state.generation, fresh
        self._remove_strays()
        logger.info("dropped %d of %d rows", dropped, dropped + written, extra={"operation": "compact"})
        return dropped

    def _created_vectors(self, generation: int) -> VectorRows:
        if self._path is None:
            return VectorArray(self._dimension)
        return VectorFile.create(self._vectors_path(generation), self._dimension)

    def _discard_unfinished(self) -> None:
        self._remove_strays()
        if isinstance(self._vectors, VectorFile) and (
            excess := self._vectors.discard_after(self._view.state.row_count)
        ):
            logger.warning(
                "%s: rolled back %d bytes of a write that was never acknowledged",
                self._path,
                excess,
                extra={"operation": "recover", "discarded_bytes": excess},
            )

    def _remove_strays(self) -> None:
        """Delete files of earlier generations, and of compactions and indexes that were never committed."""
        if self._path is None:
            return
        current = {self._vectors_path(self._view.state.generation), self._index_path(self._view.state)}
        for path in (*self._path.glob("vectors-*"), *self._path.glob("index-*")):
            if path not in current:
                with suppress(PermissionError):  # Windows keeps a mapped file; the next opening deletes it
                    path.unlink()

    def _vectors_path(self, generation: int) -> Path:
        assert self._path is not None
        return self._path / f"vectors-{generation:06d}.f32"

    def _index_path(self, state: StoreState) -> Path | None:
        if self._path is None or not state.indexed_rows:
            return None
        return self._path / f"index-{state.generation:06d}-{state.indexed_rows}.usearch"


def _locked(path: Path) -> FileLock:
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / _LOCK_FILE, thread_local=False)  # any thread may close the store
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreLockedError(
            f"{path} is open for writing elsewhere, in this process or another; close it there, or open it here with "
            "read_only=True"
        ) from None
    return lock


def _text(document_id: bytes) -> str:
    return document_id.decode("utf-8", "surrogatepass")
