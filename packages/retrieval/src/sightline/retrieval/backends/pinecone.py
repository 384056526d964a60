"""Documents in a Pinecone index, through Pinecone's own client.

Tested against a recorded contract of requests and answers, never against the service itself. Filters: equality and
`in` are Pinecone's to decide, number ranges nearly so (it keeps the least and the greatest number under a key);
negations and ranges of strings are decided here, by fetching more, up to the 10,000 hits that Pinecone gives. What is
written can be found some seconds later. This module does not know who asks or what else could answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.backends.filter_translation import FilterDialect, best_matching, superset
from sightline.retrieval.backends.protocol import (
    BackendError,
    BackendLimitError,
    BackendTimeoutError,
    BackendUnavailableError,
)
from sightline.retrieval.backends.remote import RemoteCollection
from sightline.retrieval.backends.remote_record import (
    RemoteRecord,
    any_of_tokens,
    attribute_token,
    number_field,
    record_id,
    remote_records,
)
from sightline.retrieval.errors import (
    EncoderMismatchError,
    InvalidDocumentError,
    InvalidQueryError,
    UnknownDocumentError,
)
from sightline.retrieval.store.document import MAX_ID_CHARACTERS, Document, SearchHit
from sightline.retrieval.store.filters import Condition, Where, parse_filter, stored_key
from sightline.retrieval.store.parameters import checked_id, checked_ids, checked_search
from sightline.retrieval.text.protocol import TextEncoder
from sightline.retrieval.text.unit_vectors import UnitVectors

if TYPE_CHECKING:
    from pinecone import Index

MAX_HITS = 10_000
MAX_METADATA_BYTES = 40 * 1024
_MAX_REQUEST_BYTES = 2_000_000
_MAX_REQUEST_RECORDS = 1000
_NUMBER_BYTES = 24
_DEFAULT_NAMESPACE = "__default__"

_Json = dict[str, Any]


class PineconeBackend:
    """A namespace of a Pinecone index as a `VectorBackend`.

    Talks to the service when it is first used. Every record names its encoder, and one of another encoder is refused. A
    document with its metadata must fit in Pinecone's 40 KB of metadata. Pinecone's client retries by itself (3 times,
    unless told otherwise).

    Args:
        index: `Pinecone(api_key=...).index("name")`: an index of dense vectors with metric cosine, made beforehand
            with the encoder's dimension; `close` closes it.
        encoder: encoder of the vectors in the namespace; only its name and dimension are used.
        namespace: part of the index to use, which must hold nothing else.
        name: name of this backend in results and logs.
    """

    def __init__(self, index: Index, encoder: TextEncoder, *, namespace: str = "", name: str = "pinecone") -> None:
        self.name = name
        self.encoder_name = encoder.name
        self.dimension = encoder.dimension
        self._index = index
        self._namespace = namespace
        self._remote = RemoteCollection(
            name,
            f"Pinecone namespace {namespace!r}",
            encoder.name,
            prepare=self._prepare,
            error_type=_error_type,
        )

    def upsert(self, documents: Sequence[Document], vectors: UnitVectors) -> None:
        """Write documents with `vectors` [n, dimension], in requests of at most 2 MB; see `VectorBackend.upsert`.

        Raises:
            BackendLimitError: a document with its metadata takes more than 40 KB; nothing was written.
        """
        records = remote_records(documents)
        vectors.require_shape((len(records), self.dimension), "vectors", InvalidDocumentError)
        entries = [
            {"id": record.id, "values": row.tolist(), "metadata": self._metadata(record)}
            for record, row in zip(records, vectors.rows, strict=True)
        ]
        sizes = [len(json.dumps(entry["metadata"], ensure_ascii=False).encode()) for entry in entries]
        for document, size in zip(documents, sizes, strict=True):
            if size > MAX_METADATA_BYTES:
                raise BackendLimitError(
                    f"{self.name}: document {document.id!r} takes {size:,} bytes, more than Pinecone's "
                    f"{MAX_METADATA_BYTES:,}; split its content into chunks"
                )
        with self._remote.operation("upsert", documents=len(records)):
            for start, stop in _requests(sizes, self.dimension):
                self._index.upsert(vectors=entries[start:stop], namespace=self._namespace)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the documents that are there; see `VectorBackend.delete`."""
        records = [record_id(document_id) for document_id in checked_ids(ids)]
        with self._remote.operation("delete", documents=len(records)):
            for start in range(0, len(records), _MAX_REQUEST_RECORDS):
                try:
                    self._index.delete(ids=records[start : start + _MAX_REQUEST_RECORDS], namespace=self._namespace)
                except Exception as error:
                    if _status(error) != 404:  # the namespace comes into being with its first record
                        raise

    def get(self, document_id: str) -> Document:
        """Return the document of this id; see `VectorBackend.get`.

        Raises:
            UnknownDocumentError: there is no document of this id.
        """
        record = record_id(checked_id(document_id))
        with self._remote.operation("get"):
            found = self._index.fetch(ids=[record], namespace=self._namespace).vectors
            if record not in found:
                raise UnknownDocumentError(f"{self.name} has no document {document_id[:MAX_ID_CHARACTERS]!r}")
            return self._remote.document(found[record].metadata)

    def search(
        self, vectors: UnitVectors, *, top_k: int, min_score: float | None = None, where: Where | None = None
    ) -> list[list[SearchHit]]:
        """Find the documents most similar to each of `vectors` [q, dimension]; see `VectorBackend.search`.

        Raises:
            BackendLimitError: the answer may lie beyond the 10,000 hits that Pinecone gives.
        """
        top_k, min_score = checked_search(top_k, min_score)
        vectors.require_shape((len(vectors), self.dimension), "queries", InvalidQueryError)
        chosen = None if where is None else parse_filter(where)
        native = None if chosen is None else superset(chosen, _DIALECT)
        with self._remote.operation("search", queries=len(vectors), top_k=top_k, filtered=where is not None):
            return [
                best_matching(
                    partial(self._nearest, row, native), chosen, top_k=top_k, min_score=min_score, most=MAX_HITS
                )
                for row in vectors.rows
            ]

    def count(self) -> int:
        """Return the number of documents."""
        with self._remote.operation("count"):
            namespaces = self._index.describe_index_stats().namespaces
            summary = namespaces.get(self._namespace) or namespaces.get(self._namespace or _DEFAULT_NAMESPACE)
            return 0 if summary is None else summary.vector_count

    def check_health(self) -> None:
        """Return if the index answers and fits.

        Raises:
            BackendError: it does not.
        """
        with self._remote.operation("health"):
            self._index.describe_index_stats()

    def close(self) -> None:
        """Close the index's connections."""
        self._remote.close()
        self._index.close()

    def _nearest(self, row: NDArray[np.float32], native: _Json | None, limit: int) -> list[SearchHit]:
        found = self._index.query(
            vector=row.tolist(), top_k=limit, namespace=self._namespace, filter=native, include_metadata=True
        )
        return [
            SearchHit(self._remote.document(match.metadata), float(np.clip(match.score, -1.0, 1.0)))
            for match in found.matches
        ]

    def _metadata(self, record: RemoteRecord) -> _Json:
        metadata: _Json = {"document": record.document, "encoder": self.encoder_name}
        if record.tokens:
            metadata["tokens"] = record.tokens
        for field, numbers in record.numbers.items():
            metadata[f"least_{field}"], metadata[f"greatest_{field}"] = numbers[0], numbers[-1]
        return metadata

    def _prepare(self) -> None:
        stats = self._index.describe_index_stats()
        if stats.metric not in (None, "cosine"):
            raise BackendError(f"{self.name}: the index has metric {stats.metric!r}, not 'cosine'; use another index")
        if stats.dimension not in (None, self.dimension):
            raise EncoderMismatchError(
                f"{self.name}: the index holds vectors of length {stats.dimension}, encoder {self.encoder_name!r} "
                f"makes {self.dimension}; use another index"
            )
        self._nearest(np.eye(1, self.dimension, dtype=np.float32)[0], None, 1)


def _requests(sizes: Sequence[int], dimension: int) -> Iterator[tuple[int, int]]:
    """Yield bounds of consecutive records whose requests stay below Pinecone's limits."""
    start, request_bytes = 0, 0
    for position, size in enumerate(sizes):
        record_bytes = size + _NUMBER_BYTES * dimension
        full = request_bytes + record_bytes > _MAX_REQUEST_BYTES or position - start == _MAX_REQUEST_RECORDS
        if full and position > start:
            yield start, position
            start, request_bytes = position, 0
        request_bytes += record_bytes
    if sizes:
        yield start, len(sizes)


def _condition(condition: Condition, negated: bool) -> _Json | None:
    if negated:
        return None
    parts: list[_Json] = []
    field = number_field(stored_key(condition.key))
    for comparison in condition.comparisons:
        operand = comparison.operand
        if isinstance(operand, tuple):
            parts.append({"tokens": {"$in": any_of_tokens(condition.key, operand)}})
        elif comparison.operator == "==":
            parts.append({"tokens": {"$in": [attribute_token(condition.key, operand)]}})
        elif isinstance(operand, (int, float)):
            # Bounds are inclusive, for numbers are rounded to 64-bit floats, which keeps their order but not "less".
            if comparison.operator in ("<", "<="):
                parts.append({f"least_{field}": {"$lte": float(operand)}})
            else:
                parts.append({f"greatest_{field}": {"$gte": float(operand)}})
    return _all_of(parts) if parts else None


def _all_of(parts: list[_Json]) -> _Json:
    return parts[0] if len(parts) == 1 else {"$and": parts}


def _any_of(parts: list[_Json]) -> _Json:
    return parts[0] if len(parts) == 1 else {"$or": parts}


_DIALECT: FilterDialect[_Json] = FilterDialect(_condition, _all_of, _any_of)


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None) or getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _error_type(error: Exception) -> type[BackendError]:
    # By status rather than by class: the classes of Pinecone's errors differ from version to version.
    status = _status(error)
    if isinstance(error, TimeoutError):
        return BackendTimeoutError
    if isinstance(error, (TypeError, ValueError)) or (status is not None and status < 500 and status not in (408, 429)):
        return BackendError
    return BackendUnavailableError
