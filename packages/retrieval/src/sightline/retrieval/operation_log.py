"""Correlation ids: what one request caused, in the logs of every part that worked on it.

The id travels in a context variable, so it follows calls and asyncio tasks but not threads that are started meanwhile.
This module does not know what the operations do.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

_MAX_CHARACTERS = 128

_current: ContextVar[str | None] = ContextVar("sightline_correlation_id", default=None)


def current_correlation_id() -> str | None:
    """Return the id of the operation in whose context this runs, or None."""
    return _current.get()


@contextmanager
def correlated(correlation_id: str) -> Generator[None]:
    """Give every operation inside the block this correlation id.

    Args:
        correlation_id: id of 1 to 128 printable characters, for example the id of a request.

    Raises:
        TypeError: not a string.
        ValueError: empty, too long, or with characters that could forge a line of a log.
    """
    if not isinstance(correlation_id, str):
        raise TypeError(f"a correlation id is a string, not {type(correlation_id).__name__}")
    if not 1 <= len(correlation_id) <= _MAX_CHARACTERS or not correlation_id.isprintable():
        raise ValueError(
            f"a correlation id has 1 to {_MAX_CHARACTERS} printable characters, not "
            f"{correlation_id[:_MAX_CHARACTERS]!r}"
        )
    token = _current.set(correlation_id)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def logged_operation(logger: logging.Logger, operation: str, **fields: object) -> Generator[None]:
    """Log one DEBUG record when the block ends, and give the block a correlation id if it has none.

    The record carries `operation`, `correlation_id`, `duration_ms`, `outcome` ("ok" or the name of the
    exception) and `fields` as attributes (`extra` of `logging`), for handlers that write JSON.

    Args:
        logger: logger of the module.
        operation: name of what the block does, in one word.
        **fields: sizes and settings; no names that `logging.LogRecord` uses itself.
    """
    correlation_id = _current.get() or uuid.uuid4().hex[:16]
    token = _current.set(correlation_id)
    start, outcome = time.perf_counter(), "ok"
    try:
        yield
    except BaseException as error:
        outcome = type(error).__name__
        raise
    finally:
        _current.reset(token)
        milliseconds = round(1000 * (time.perf_counter() - start), 3)
        logger.debug(
            "%s: %s in %.1f ms",
            operation,
            outcome,
            milliseconds,
            extra={
                "operation": operation,
                "correlation_id": correlation_id,
                "duration_ms": milliseconds,
                "outcome": outcome,
                **fields,
            },
        )
