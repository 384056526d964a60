"""What every remote database has in common for its backend: when it is connected, how it is logged, how it fails.

This module knows no database.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from sightline.retrieval.backends.protocol import BackendError
from sightline.retrieval.backends.remote_record import document_of
from sightline.retrieval.errors import StoreError
from sightline.retrieval.operation_log import logged_operation
from sightline.retrieval.store.document import Document

logger = logging.getLogger(__name__)

_ERROR_CHARACTERS = 500


class RemoteCollection:
    """A collection in a remote database, prepared when it is first used.

    Args:
        backend: name of the backend, for logs and errors.
        place: name of the collection in errors, for example "Qdrant collection 'documents'".
        encoder_name: name of the encoder whose vectors it holds.
        prepare: function that makes or checks the collection; run again at the next use if it raises.
        error_type: function from a failure of the client to the kind of backend error that it is.
        turn: lock around each operation, for a client that only one thread may use at a time.
    """

    def __init__(
        self,
        backend: str,
        place: str,
        encoder_name: str,
        *,
        prepare: Callable[[], None],
        error_type: Callable[[Exception], type[BackendError]],
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        self.place = place
        self._backend = backend
        self._encoder_name = encoder_name
        self._prepare = prepare
        self._error_type = error_type
        self._turn = nullcontext() if turn is None else turn
        self._prepared = False
        self._closed = False

    @contextmanager
    def operation(self, operation: str, **fields: object) -> Generator[None]:
        """Run the block as one operation: log it, prepare the collection before the first, name the client's errors.

        Args:
            operation: name of what the block does, in one word.
            **fields: sizes and settings to log.

        Raises:
            BackendError: the client failed, or `close` was called.
        """
        with logged_operation(logger, operation, backend=self._backend, **fields), self._turn:
            if self._closed:  # a client would open a connection again, and nobody would close it
                raise BackendError(f"{self._backend}: the backend was closed")
            try:
                if not self._prepared:
                    self._prepare()
                    self._prepared = True
                yield
            except StoreError:
                raise
            except Exception as error:  # a client, a transport and a database, each with errors of its own
                reason = str(error)[:_ERROR_CHARACTERS] or type(error).__name__
                raise self._error_type(error)(f"{self._backend}: {self.place}: {reason}") from error

    def document(self, fields: Mapping[str, object] | None) -> Document:
        """Return the document of a record that came back.

        Args:
            fields: fields of the record beside its vector.

        Raises:
            EncoderMismatchError: the record was written with another encoder.
            ForeignRecordError: the record is not one of this package's.
        """
        found = fields or {}
        return document_of(
            found.get("document"), found.get("encoder"), expected_encoder=self._encoder_name, place=self.place
        )

    def close(self) -> None:
        """Refuse every later operation."""
        self._closed = True
