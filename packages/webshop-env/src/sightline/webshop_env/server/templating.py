"""Makes pages for people from the templates, and turns whatever goes wrong on the way into such a page.

Every value is escaped by the templates' engine. Nothing here knows what the pages are about.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException

from sightline.webshop_env.episodes.recording import RecordingError
from sightline.webshop_env.errors import GoalError, WebShopError
from sightline.webshop_env.server.cookie import forget
from sightline.webshop_env.server.pictures import PictureError
from sightline.webshop_env.server.sessions import CapacityError, SessionError, TrailError
from sightline.webshop_env.server.shelf import ShelfError

_HERE = Path(__file__).parent
_MEDIA_TYPES = {"icon.svg": "image/svg+xml", "style.css": "text/css", "viewer.js": "text/javascript"}
_STATIC = {name: (_HERE / "static" / name).read_bytes() for name in _MEDIA_TYPES}
_ERRORS: dict[type[WebShopError], tuple[int, str]] = {
    SessionError: (404, "This episode is over"),
    GoalError: (404, "There is no such goal"),
    ShelfError: (404, "Not on the shelf"),
    PictureError: (404, "There is no picture"),
    RecordingError: (409, "This recording does not fit"),
    TrailError: (409, "The episode is too long"),
    CapacityError: (503, "The shop is full"),
}

_log = logging.getLogger(__name__)


class PageRoute(APIRoute):
    """A route whose errors are pages, never tracebacks."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with everything it raises caught; FastAPI's way to wrap all handlers of a router."""
        handle = super().get_route_handler()

        async def handle_all(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:  # whatever happens, people get a page
                return _error_page(error)

        return handle_all


def add_static(router: APIRouter) -> None:
    """Serve the style sheet and the script; their addresses change with their content, so that they can be cached."""
    for name in _STATIC:
        router.add_api_route(f"/static/{name}", partial(_static, name), methods=["GET"], response_class=Response)


def render(template: str, *, status: int = 200, **context: object) -> HTMLResponse:
    """Fill in a template.

    Args:
        template: file name in the folder of templates.
        status: HTTP status of the answer.
        context: the template's variables, all of them.
    """
    html = _TEMPLATES.get_template(template).render(context)
    response = HTMLResponse(html.encode("utf-8", "replace"), status_code=status)
    # Going back in the browser shows where the episode stands, not where it stood.
    response.headers["cache-control"] = "no-store"
    return response


def _static(name: str) -> Response:
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(_STATIC[name], media_type=_MEDIA_TYPES[name], headers=headers)


def _static_url(name: str) -> str:
    return f"/static/{name}?v={hashlib.sha256(_STATIC[name]).hexdigest()[:12]}"


def _error_page(error: Exception) -> Response:
    if isinstance(error, WebShopError):
        known = (entry for kind, entry in _ERRORS.items() if isinstance(error, kind))
        status, title = next(known, (400, "That did not work"))
        message = str(error)
    elif isinstance(error, RequestValidationError):
        first = error.errors()[0]
        status, title = 422, "Something in the form or address is wrong"
        message = f"{first['loc'][-1]}: {first['msg']}"
    elif isinstance(error, HTTPException):
        status, title, message = error.status_code, HTTPStatus(error.status_code).phrase, error.detail
    else:
        _log.error("a page could not be made", exc_info=error)
        status, title, message = 500, "Something broke", "The server's log says what. The episode is as it was."
    response = render("error.html", status=status, code=status, title=title, message=message[:2000])
    if isinstance(error, SessionError):
        forget(response)
    return response


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


_TEMPLATES = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined)
_TEMPLATES.trim_blocks = _TEMPLATES.lstrip_blocks = True
_TEMPLATES.filters |= {"day": _day, "size": _size, "static_url": _static_url}
