"""Retrieval from several backends: the first that can answers, writes go to all.

Reading asks backends in order of preference, those that missed a write last. Writing goes to every backend and
succeeds if one takes it; the ids that a backend missed are remembered, and `RagRetriever.repair` brings them over. The
memory of what was missed is this object's: it ends with the process, and other processes do not have it, so after a
restart a backend that missed a write gives older answers until the write is repeated. Two processes that write the same
id at the same time can leave backends with different versions. This module does not know what the backends are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from numpy.typing import ArrayLike

from sightline.retrieval.awaiting import Awaited
from sightline.retrieval.backends.circuit_breaker import BackendGivenUpError, CircuitBreaker, FailedAttempt, RetryPolicy
from sightline.retrieval.backends.protocol import BackendError, VectorBackend
from sightline.retrieval.errors import EncoderMismatchError, UnknownDocumentError
from sightline.retrieval.operation_log import current_correlation_id, logged_operation
from sightline.retrieval.store.document import MAX_CONTENT_CHARACTERS, Document, SearchHit, document_records
from sightline.retrieval.store.filters import Where, parse_filter
from sightline.retrieval.store.parameters import checked_id, checked_ids, checked_search
from sightline.retrieval.text.protocol import TextEncoder
from sightline.retrieval.text.unit_vectors import Query, UnitVectors, document_vectors, encoded_texts, query_vectors

logger = logging.getLogger(__name__)

_REPAIR_DOCUMENTS = 256
_Result = TypeVar("_Result")


class AllBackendsFailedError(BackendError):
    """No backend could do what was asked; `attempts` says why each could not."""

    def __init__(self, operation: str, attempts: Sequence[FailedAttempt]) -> None:
        reasons = "; ".join(f"{type(attempt.error).__name__}: {str(attempt.error)[:200]}" for attempt in attempts)
        super().__init__(f"no backend could {operation}: {reasons}")
        self.attempts = tuple(attempts)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, and by whom."""

    hits: list[SearchHit]
    """Best first, with cosines."""
    backend: str
    """Name of the backend that answered."""
    stale: bool
    """Whether that backend missed a write, so that the hits may be those of an earlier state."""
    attempts: tuple[FailedAttempt, ...]
    """What went wrong before that, in order of time; empty if the first try succeeded."""


@dataclass(frozen=True, slots=True)
class WriteReport:
    """Which backends hold what was written."""

    written: tuple[str, ...]
    """Names of the backends that took it."""
    attempts: tuple[FailedAttempt, ...]
    """What went wrong; a backend that succeeded at a later try is in `written` too."""


@dataclass(frozen=True, slots=True)
class BackendHealth:
    """How one backend is."""

    backend: str
    error: Exception | None
    """Why it cannot answer; None if it can."""
    missing_writes: int
    """Number of documents whose last write did not reach it."""


class RagRetriever:
    """Finds documents in the first of several backends that can answer; safe to use from several threads.

    A backend that fails is tried again as `retries` says and then passed over for `cooldown` seconds. How long
    one try may take is for the backend's client to say. Mistakes of the caller, such as a filter that breaks the
    grammar, are raised and not taken to another backend.

    Args:
        backends: backends in order of preference, for example Qdrant before a `LocalBackend`; `close` closes them.
        encoder: encoder of queries and documents, asked once, whatever number of backends is asked.
        retries: policy of trying one operation again on one backend.
        cooldown: seconds for which a backend is passed over after it failed; then its health is asked first.
        clock: function that returns seconds on a clock that never goes back.
        sleep: function that waits a number of seconds.

    Raises:
        EncoderMismatchError: a backend is for another encoder or dimension.
        ValueError: no backends, two of one name, or `cooldown` is negative.
    """

    def __init__(
        self,
        backends: Sequence[VectorBackend],
        encoder: TextEncoder,
        *,
        retries: RetryPolicy = RetryPolicy(),  # noqa: B008 (it is frozen)
        cooldown: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        names = [backend.name for backend in backends]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"give at least one backend, and each a name of its own, not {names!r}")
        if not cooldown >= 0:
            raise ValueError(f"cooldown must be a number of seconds, not {cooldown!r}")
        for backend in backends:
            if (backend.encoder_name, backend.dimension) != (encoder.name, encoder.dimension):
                raise EncoderMismatchError(
                    f"backend {backend.name!r} is for encoder {backend.encoder_name!r} ({backend.dimension} numbers), "
                    f"not {encoder.name!r} ({encoder.dimension}); vectors of different encoders cannot be compared"
                )
        self._encoder = encoder
        self._members = [CircuitBreaker(backend, retries, cooldown, clock, sleep) for backend in backends]
        self._writing = threading.Lock()  # so that all backends see writes in one order

    def __enter__(self) -> RagRetriever:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def search(
        self, query: Query, *, top_k: int = 5, min_score: float | None = None, where: Where | None = None
    ) -> Answer:
        """Find the documents most similar to a query, in the first backend that can answer.

        Args:
            query: text, or a vector `[dimension]` of any length but zero.
            top_k: most hits to return.
            min_score: least cosine of a hit, -1 to 1; None for any.
            where: filter on metadata; see `sightline.retrieval.store.filters`.

        Raises:
            AllBackendsFailedError: no backend could answer.
            EncoderMismatchError: a backend turned out to hold vectors of another encoder.
            EncoderOutputError: the encoder gave vectors that are not what it promised.
            FilterError: `where` does not follow the grammar.
            InvalidQueryError: the query is blank, zero, not finite or of another dimension; a number is out of range.
        """
        return self.search_batch([query], top_k=top_k, min_score=min_score, where=where)[0]

    def search_batch(
        self,
        queries: Sequence[Query],
        *,
        top_k: int = 5,
        min_score: float | None = None,
        where: Where | None = None,
    ) -> list[Answer]:
        """Find the documents most similar to each of several queries, all in the same backend.

        Args:
            queries: texts, vectors or both.
            top_k: most hits to return per query.
            min_score: least cosine of a hit, -1 to 1; None for any.
            where: filter on metadata.

        Raises:
            AllBackendsFailedError: no backend could answer; the others are as for `search`.
        """
        top_k, min_score = checked_search(top_k, min_score)
        if where is not None:
            parse_filter(where)
        with logged_operation(logger, "retrieve", queries=len(queries), top_k=top_k, filtered=where is not None):
            vectors = query_vectors(self._encoder, queries, max_characters=MAX_CONTENT_CHARACTERS)
            attempts: list[FailedAttempt] = []
            found, source = self._first(
                "search",
                lambda backend: backend.search(vectors, top_k=top_k, min_score=min_score, where=where),
                attempts,
            )
            return [Answer(hits, source.name, bool(source.missing_writes), tuple(attempts)) for hits in found]

    def get(self, document_id: str) -> Document:
        """Return the document of this id, from the first backend that can answer.

        Raises:
            AllBackendsFailedError: no backend could answer.
            TypeError: the id is not a string.
            UnknownDocumentError: the backend that answered has no document of this id.
        """
        checked_id(document_id)
        with logged_operation(logger, "retrieve_document"):
            return self._first("get", lambda backend: backend.get(document_id), [])[0]

    def upsert(self, documents: Iterable[Document], vectors: ArrayLike | UnitVectors | None = None) -> WriteReport:
        """Write documents to every backend, replacing those that have their ids.

        Args:
            documents: documents to write, each id once.
            vectors: embeddings `[n, dimension]` in the encoder's space, of any length but zero; None to encode the
                contents.

        Returns:
            Who took them; at least one did. `repair` brings them to the others later, as does repeating the call.

        Raises:
            AllBackendsFailedError: no backend took them all; some may hold a part. Repeat the call.
            DuplicateDocumentError: an id is twice among the documents.
            EncoderMismatchError: a backend turned out to hold vectors of another encoder.
            EncoderOutputError: the encoder gave vectors that are not what it promised.
            InvalidDocumentError: metadata is too large, or a vector is zero, not finite or of another dimension.
            TypeError: something is not a `Document`.
        """
        documents = list(documents)
        document_records(documents)
        with logged_operation(logger, "write", documents=len(documents)):
            rows = document_vectors(self._encoder, [document.content for document in documents], vectors)
            ids = [document.id for document in documents]
            return self._write("upsert", ids, lambda backend: backend.upsert(documents, rows))

    def delete(self, ids: Iterable[str]) -> WriteReport:
        """Delete documents from every backend; ids that are not there are passed over.

        Returns:
            Who did; at least one. `repair` deletes them from the others later, as does repeating the call.

        Raises:
            AllBackendsFailedError: no backend did. Repeat the call.
            TypeError: a single string was given, or something is not a string.
        """
        unwanted = checked_ids(ids)
        with logged_operation(logger, "remove", documents=len(unwanted)):
            return self._write("delete", unwanted, lambda backend: backend.delete(unwanted))

    def repair(self) -> WriteReport:
        """Bring to every backend what it missed, from one that has it.

        Returns:
            Which backends miss nothing now, and what went wrong with the others; call again when they are back.

        Raises:
            EncoderMismatchError: a backend turned out to hold vectors of another encoder.
        """
        attempts: list[FailedAttempt] = []
        with logged_operation(logger, "repair"), self._writing:
            for member in self._members:
                self._repair(member, attempts)
            whole = tuple(member.name for member in self._members if not member.missing_writes)
        return WriteReport(whole, tuple(attempts))

    def health(self) -> list[BackendHealth]:
        """Ask every backend how it is, also those that are in their cooldown; one that is well is used again at once.

        Raises:
            EncoderMismatchError: a backend turned out to hold vectors of another encoder.
        """
        report = []
        with logged_operation(logger, "health"):
            for member in self._members:
                attempts: list[FailedAttempt] = []
                try:
                    member.probe(attempts)
                    error = None
                except BackendGivenUpError:
                    error = attempts[-1].error
                report.append(BackendHealth(member.name, error, len(member.missing_writes)))
        return report

    def close(self) -> None:
        """Close all backends, also when closing one of them fails; then its exception is raised at the end."""
        with ExitStack() as stack:
            for member in self._members:
                stack.callback(member.backend.close)

    # What the methods above do, awaited.
    asearch = Awaited(search)
    asearch_batch = Awaited(search_batch)
    aget = Awaited(get)
    aupsert = Awaited(upsert)
    adelete = Awaited(delete)
    arepair = Awaited(repair)
    ahealth = Awaited(health)

    def _first(
        self, operation: str, act: Callable[[VectorBackend], _Result], attempts: list[FailedAttempt]
    ) -> tuple[_Result, CircuitBreaker]:
        for member in sorted(self._members, key=lambda member: bool(member.missing_writes)):
            try:
                result = member.call(operation, act, attempts)
            except BackendGivenUpError:
                continue
            logger.debug(
                "%s answered by backend %s after %d failed attempts",
                operation,
                member.name,
                len(attempts),
                extra={
                    "operation": operation,
                    "backend": member.name,
                    "failed_attempts": len(attempts),
                    "correlation_id": current_correlation_id(),
                },
            )
            return result, member
        raise AllBackendsFailedError(operation, attempts)

    def _write(self, operation: str, ids: Sequence[str], act: Callable[[VectorBackend], None]) -> WriteReport:
        attempts: list[FailedAttempt] = []
        reached: list[CircuitBreaker] = []
        with self._writing:
            try:
                for member in self._members:
                    try:
                        member.call(operation, act, attempts)
                    except BackendGivenUpError:
                        continue
                    reached.append(member)
            finally:
                # If nobody took it, nobody is behind the others.
                for member in self._members if reached else ():
                    if member in reached:
                        member.missing_writes.difference_update(ids)
                    else:
                        member.missing_writes.update(ids)
        if not reached:
            raise AllBackendsFailedError(operation, attempts)
        return WriteReport(tuple(member.name for member in reached), tuple(attempts))

    def _repair(self, member: CircuitBreaker, attempts: list[FailedAttempt]) -> None:
        missed = sorted(member.missing_writes)
        for start in range(0, len(missed), _REPAIR_DOCUMENTS):
            ids = missed[start : start + _REPAIR_DOCUMENTS]
            documents, gone = [], []
            try:
                for document_id in ids:
                    document = self._present_form(document_id, attempts)
                    if document is None:
                        gone.append(document_id)
                    else:
                        documents.append(document)
                rows = encoded_texts(self._encoder, [document.content for document in documents])
                if documents:
                    member.call("upsert", lambda backend, d=documents, r=rows: backend.upsert(d, r), attempts)
                if gone:
                    member.call("delete", lambda backend, g=gone: backend.delete(g), attempts)
            except (BackendGivenUpError, AllBackendsFailedError):
                return
            member.missing_writes.difference_update(ids)

    def _present_form(self, document_id: str, attempts: list[FailedAttempt]) -> Document | None:
        """Return the document as a backend that did not miss its last write has it; None if it was deleted."""
        for source in self._members:
            if document_id in source.missing_writes:
                continue
            try:
                return source.call("get", lambda backend: backend.get(document_id), attempts)
            except UnknownDocumentError:
                return None
            except BackendGivenUpError:
                continue
        raise AllBackendsFailedError("get", attempts)
