"""Who may talk to the server, and what a browser may do with its answers: one layer around the whole application.

Without a token only this machine is served, and requests that a foreign web page could have caused are refused; with
one, every request must bring it. The layer knows nothing of the shop.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import secrets
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response

from sightline.webshop_env.episodes.snapshot import MAX_SNAPSHOT_BYTES

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 2 * MAX_SNAPSHOT_BYTES
"""A request body; enough for the largest snapshot in base64."""

MIN_TOKEN_LENGTH: Final = 16
COOKIE: Final = "sightline_token"
HEALTH_PATH: Final = "/api/v1/health"

_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not "no-referrer": under it browsers send the origin of our own forms as "null".
    "referrer-policy": "same-origin",
}
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY_VIOLATION = 1008  # a WebSocket close code, RFC 6455 section 7.4.1


def check_token(token: str) -> None:
    """Refuse tokens that cannot be sent in a header or are easily guessed.

    Raises:
        ValueError: if the token is short or has characters other than visible ASCII.
    """
    if len(token) < MIN_TOKEN_LENGTH or not all("!" <= character <= "~" for character in token):
        raise ValueError(
            f"a token needs at least {MIN_TOKEN_LENGTH} visible ASCII characters and no space; "
            "`openssl rand -hex 16` makes a good one"
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without port, means this machine and nothing else."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def error_response(status: int, code: str, message: str) -> Response:
    """Return an error as JSON, `{"error": {"code": ..., "message": ...}}`, in ASCII: a message may quote anything."""
    body = json.dumps({"error": {"code": code, "message": message}})
    return Response(body, status_code=status, media_type="application/json")


class Guard:
    """ASGI middleware that turns away whatever the application should not see, and adds headers to its answers.

    In this order: a `Host` other than this machine's (where there is no token; against DNS rebinding), a change asked
    for by another origin's page, a missing or wrong token, a body above the limit. The token comes as `Authorization:
    Bearer`, or as the cookie that a visit to `/?token=...`` sets; the cookie holds a digest, never the token.

    Args:
        app: what to guard.
        token: what every request but the one for `HEALTH_PATH` must bring; None on loopback only.

    Raises:
        ValueError: for a token that `check_token` refuses.
    """

    def __init__(self, app: ASGIApp, *, token: str | None = None) -> None:
        if token is not None:
            check_token(token)
        self._app = app
        self._token = token
        self._cookie = "" if token is None else hashlib.sha256(f"sightline cookie {token}".encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in the application's place, or pass the request on; the ASGI interface."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, _bounded(receive), send_with_headers)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            await refusal(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that the application does not get to see; None for a good one."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._token is None and not is_loopback(_host_name(host)):
            return error_response(403, "foreign_host", f"this server answers to localhost only, not to {host[:80]!r}")
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changes and not _same_origin(headers, host):
            return error_response(403, "foreign_origin", "pages of other sites may not use this server")
        if self._token is not None and scope["path"] != HEALTH_PATH:
            if scope["type"] == "http" and scope["path"] == "/" and self._is_token(_query_token(scope)):
                return self._welcome()
            if not self._authorised(HTTPConnection(scope)):
                return _unauthorised()
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES:
            return error_response(413, "body_too_large", _too_large())
        return None

    def _is_token(self, candidate: str) -> bool:
        return secrets.compare_digest(candidate.encode("utf-8", "replace"), str(self._token).encode())

    def _authorised(self, connection: HTTPConnection) -> bool:
        scheme, _, credentials = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._is_token(credentials.strip())
        held = connection.cookies.get(COOKIE, "")
        return secrets.compare_digest(held.encode("utf-8", "replace"), self._cookie.encode())

    def _welcome(self) -> Response:
        # The redirect takes the token out of the address bar and the history.
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(COOKIE, self._cookie, httponly=True, samesite="strict")
        return response


def _query_token(scope: Scope) -> str:
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]


def _host_name(host: str) -> str:
    """Return the name or address in a `Host` header, without port and brackets; "" where it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same_origin(headers: Headers, host: str) -> bool:
    """Whether a request comes from our own pages or from no page at all; only browsers send these headers."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _bounded(receive: Receive) -> Receive:
    """Return a `receive` that stops reading a body above the limit, for clients that do not announce its length."""
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                # Starlette and FastAPI pass their own exception on to the application's error handlers.
                raise HTTPException(413, _too_large())
        return message

    return receive_bounded


def _too_large() -> str:
    return f"a request body has at most {MAX_BODY_BYTES:,} bytes"


def _unauthorised() -> Response:
    message = "this server wants its token: send `Authorization: Bearer TOKEN`, or open /?token=TOKEN in a browser once"
    response = error_response(401, "unauthorized", message)
    response.headers["www-authenticate"] = "Bearer"
    return response
