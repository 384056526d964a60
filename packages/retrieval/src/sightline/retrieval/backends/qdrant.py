"""Documents in a Qdrant collection: embedded in the process, or on a server, through the same client.

Filters: equality, `in` and number ranges are Qdrant's to decide; ranges of strings, several comparisons that one
value must pass together where negated, and bounds beyond 2**53 are decided here, by fetching more. An embedded
collection is searched exactly; a server searches its graph index, approximately. On a server with many documents,
create a keyword index on the payload field `tokens`. This module does not know who asks or what else could answer.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.backends.filter_translation import FilterDialect, best_matching, superset
from sightline.retrieval.backends.protocol import BackendError, BackendTimeoutError, BackendUnavailableError
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

try:
    import httpx
    from qdrant_client import QdrantClient, models
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
except ImportError as problem:
    raise ImportError(
        f"{problem.name} is not installed, and QdrantBackend needs it; "
        "install it with: pip install 'sightline-retrieval[qdrant]'"
    ) from problem

_BATCH = 256
_PAYLOAD = ["document", "encoder"]
_RANGE_NAMES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_EXACT_FLOAT = 2**53


class QdrantBackend:
    """A Qdrant collection as a `VectorBackend`.

    Connects when it is first used, and then makes the collection if there is none. Every record names its encoder, and
    one of another encoder is refused. An embedded client is used by one thread at a time.

    Args:
        client: `QdrantClient(path=...)` or `QdrantClient(":memory:")` to embed it, `QdrantClient(url=..., timeout=...)`
            for a server; `close` closes it.
        encoder: encoder of the vectors in the collection; only its name and dimension are used.
        collection: name of the collection, which must hold nothing else.
        name: name of this backend in results and logs.

    Raises:
        ImportError: (on import) the extra `qdrant` is not installed.
    """

    def __init__(
        self, client: QdrantClient, encoder: TextEncoder, *, collection: str = "documents", name: str = "qdrant"
    ) -> None:
        self.name = name
        self.encoder_name = encoder.name
        self.dimension = encoder.dimension
        self._client = client
        self._collection = collection
        embedded = client.init_options.get("path") is not None or client.init_options.get("location") == ":memory:"
        self._remote = RemoteCollection(
            name,
            f"Qdrant collection {collection!r}",
            encoder.name,
            prepare=self._prepare,
            error_type=_error_type,
            turn=threading.Lock() if embedded else None,
        )

    def upsert(self, documents: Sequence[Document], vectors: UnitVectors) -> None:
        """Write documents with `vectors` [n, dimension], in batches of 256; see `VectorBackend.upsert`."""
        records = remote_records(documents)
        vectors.require_shape((len(records), self.dimension), "vectors", InvalidDocumentError)
        with self._remote.operation("upsert", documents=len(records)):
            for start in range(0, len(records), _BATCH):
                stop = start + _BATCH
                points = [
                    models.PointStruct(id=record.id, vector=row.tolist(), payload=self._payload(record))
                    for record, row in zip(records[start:stop], vectors.rows[start:stop], strict=True)
                ]
                self._client.upsert(self._collection, points=points, wait=True)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the documents that are there; see `VectorBackend.delete`."""
        points: list[models.ExtendedPointId] = [record_id(document_id) for document_id in checked_ids(ids)]
        with self._remote.operation("delete", documents=len(points)):
            if points:
                self._client.delete(self._collection, points_selector=models.PointIdsList(points=points), wait=True)

    def get(self, document_id: str) -> Document:
        """Return the document of this id; see `VectorBackend.get`.

        Raises:
            UnknownDocumentError: there is no document of this id.
        """
        point = record_id(checked_id(document_id))
        with self._remote.operation("get"):
            found = self._client.retrieve(self._collection, ids=[point], with_payload=_PAYLOAD)
            if not found:
                raise UnknownDocumentError(f"{self.name} has no document {document_id[:MAX_ID_CHARACTERS]!r}")
            return self._remote.document(found[0].payload)

    def search(
        self, vectors: UnitVectors, *, top_k: int, min_score: float | None = None, where: Where | None = None
    ) -> list[list[SearchHit]]:
        """Find the documents most similar to each of `vectors` [q, dimension]; see `VectorBackend.search`."""
        top_k, min_score = checked_search(top_k, min_score)
        vectors.require_shape((len(vectors), self.dimension), "queries", InvalidQueryError)
        chosen = None if where is None else parse_filter(where)
        native = None if chosen is None else superset(chosen, _DIALECT)
        with self._remote.operation("search", queries=len(vectors), top_k=top_k, filtered=where is not None):
            return [
                best_matching(partial(self._nearest, row, native), chosen, top_k=top_k, min_score=min_score)
                for row in vectors.rows
            ]

    def count(self) -> int:
        """Return the number of documents."""
        with self._remote.operation("count"):
            return self._client.count(self._collection, exact=True).count

    def check_health(self) -> None:
        """Return if the collection is there and fits.

        Raises:
            BackendError: it is not, or the server cannot be reached.
        """
        with self._remote.operation("health"):
            self._client.get_collection(self._collection)

    def close(self) -> None:
        """Close the client."""
        self._remote.close()
        self._client.close()

    def _nearest(self, row: NDArray[np.float32], native: models.Filter | None, limit: int) -> list[SearchHit]:
        found = self._client.query_points(
            self._collection, query=row.tolist(), query_filter=native, limit=limit, with_payload=_PAYLOAD
        )
        return [
            SearchHit(self._remote.document(point.payload), float(np.clip(point.score, -1.0, 1.0)))
            for point in found.points
        ]

    def _payload(self, record: RemoteRecord) -> dict[str, object]:
        return {
            "document": record.document,
            "encoder": self.encoder_name,
            "tokens": record.tokens,
            "numbers": record.numbers,
        }

    def _prepare(self) -> None:
        if not self._client.collection_exists(self._collection):
            vectors = models.VectorParams(size=self.dimension, distance=models.Distance.COSINE)
            self._client.create_collection(self._collection, vectors_config=vectors)
            return
        params = self._client.get_collection(self._collection).config.params.vectors
        if not isinstance(params, models.VectorParams) or params.distance != models.Distance.COSINE:
            raise BackendError(
                f"{self._remote.place} does not hold one vector per record with cosine distance; use another"
            )
        if params.size != self.dimension:
            raise EncoderMismatchError(
                f"{self._remote.place} holds vectors of length {params.size}, encoder {self.encoder_name!r} makes "
                f"{self.dimension}; use another collection"
            )
        sample, _ = self._client.scroll(self._collection, limit=1, with_payload=_PAYLOAD)
        for record in sample:
            self._remote.document(record.payload)


def _condition(condition: Condition, negated: bool) -> models.Filter | None:
    parts: list[models.Condition] = []
    bounds: dict[str, float] = {}
    exact = True
    for comparison in condition.comparisons:
        operand = comparison.operand
        if isinstance(operand, tuple):
            tokens = models.MatchAny(any=any_of_tokens(condition.key, operand))
            parts.append(models.FieldCondition(key="tokens", match=tokens))
        elif comparison.operator == "==":
            token = models.MatchValue(value=attribute_token(condition.key, operand))
            parts.append(models.FieldCondition(key="tokens", match=token))
        elif isinstance(operand, (int, float)) and abs(operand) < _EXACT_FLOAT:
            bounds[_RANGE_NAMES[comparison.operator]] = operand
        else:
            exact = False
    if bounds:
        field = f"numbers.{number_field(stored_key(condition.key))}"
        parts.append(models.FieldCondition(key=field, range=models.Range(**bounds)))
    if not negated:
        return models.Filter(must=parts) if parts else None
    return models.Filter(must_not=parts) if exact and len(parts) == 1 else None


_DIALECT: FilterDialect[models.Filter] = FilterDialect(
    _condition,
    lambda parts: models.Filter(must=list(parts)),
    lambda parts: models.Filter(should=list(parts)),
)


def _error_type(error: Exception) -> type[BackendError]:
    if isinstance(error, ResponseHandlingException):
        return BackendTimeoutError if isinstance(error.source, httpx.TimeoutException) else BackendUnavailableError
    if isinstance(error, UnexpectedResponse):
        passing = error.status_code in (408, 429) or (error.status_code or 0) >= 500
        return BackendUnavailableError if passing else BackendError
    return BackendUnavailableError if isinstance(error, (ResourceExhaustedResponse, OSError)) else BackendError
