"""The JSON API under `/api/v1`: opens, steps, saves and restores sessions, and tells what the shop holds.

It knows the table of sessions and the shop's pure functions; who may call it is decided in
`server.security`. Handlers run in the event loop: a step takes some 50 us, less than a hop
to a thread, and a search among a million products a few ms, of which another thread would win little under the
interpreter's lock. In return a slow search delays whoever asks at the same time by as much.
"""

from __future__ import annotations

import base64
import random
import secrets
from html import escape
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from sightline.webshop_env.episodes.snapshot import encode
from sightline.webshop_env.errors import GoalError, SnapshotError, WebShopError
from sightline.webshop_env.goals.goals import GoalSet, draw_goal, split_indices
from sightline.webshop_env.rules.render import RENDERERS, url
from sightline.webshop_env.rules.reward import score_purchase
from sightline.webshop_env.rules.shop import Shop
from sightline.webshop_env.rules.state import PageKind, ShopState
from sightline.webshop_env.server.models import (
    ActionRequest,
    AvailableActionsView,
    BatchActionRequest,
    BatchOpenRequest,
    ErrorView,
    GoalParameters,
    GoalsView,
    GoalView,
    HealthView,
    HitsView,
    HitView,
    OpenRequest,
    OutcomeView,
    PageParameters,
    PagesView,
    PageView,
    RewardPartsView,
    SearchParameters,
    ShopView,
    SnapshotRequest,
    SnapshotView,
    StepsView,
    StepView,
)
from sightline.webshop_env.server.security import error_response
from sightline.webshop_env.server.sessions import CapacityError, Session, SessionError, Sessions, TrailError

PREFIX: Final = "/api/v1"

_ERRORS: dict[type[WebShopError], tuple[int, str]] = {
    SnapshotError: (400, "bad_snapshot"),
    SessionError: (404, "unknown_session"),
    GoalError: (404, "unknown_goal"),
    TrailError: (409, "session_full"),
    CapacityError: (503, "server_full"),
}
_STATUS_CODES = {400: "bad_request", 404: "unknown_path", 405: "wrong_method", 413: "body_too_large"}
_DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorView} for status in (400, 401, 403, 404, 409, 413, 422, 503)
}

_router = APIRouter(responses=_DOCUMENTED)


async def _open_sessions(request: Request) -> Sessions:
    # Not `def`: FastAPI would call it in a thread, for longer than a step takes.
    return request.app.state.sessions


_Sessions = Annotated[Sessions, Depends(_open_sessions)]
_PageParameters = Annotated[PageParameters, Query()]


def create_api(sessions: Sessions) -> FastAPI:
    """Make the API as an application of its own, to be mounted at `PREFIX`.

    Its answers are JSON, errors too: `{"error": {"code": ..., "message": ...}}`.

    Args:
        sessions: the table of open sessions, which others may use as well.
    """
    api = FastAPI(
        title="Sightline WebShop",
        version="1",
        description="Sessions in a WebShop-compatible shop.",
        docs_url=None,  # these pages load scripts from other servers
        redoc_url=None,
    )
    api.state.sessions = sessions
    api.include_router(_router)
    api.add_exception_handler(WebShopError, _answer_shop_error)
    api.add_exception_handler(RequestValidationError, _answer_invalid)
    api.add_exception_handler(HTTPException, answer_http_error)
    api.add_exception_handler(Exception, _answer_defect)
    return api


@_router.get("/health")
async def health() -> HealthView:
    """Whether the server answers; needs no token."""
    return HealthView(status="ok")


@_router.get("/shop")
async def describe_shop(sessions: _Sessions) -> ShopView:
    """Return what is served: catalogue, goals and limits."""
    shop = sessions.shop
    return ShopView(
        fingerprint=shop.catalogue.fingerprint,
        products=len(shop.catalogue),
        goals=len(shop.goals),
        goal_kind=shop.goals.kind,
        goal_seed=shop.goals.seed,
        step_limit=shop.step_limit,
        sessions=len(sessions),
        capacity=sessions.capacity,
        idle_seconds=sessions.idle_seconds,
    )


@_router.get("/goals")
async def list_goals(parameters: Annotated[GoalParameters, Query()], sessions: _Sessions) -> GoalsView:
    """Yield goals with their answers, in order, a stretch at a time."""
    goals = sessions.shop.goals
    indices = _indices(goals, parameters.split)
    listed = indices[parameters.offset : parameters.offset + parameters.limit]
    return GoalsView(count=len(indices), goals=[_goal_view(goals, index) for index in listed])


@_router.get("/search")
async def search(parameters: Annotated[SearchParameters, Query()], sessions: _Sessions) -> HitsView:
    """Find products by words, outside any session."""
    shop = sessions.shop
    hits = [
        HitView(asin=asin, score=score, title=shop.catalogue[asin].title, price=shop.goals.prices[asin])
        for asin, score in shop.search(parameters.query, parameters.k)
    ]
    return HitsView(hits=hits)


async def _name_client(request: Request) -> str:
    return request.client.host if request.client else "unknown"


_Client = Annotated[str, Depends(_name_client)]


@_router.post("/sessions", status_code=201)
async def open_session(
    parameters: _PageParameters, sessions: _Sessions, client: _Client, body: OpenRequest | None = None
) -> PageView:
    """Open a session; without a body at a goal drawn by weight among all."""
    session = _open(sessions, body or OpenRequest(), client)
    return PageView(**_page(sessions.shop, session, parameters))


@_router.post("/batch/sessions", status_code=201)
async def open_sessions(
    body: BatchOpenRequest, parameters: _PageParameters, sessions: _Sessions, client: _Client
) -> PagesView:
    """Open many sessions; all of them, or none."""
    opened: list[Session] = []
    try:
        for request in body.sessions:
            opened.append(_open(sessions, request, client))  # noqa: PERF401  (what was opened before an error is closed)
    except WebShopError:
        for session in opened:
            sessions.close(session.identifier)
        raise
    return PagesView(pages=[PageView(**_page(sessions.shop, session, parameters)) for session in opened])


@_router.post("/batch/actions")
async def act_in_many(body: BatchActionRequest, parameters: _PageParameters, sessions: _Sessions) -> StepsView:
    """Take one action in each of many sessions; where one is unknown, in none."""
    for identifier in body.actions:
        sessions.get(identifier)
    return StepsView(steps=[_step(sessions, each, action, parameters) for each, action in body.actions.items()])


def _open(sessions: Sessions, body: OpenRequest, client: str) -> Session:
    if body.snapshot is not None:
        return sessions.restore(_decode(body.snapshot), client=client)
    if body.split is None:
        return sessions.create(body.goal, body.seed, client=client)
    seed = secrets.randbits(32) if body.seed is None else body.seed
    goals = sessions.shop.goals
    goal = draw_goal(goals, random.Random(seed), within=_indices(goals, body.split))
    return sessions.create(goal, seed, client=client)


@_router.get("/sessions/{session}")
async def show_page(session: str, parameters: _PageParameters, sessions: _Sessions) -> PageView:
    """Return the page a session shows; asking counts as use."""
    return PageView(**_page(sessions.shop, sessions.get(session), parameters))


@_router.post("/sessions/{session}/actions")
async def act(session: str, body: ActionRequest, parameters: _PageParameters, sessions: _Sessions) -> StepView:
    """Take one action."""
    return _step(sessions, session, body.action, parameters)


@_router.get("/sessions/{session}/snapshot")
async def save_snapshot(session: str, sessions: _Sessions) -> SnapshotView:
    """Write the session's state down."""
    saved = encode(sessions.shop, sessions.get(session).state)
    return SnapshotView(snapshot=base64.b64encode(saved).decode("ascii"))


@_router.put("/sessions/{session}/snapshot")
async def restore_snapshot(
    session: str, body: SnapshotRequest, parameters: _PageParameters, sessions: _Sessions
) -> PageView:
    """Move a session to where a snapshot was taken; one that does not fit changes nothing."""
    recorded = sessions.get(session).trail is not None
    moved = sessions.restore(_decode(body.snapshot), identifier=session, record=recorded)
    return PageView(**_page(sessions.shop, moved, parameters))


@_router.delete("/sessions/{session}", status_code=204)
async def close_session(session: str, sessions: _Sessions) -> Response:
    """Forget a session."""
    sessions.close(session)
    return Response(status_code=204)


@_router.get("/docs", include_in_schema=False)
async def show_reference(request: Request) -> HTMLResponse:
    """Return a table of the routes, for people."""
    schema = request.app.openapi()
    rows = "".join(
        f"<tr><td>{method.upper()}</td><td><code>{escape(PREFIX + path)}</code></td>"
        f"<td>{escape(operation['description'])}</td></tr>\n"
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    )
    return HTMLResponse(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(schema["info"]["title"])}</title>'
        f"</head><body><h1>JSON API</h1>\n<table>\n{rows}</table>\n"
        '<p>Fields and limits: <a href="openapi.json">openapi.json</a>.</p></body></html>\n'
    )


def _page(shop: Shop, session: Session, parameters: PageParameters) -> dict[str, Any]:
    """Return the fields of a `PageView`."""
    state, mode = session.state, parameters.mode
    page = shop.page(state)
    return {
        "session": session.identifier,
        "mode": mode,
        "observation": url(state) if mode == "url" else RENDERERS[mode](page),
        "kind": state.kind.value,
        "available_actions": AvailableActionsView(**page.available_actions),
        "instruction": shop.goal(state).instruction_text,
        "url": url(state),
        "goal": state.goal,
        "steps": state.steps,
        "step_limit": state.step_limit,
        "done": state.done,
        "truncated": state.truncated,
        "reward": state.reward,
        "reward_parts": _reward_parts(shop, state),
    }


def _step(sessions: Sessions, session: str, action: str, parameters: PageParameters) -> StepView:
    after, outcome = sessions.act(session, action)
    brought = OutcomeView(reward=outcome.reward, done=outcome.done, valid=outcome.valid)
    return StepView(**_page(sessions.shop, after, parameters), outcome=brought)


def _reward_parts(shop: Shop, state: ShopState) -> RewardPartsView | None:
    if state.kind is not PageKind.DONE:
        return None
    product = shop.catalogue[str(state.asin)]
    price, options = shop.goals.prices[product.asin], dict(state.options)
    parts = score_purchase(product, shop.goal(state), price=price, options=options, nouns=shop.nouns)
    return RewardPartsView.model_validate(parts.as_info())


def _indices(goals: GoalSet, split: str | None) -> range:
    return range(len(goals)) if split is None else split_indices(split, len(goals))


def _goal_view(goals: GoalSet, index: int) -> GoalView:
    goal = goals.goals[index]
    options = goal.goal_options
    return GoalView(
        index=index,
        instruction_text=goal.instruction_text,
        asin=goal.asin,
        category=goal.category,
        query=goal.query,
        name=goal.name,
        product_category=goal.product_category,
        attributes=list(goal.attributes),
        goal_options=list(options) if isinstance(options, tuple) else dict(options),
        price_upper=goal.price_upper,
        weight=goal.weight,
    )


def _decode(snapshot: str) -> bytes:
    try:
        return base64.b64decode(snapshot, validate=True)
    except ValueError as error:
        raise SnapshotError(f"the snapshot is not base64: {error}") from None


async def _answer_shop_error(request: Request, error: Exception) -> Response:
    status, code = next((known for kind, known in _ERRORS.items() if isinstance(error, kind)), (400, "bad_request"))
    return error_response(status, code, str(error))


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    content_type = request.headers.get("content-type", "")
    if error.errors()[0]["loc"] == ("body",) and "json" not in content_type.lower():
        given = f"not {content_type[:80]!r}" if content_type else "and none was given"
        return error_response(415, "wrong_content_type", f"a body is JSON: send content-type application/json, {given}")
    first = error.errors()[0]
    where = ".".join(str(part)[:80] for part in first["loc"])
    return error_response(422, "invalid_request", f"{where}: {first['msg'][:300]}")


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Answer a wrong path or method, or a body that is too large, in the documented format of errors."""
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, _STATUS_CODES.get(error.status_code, "refused"), error.detail)


async def _answer_defect(request: Request, error: Exception) -> Response:
    # Starlette raises the error again for the server's log.
    return error_response(500, "internal_error", "the server failed on this request; its log says why")
