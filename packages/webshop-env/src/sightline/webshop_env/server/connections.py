"""Connections that cannot be held open for nothing: time-outs for half-sent requests, and a bound on their number."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

_BUSY: Final = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\nretry-after: 5\r\n\r\n"
_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a connection may take."""

    header_seconds: float = 10.0
    """Seconds from the first moment of a request, or of the connection, to the end of its headers."""
    body_seconds: float = 60.0
    """Seconds from the end of the headers to the end of the body."""
    connections: int = 2_000
    """Number of connections that may be open at once."""

    def __post_init__(self) -> None:
        if not (self.header_seconds > 0 and self.body_seconds > 0 and self.connections >= 1):
            raise ValueError(f"limits of connections must be above 0: {self}")


class LimitedProtocol(H11Protocol):
    """One connection; the time that a request may take does not begin anew with each byte.

    Attributes:
        limits: limits of every connection.
    """

    limits = ConnectionLimits()

    def __init__(self, config: Config, *arguments: Any, **keywords: Any) -> None:
        super().__init__(config, *arguments, **keywords)
        self._deadline: asyncio.TimerHandle | None = None
        self._awaited: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Refuse a connection above the limit, and begin to wait for a request on the others."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.write(_BUSY)
            transport.close()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; they buy time only where they complete the headers or the body."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        awaited = self.conn.their_state
        if awaited is self._awaited:
            return
        self._forget()
        self._awaited = awaited
        seconds = {h11.IDLE: self.limits.header_seconds, h11.SEND_BODY: self.limits.body_seconds}.get(awaited)
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self._expire)

    def _forget(self) -> None:
        self._awaited = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        if self.transport.is_closing() or self.conn.their_state is not self._awaited:
            return
        # Between requests the server's own keep-alive time-out decides; it has closed the connection by then.
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and self.cycle is None:
            self.transport.write(_LATE)
        self.transport.close()


def limited_protocol(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol with limits, to be given as `uvicorn.Config(http=...)`."""
    return type("LimitedProtocol", (LimitedProtocol,), {"limits": limits})
