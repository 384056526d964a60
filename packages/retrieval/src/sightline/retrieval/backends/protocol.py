"""What a place for documents and vectors must do to stand behind a `RagRetriever`, and how it says that it fails.

Backends deal in vectors: whoever calls them has encoded the texts. All of them share documents, hits and filters with
`LocalEmbeddingStore`, score by cosine, and take any string as an id. Writing is idempotent everywhere, so that a write
whose answer got lost can be repeated. This module knows no backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from sightline.retrieval.errors import StoreError
from sightline.retrieval.store.document import Document, SearchHit
from sightline.retrieval.store.filters import Where
from sightline.retrieval.text.unit_vectors import UnitVectors


class BackendError(StoreError, RuntimeError):
    """A backend failed, for reasons that are its own and not the caller's."""


class BackendUnavailableError(BackendError, ConnectionError):
    """A backend cannot be reached, is overloaded or broke down; trying again may help."""


class BackendTimeoutError(BackendUnavailableError, TimeoutError):
    """A backend did not answer in time; a write may have happened all the same, and can be repeated."""


class BackendCooldownError(BackendUnavailableError):
    """A backend was passed over because it failed a short while ago."""


class BackendLimitError(BackendError):
    """A backend cannot do what was asked, though nothing is wrong with it; another one may."""


class ForeignRecordError(BackendError):
    """A collection holds a record that this package did not write."""


@runtime_checkable
class VectorBackend(Protocol):
    """Documents with unit vectors, searched by cosine.

    Besides what the methods name, each may raise a `BackendError`, and `EncoderMismatchError` where the place turns out
    to hold vectors of another encoder. A backend may first connect when it is first used.
    """

    @property
    def name(self) -> str:
        """What results and logs call it, for example "qdrant"."""
        ...

    @property
    def encoder_name(self) -> str:
        """Name of the encoder whose vectors it holds."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    def upsert(self, documents: Sequence[Document], vectors: UnitVectors) -> None:
        """Write documents, replacing those that have their ids.

        A remote backend writes in batches: when this raises, some documents may have been written; repeat the call.

        Args:
            documents: documents to write, each id once.
            vectors: `[n, dimension]`, one per document.

        Raises:
            BackendLimitError: a document is larger than the backend allows; nothing was written.
            DuplicateDocumentError: an id is twice among the documents.
            InvalidDocumentError: metadata is too large, or the vectors are of another number or dimension.
            TypeError: something is not a `Document`.
        """
        ...

    def delete(self, ids: Sequence[str]) -> None:
        """Delete documents; ids that are not there are passed over.

        Raises:
            TypeError: a single string was given, or something is not a string.
        """
        ...

    def get(self, document_id: str) -> Document:
        """Return the document of this id.

        Raises:
            TypeError: the id is not a string.
            UnknownDocumentError: there is no document of this id.
        """
        ...

    def search(
        self, vectors: UnitVectors, *, top_k: int, min_score: float | None = None, where: Where | None = None
    ) -> list[list[SearchHit]]:
        """Find the documents most similar to each query.

        Args:
            vectors: queries `[q, dimension]`.
            top_k: most hits to return per query.
            min_score: least cosine of a hit, -1 to 1; None for any.
            where: filter on metadata in the grammar of `sightline.retrieval.store.filters`; it means the same in
                every backend.

        Returns:
            One list per query, best first. The order of equal scores is the backend's.

        Raises:
            BackendLimitError: the backend cannot answer this query completely.
            FilterError: `where` does not follow the grammar.
            InvalidQueryError: the vectors are of another dimension, or a number is out of range.
        """
        ...

    def count(self) -> int:
        """Return the number of documents."""
        ...

    def check_health(self) -> None:
        """Return if the backend can answer.

        Raises:
            BackendError: it cannot; the message says why.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files. Closing twice is fine."""
        ...
