"""The local store behind the protocol of backends.

This module knows how the store's failures are told from mistakes of the caller, nothing of how it works.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress

from sightline.retrieval.backends.protocol import BackendError, BackendUnavailableError
from sightline.retrieval.errors import (
    ReadOnlyStoreError,
    StoreClosedError,
    StoreDamagedError,
    UnknownDocumentError,
)
from sightline.retrieval.store.document import Document, SearchHit
from sightline.retrieval.store.filters import Where
from sightline.retrieval.store.parameters import checked_ids
from sightline.retrieval.store.store import LocalEmbeddingStore
from sightline.retrieval.text.unit_vectors import UnitVectors


class LocalBackend:
    """A `LocalEmbeddingStore` as a `VectorBackend`: searches are exact, equal scores in the order of writing.

    Args:
        store: the store; `close` closes it.
        name: name of it in results and logs.
    """

    def __init__(self, store: LocalEmbeddingStore, *, name: str = "local") -> None:
        self._store = store
        self.name = name
        self.encoder_name = store.encoder.name
        self.dimension = store.encoder.dimension

    def upsert(self, documents: Sequence[Document], vectors: UnitVectors) -> None:
        """Write documents with `vectors` [n, dimension], all or none; see `VectorBackend.upsert`."""
        with _translated(self.name):
            self._store.upsert(documents, vectors)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the documents that are there; see `VectorBackend.delete`."""
        wanted = checked_ids(ids)
        with _translated(self.name):
            while present := [document_id for document_id in wanted if document_id in self._store]:
                with suppress(UnknownDocumentError):  # another thread deleted one meanwhile: look again
                    self._store.delete(present)
                    return

    def get(self, document_id: str) -> Document:
        """Return the document of this id; see `VectorBackend.get`."""
        with _translated(self.name):
            return self._store.get(document_id)

    def search(
        self, vectors: UnitVectors, *, top_k: int, min_score: float | None = None, where: Where | None = None
    ) -> list[list[SearchHit]]:
        """Find the documents most similar to each of `vectors` [q, dimension]; see `VectorBackend.search`."""
        with _translated(self.name):
            return self._store.search_batch(vectors, top_k=top_k, min_score=min_score, where=where)

    def count(self) -> int:
        """Return the number of documents."""
        return len(self._store)

    def check_health(self) -> None:
        """Return if the store's database can be read.

        Raises:
            BackendError: it cannot, or the store was closed.
        """
        with _translated(self.name):
            _ = "" in self._store

    def close(self) -> None:
        """Close the store."""
        self._store.close()


@contextmanager
def _translated(name: str) -> Generator[None]:
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:  # locked, or the disk is full: both may pass
        raise BackendUnavailableError(f"{name}: {error}") from error
    except (sqlite3.Error, ReadOnlyStoreError, StoreClosedError, StoreDamagedError) as error:
        raise BackendError(f"{name}: {error}") from error
