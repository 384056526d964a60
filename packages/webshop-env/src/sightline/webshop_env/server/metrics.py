"""Figures for those who run the server, in the text format that Prometheus reads."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sightline.webshop_env.server.sessions import Sessions

METRICS_PATH: Final = "/metrics"


class Metrics:
    """ASGI middleware that counts requests and answers `/metrics`.

    Args:
        app: application to count the requests of.
        sessions: table of open sessions.
    """

    def __init__(self, app: ASGIApp, *, sessions: Sessions) -> None:
        self._app = app
        self._sessions = sessions
        self._requests: Counter[int] = Counter()
        self._seconds = 0.0
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `/metrics`, or count a request and pass it on; the ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == METRICS_PATH:
            await Response(self.text(), media_type="text/plain; version=0.0.4")(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._in_flight += 1
        try:
            await self._app(scope, receive, note)
        finally:
            self._in_flight -= 1
            self._requests[status] += 1
            self._seconds += time.perf_counter() - started

    def text(self) -> str:
        """Return all figures, one a line under its type."""
        requests = [
            f'sightline_requests_total{{status="{code}"}} {count}' for code, count in sorted(self._requests.items())
        ]
        return "\n".join(
            [
                "# TYPE sightline_sessions_open gauge",
                f"sightline_sessions_open {len(self._sessions)}",
                "# TYPE sightline_sessions_capacity gauge",
                f"sightline_sessions_capacity {self._sessions.capacity}",
                "# TYPE sightline_steps_total counter",
                f"sightline_steps_total {self._sessions.steps}",
                "# TYPE sightline_requests_in_flight gauge",
                f"sightline_requests_in_flight {self._in_flight}",
                "# TYPE sightline_requests_total counter",
                *requests,
                "# TYPE sightline_request_seconds_total counter",
                f"sightline_request_seconds_total {self._seconds:.6f}",
                "",
            ]
        )
