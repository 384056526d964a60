"""Where a store keeps its rows: documents in a database, vectors beside it, in a folder or in memory.

A write puts vectors behind the last row that counts, makes them durable, and then commits the database, which says how
many rows count. A crash before the commit leaves bytes that nobody counts. Readers hold a `View`, which is never
changed; a writer replaces it after its commit. This module does not know how texts become vectors or how views are
searched.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.errors import (
    ReadOnlyStoreError,
    StoreDamagedError,
    StoreError,
    StoreLockedError,
)
from sightline.retrieval.store.changes import Change, Plan
from sightline.retrieval.store.checksums import vector_checksums
from sightline.retrieval.store.database.connections import DocumentDatabase
from sightline.retrieval.store.database.schema import StoreState
from sightline.retrieval.store.database.transaction import Transaction
from sightline.retrieval.store.disk.folder import StoreFolder
from sightline.retrieval.store.disk.rows import VectorArray, VectorFile, VectorRows
from sightline.retrieval.store.nearest.hnsw import ApproximateIndex
from sightline.retrieval.store.nearest.view import View
from sightline.retrieval.store.opening import check, enter, make_or_migrate

logger = logging.getLogger(__name__)

_COPY_ROWS = 2**16
_READ_ATTEMPTS = 10
# Rows with tombstones cost memory bandwidth in every search; a compaction costs about as much as writing the rest anew.
COMPACTION_SHARE, COMPACTION_MIN_ROWS = 0.3, 1000


class Storage:
    """Rows of documents and vectors: many readers, one writer at a time.

    Args:
        path: a folder, made if need be; None to keep everything in memory.
        encoder: name of the encoder that the vectors are made with.
        dimension: length of a vector.
        read_only: True to open an existing folder without locking it.
        allow_other_files: True to make a store even in a folder that holds other files.
        lock_timeout: seconds to wait for another writer.
        generation: number of the first generation of a store that is made.

    Raises:
        EncoderMismatchError: the folder holds vectors of another encoder.
        FileNotFoundError: `read_only`, and the folder holds no store.
        ForeignFolderError: the folder holds other things and no store.
        StoreDamagedError: a file is missing or damaged; none was changed.
        StoreLockedError: another store, here or in another process, has the folder open for writing.
    """

    def __init__(
        self,
        path: Path | None,
        encoder: str,
        dimension: int,
        *,
        read_only: bool,
        allow_other_files: bool = False,
        lock_timeout: float = 0.0,
        generation: int = 0,
    ) -> None:
        self._path = path
        self._folder = None if path is None else StoreFolder(path)
        self._dimension = dimension
        self._read_only = read_only
        self._writing = threading.Lock()
        self._opened = False
        self._vectors: VectorRows = VectorArray(dimension)
        self._vectors_generation = -1 if path is not None else generation
        # Listed before the database is asked: what a writer adds in between cannot look newer than the database.
        parts = [] if self._folder is None else self._folder.parts()
        self._lock = None
        if self._folder is not None:
            self._lock = enter(
                self._folder,
                parts,
                read_only=read_only,
                allow_other_files=allow_other_files,
                lock_timeout=lock_timeout,
            )
        self._database = DocumentDatabase(None if self._folder is None else self._folder.database, read_only=read_only)
        try:
            made_with = encoder, dimension
            if not read_only:
                make_or_migrate(self._database, self._folder, made_with, parts, generation)
            self._view = self._read_view(None, lambda seen: check(seen, self._folder, made_with, parts))
            self._place = None if self._folder is None else self._folder.database.stat()
            if not read_only:
                self._discard_unfinished()
            self._opened = True
        except BaseException:
            self.close()
            raise

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def folder(self) -> StoreFolder | None:
        """Where the files are; None in memory."""
        return self._folder

    @property
    def view(self) -> View:
        """The state that was committed last by this storage, or read last by `refresh`."""
        return self._view

    @contextmanager
    def reading(self, view: View) -> Generator[Transaction]:
        """Open a transaction in which the rows of `view` are valid.

        Raises:
            StaleGenerationError: a compaction has renumbered the rows; take a fresh view.
            StoreClosedError: the storage was closed.
        """
        with self._database.reading() as transaction:
            transaction.require_generation(view.state.generation)
            yield transaction

    def change(self, plan: Plan) -> Change:
        """Carry out what a plan makes of the newest state, all or none; durable when this returns.

        Args:
            plan: function of the transaction and the newest view, which reads and raises what it has to.

        Returns:
            What was done.

        Raises:
            OSError: the disk refused; nothing was changed.
        """
        with self._exclusive():
            with self._database.writing() as transaction:
                view = self._newest(transaction, self._view)
                change = plan(transaction, view)
                if not change.records and not len(change.buried):
                    return change
                if change.records:
                    self._vectors.write(view.state.row_count, change.vectors)
                    self._vectors.sync()
                state = transaction.append(change.records, vector_checksums(change.vectors), change.buried)
                fresh = self._next_view(view, state, change.buried)
            self._require_place()
            self._view = fresh
            self._compact_if_worthwhile()
            return change

    def compact(self) -> int:
        """Write the rows that are alive anew, without the others; the approximate index keeps those it has.

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
        """Let readers use an index that was built from `view`.

        Raises:
            StaleGenerationError: a compaction has renumbered the rows since.
        """
        with self._exclusive():
            with self._database.writing() as transaction:
                transaction.require_generation(view.state.generation)
                newest = self._newest(transaction, self._view)
                if self._folder is None or not index.row_count:
                    state = transaction.set_index(newest.state, index.row_count, checksum=0)
                else:
                    path = self._folder.index_of(newest.state.generation, index.row_count)
                    checksum = index.save(path)
                    state = transaction.set_index(newest.state, index.row_count, checksum)
                    # mapped, in place of the one in memory
                    index = ApproximateIndex.open(path, index.row_count, self._dimension, checksum=checksum)
                fresh = replace(newest, state=state, index=index)
            self._require_place()
            self._view = fresh
            self._remove_strays()

    def close(self) -> None:
        """Let a write that is under way end, then close files and release the lock. Closing twice is fine.

        In a process that was forked from the one that opened the storage, nothing of the latter's is touched.
        """
        with self._writing:
            self._database.close(fold_log=self._opened)
            self._vectors.close()
            if self._lock is not None:
                self._lock.release()

    @contextmanager
    def _exclusive(self) -> Generator[None]:
        if self._read_only:
            raise ReadOnlyStoreError(
                f"{self._path} was opened for reading only; open it without read_only to change it"
            )
        if self._lock is not None and self._lock.is_inherited:
            raise StoreLockedError(
                f"{self._path} was opened for writing by the process that this one was forked from; write there, or "
                "open it here after it was closed there"
            )
        with self._writing:
            self._require_place()
            yield

    def _require_place(self) -> None:
        """Make sure that what is written is where whoever opens the store next will look for it."""
        if self._folder is None or self._place is None:
            return
        try:
            in_place = os.path.samestat(self._folder.database.stat(), self._place) and self._vectors.is_in_place()
        except FileNotFoundError:
            in_place = False
        if not in_place:
            raise StoreDamagedError(
                f"{self._path} was moved, removed or replaced while it was open, and nothing can be written to it; put "
                "it back, or open what is there now"
            )

    def _read_view(self, known: View | None, check: Callable[[Transaction], None] | None = None) -> View:
        for _ in range(_READ_ATTEMPTS):
            with self._database.reading() as transaction:
                if check is not None:
                    check(transaction)
                try:
                    return self._newest(transaction, known)
                except (
                    FileNotFoundError
                ) as error:  # a compaction may have replaced the file since the transaction began
                    missing = error
        raise StoreDamagedError(f"{missing.filename} is missing; restore it from a backup") from missing

    def _newest(self, transaction: Transaction, known: View | None) -> View:
        """Return the state that a transaction sees: `known` if that is it."""
        state = transaction.state()
        if known is not None and state.version == known.state.version:
            return known
        if state.generation != self._vectors_generation:
            writable = not self._read_only
            assert self._folder is not None  # in memory the generation changes by compactions of this storage only
            vectors = VectorFile(self._folder.vectors(state.generation), self._dimension, writable=writable)
            self._vectors.close()
            self._vectors, self._vectors_generation = vectors, state.generation
        alive = np.ones(state.row_count, dtype=np.bool_)
        alive[transaction.tombstones(state.row_count)] = False
        index = self._opened_index(transaction, state, known)
        return View(state, self._vectors.rows(state.row_count), alive, int(np.count_nonzero(alive)), index)

    def _opened_index(self, transaction: Transaction, state: StoreState, known: View | None) -> ApproximateIndex | None:
        path = None if self._folder is None else self._folder.index(state)
        if self._folder is None or path is None:
            return None
        unchanged = known is not None and self._folder.index(known.state) == path
        if unchanged and known.state.generation == state.generation:
            return known.index
        keys = transaction.index_keys()
        if unchanged and known.index is not None and keys is not None:
            return known.index.with_keys(keys)
        try:
            return ApproximateIndex.open(
                path, state.index_size, self._dimension, checksum=state.index_checksum, keys=keys
            )
        except (ImportError, StoreDamagedError) as error:
            # A file that is gone, perhaps replaced by a writer meanwhile, makes no answer wrong; a damaged one could.
            if isinstance(error, StoreDamagedError) and path.is_file():
                raise
            logger.warning("searching exactly, for the approximate index cannot be used: %s", error)
            return None

    def _next_view(self, view: View, state: StoreState, buried: Collection[int]) -> View:
        alive = np.ones(state.row_count, dtype=np.bool_)
        alive[: len(view.alive)] = view.alive
        alive[list(buried)] = False
        added = state.row_count - view.state.row_count
        rows = self._vectors.rows(state.row_count) if added else view.rows
        return View(state, rows, alive, view.live_count + added - len(buried), view.index)

    def _compact_if_worthwhile(self) -> None:
        rows = self._view.state.row_count
        if rows < COMPACTION_MIN_ROWS or rows - self._view.live_count < COMPACTION_SHARE * rows:
            return
        try:
            self._compact()
        except (OSError, StoreError) as error:
            # The write that led here is committed and stays so; a later one tries again.
            logger.warning("compaction failed, the store goes on without: %s", error)

    def _compact(self) -> int:
        with ExitStack() as undo:
            with self._database.writing() as transaction:
                view = self._newest(transaction, self._view)
                dropped = view.state.row_count - view.live_count
                if not dropped:
                    return 0
                keys = _kept_keys(transaction, view)
                state = transaction.renumber(keys)
                vectors = self._created_vectors(state.generation)
                undo.callback(vectors.close)
                written = _copy_alive(view, vectors)
                index = view.index.with_keys(keys) if view.index is not None and state.indexed_rows else None
                fresh = View(state, vectors.rows(written), np.ones(written, dtype=np.bool_), written, index)
            undo.pop_all()
        self._vectors.close()
        self._vectors, self._vectors_generation, self._view = vectors, state.generation, fresh
        self._remove_strays()
        logger.info(
            "dropped %d of %d rows; the approximate index has %d of the others",
            dropped,
            dropped + written,
            state.indexed_rows,
            extra={"operation": "compact"},
        )
        return dropped

    def _created_vectors(self, generation: int) -> VectorRows:
        if self._folder is None:
            return VectorArray(self._dimension)
        return VectorFile.create(self._folder.vectors(generation), self._dimension)

    def _discard_unfinished(self) -> None:
        self._remove_strays()
        if isinstance(self._vectors, VectorFile) and (excess := self._vectors.excess(self._view.state.row_count)):
            with self._database.writing() as transaction:
                transaction.require_generation(self._vectors_generation)
                self._vectors.discard_after(transaction.state().row_count)
            logger.warning(
                "%s: rolled back %d bytes of a write that was never acknowledged",
                self._path,
                excess,
                extra={"operation": "recover", "discarded_bytes": excess},
            )

    def _remove_strays(self) -> None:
        if self._folder is not None:
            self._folder.remove_strays(self._view.state)


def _kept_keys(transaction: Transaction, view: View) -> NDArray[np.int64]:
    """Return the keys in the index of those of its rows that are alive; none where there is no index."""
    covered = view.state.indexed_rows
    keys = transaction.index_keys()
    return (np.arange(covered) if keys is None else keys)[view.alive[:covered]]


def _copy_alive(view: View, target: VectorRows) -> int:
    """Write the rows of a view that are alive to the beginning of `target`, durably; return how many there are."""
    written = 0
    for start in range(0, len(view.vectors), _COPY_ROWS):
        kept = view.vectors[start : start + _COPY_ROWS][view.alive[start : start + _COPY_ROWS]]
        target.write(written, kept)
        written += len(kept)
    target.sync()
    return written
