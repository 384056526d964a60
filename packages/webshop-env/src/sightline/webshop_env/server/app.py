"""The application: the JSON API, the pages for people and the adapters' protocols around one table of sessions."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from sightline.webshop_env.server.api import PREFIX, answer_http_error, create_api
from sightline.webshop_env.server.metrics import Metrics
from sightline.webshop_env.server.security import Guard, check_token
from sightline.webshop_env.server.sessions import Sessions

if TYPE_CHECKING:
    from sightline.webshop_env.rules.shop import Shop
    from sightline.webshop_env.server.pictures import Pictures


def create_app(
    shop: Shop,
    *,
    token: str | None = None,
    sessions: Sessions | None = None,
    trajectories: Path | None = None,
    run: Path | None = None,
    pictures: Pictures | None = None,
) -> FastAPI:
    """Put the server together; run it in one process, whose memory holds the sessions.

    The JSON API is at `/api/v1`, figures for Prometheus at `/metrics`, AgentGym's routes at `/agentgym`, the OpenEnv
    protocol at `/openenv` where `openenv` is installed, and the pages for people at `/`.

    Args:
        shop: shop in which all episodes take place.
        token: secret that every request must bring; without one only requests to this machine's own names are answered.
        sessions: the table of open sessions; one with the default limits when None.
        trajectories: folder of the files that people open and save; without one they can do neither.
        run: folder of an experiment's run, whose recorded episodes people can open, too.
        pictures: product pictures to show, fetched from where the catalogue says; None asks nothing of other machines.

    Raises:
        ValueError: for a weak token, or sessions of another shop.
    """
    if token is not None:
        check_token(token)
    if sessions is None:
        sessions = Sessions(shop)
    elif sessions.shop is not shop:
        raise ValueError("the sessions belong to another shop than the one to be served")
    from sightline.webshop_env.adapters import agentgym
    from sightline.webshop_env.server import web

    openenv_app = _openenv_app(shop, sessions.capacity)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        # An application does not start and stop those mounted in it by itself.
        async with openenv_app.router.lifespan_context(openenv_app) if openenv_app else nullcontext():
            yield

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(Metrics, sessions=sessions)  # inside the guard, which decides who may read the figures
    app.add_middleware(Guard, token=token)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.mount(PREFIX, create_api(sessions))
    app.include_router(agentgym.create_router(shop), prefix="/agentgym")
    if openenv_app is not None:
        app.mount("/openenv", openenv_app)
    app.include_router(web.create_router(sessions, trajectories, run, pictures))
    return app


def _openenv_app(shop: Shop, capacity: int) -> FastAPI | None:
    if importlib.util.find_spec("openenv") is None:
        return None
    from sightline.webshop_env.adapters import openenv

    return openenv.create_app(shop, capacity)
