"""One backend with bounded retries, and passed over for a cooldown after it failed: a circuit breaker (Nygard 2007).

This module knows when to ask a backend, not what it is asked or what happens instead.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sightline.retrieval.backends.protocol import (
    BackendCooldownError,
    BackendLimitError,
    BackendUnavailableError,
    VectorBackend,
)
from sightline.retrieval.errors import (
    DuplicateDocumentError,
    EncoderMismatchError,
    FilterError,
    InvalidDocumentError,
    InvalidQueryError,
    UnknownDocumentError,
)
from sightline.retrieval.operation_log import current_correlation_id

logger = logging.getLogger(__name__)

CALLER_ERRORS = (
    DuplicateDocumentError,
    EncoderMismatchError,
    FilterError,
    InvalidDocumentError,
    InvalidQueryError,
    UnknownDocumentError,
)
"""Answers rather than failures: asking another backend would hide them."""

_PASSING = (BackendUnavailableError, OSError)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often one operation is tried on one backend; the waits double from try to try.

    Raises:
        ValueError: a number is out of range.
    """

    attempts: int = 2
    """Tries per backend, the first included; only what may pass (`BackendUnavailableError`, `OSError`) is retried."""
    first_delay: float = 0.1
    """Seconds before the second try."""
    max_delay: float = 2.0
    """Seconds that a wait does not exceed."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.attempts < 1 or self.first_delay < 0 or self.max_delay < 0:
            raise ValueError(f"attempts must be at least 1 and delays not negative, not {self!r}")

    def delay(self, failures: int) -> float:
        """Return seconds to wait after so many failures, 1 or more."""
        return min(self.first_delay * 2.0 ** (failures - 1), self.max_delay)


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One try that did not succeed."""

    backend: str
    operation: str
    error: Exception


class BackendGivenUpError(Exception):
    """A backend failed, as often as it was tried; the list of attempts has the reasons."""


class CircuitBreaker:
    """Asks a backend as long as that makes sense; safe to use from several threads.

    After an operation has failed for good the circuit is open: the backend is passed over for `cooldown` seconds. The
    first caller after that asks for its health (half-open), and the circuit closes if that is good.

    Args:
        backend: backend to ask.
        retries: policy of trying again.
        cooldown: seconds to pass it over after a failure.
        clock: function that returns seconds on a clock that never goes back.
        sleep: function that waits a number of seconds.
    """

    def __init__(
        self,
        backend: VectorBackend,
        retries: RetryPolicy,
        cooldown: float,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.backend = backend
        self.missing_writes: set[str] = set()
        """Ids of documents whose last write did not reach the backend; changed by whoever writes."""
        self._retries = retries
        self._cooldown = cooldown
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._open_until: float | None = None

    @property
    def name(self) -> str:
        """The backend's name."""
        return self.backend.name

    def call(self, operation: str, act: Callable[[VectorBackend], _Result], attempts: list[FailedAttempt]) -> _Result:
        """Do something with the backend.

        Args:
            operation: name of it in attempts and logs.
            act: function that does it, and may do it again.
            attempts: list to which failures are appended.

        Returns:
            What `act` returned.

        Raises:
            BackendGivenUpError: it failed, or the backend was passed over.
            Exception: of `CALLER_ERRORS`, as `act` raised it.
        """
        self._require_closed(operation, attempts)
        for number in range(1, self._retries.attempts + 1):
            try:
                result = act(self.backend)
            except CALLER_ERRORS:
                raise
            except Exception as error:  # whatever a backend raises, another one may answer
                self._note(operation, error, attempts)
                if isinstance(error, BackendLimitError):
                    raise BackendGivenUpError from error
                if number == self._retries.attempts or not isinstance(error, _PASSING):
                    self._trip()
                    raise BackendGivenUpError from error
                self._sleep(self._retries.delay(number))
            else:
                return result
        raise AssertionError("a policy has at least one attempt")

    def probe(self, attempts: list[FailedAttempt]) -> None:
        """Ask for the backend's health now, cooldown or not, and use it or pass it over accordingly.

        Args:
            attempts: list to which a failure is appended.

        Raises:
            BackendGivenUpError: it is not healthy.
        """
        try:
            self.backend.check_health()
        except EncoderMismatchError:
            raise
        except Exception as error:
            self._note("health", error, attempts)
            self._trip()
            raise BackendGivenUpError from error
        with self._lock:
            self._open_until = None

    def _require_closed(self, operation: str, attempts: list[FailedAttempt]) -> None:
        with self._lock:
            if self._open_until is None:
                return
            remaining = self._open_until - self._clock()
            if remaining <= 0:
                # This caller asks for the health; others pass the backend over meanwhile.
                self._open_until = self._clock() + self._cooldown
        if remaining > 0:
            error = BackendCooldownError(f"{self.name}: passed over for another {remaining:.1f} s after a failure")
            attempts.append(FailedAttempt(self.name, operation, error))
            raise BackendGivenUpError from error
        self.probe(attempts)

    def _trip(self) -> None:
        with self._lock:
            self._open_until = self._clock() + self._cooldown

    def _note(self, operation: str, error: Exception, attempts: list[FailedAttempt]) -> None:
        attempts.append(FailedAttempt(self.name, operation, error))
        logger.warning(
            "backend %s failed to %s: %s: %s",
            self.name,
            operation,
            type(error).__name__,
            str(error)[:500],
            extra={
                "operation": operation,
                "backend": self.name,
                "outcome": type(error).__name__,
                "correlation_id": current_correlation_id(),
            },
        )
