"""The cookie by which a browser names its session: scripts cannot read it and other sites cannot send it."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from fastapi import Cookie, Request, Response
from fastapi.responses import RedirectResponse

from sightline.webshop_env.server.sessions import Session

NAME: Final = "sightline_session"

SessionCookie: TypeAlias = Annotated[str | None, Cookie(alias=NAME)]
"""The session's identifier as a parameter of a handler."""


def enter(session: Session, request: Request) -> Response:
    """Send a browser to the play page, with this session as its own."""
    response = RedirectResponse("/play", status_code=303)
    secure = request.url.scheme == "https"
    response.set_cookie(NAME, session.identifier, path="/", httponly=True, samesite="strict", secure=secure)
    return response


def forget(response: Response) -> None:
    """Have a browser drop its session's name."""
    response.delete_cookie(NAME, path="/", httponly=True, samesite="strict")
