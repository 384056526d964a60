from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any, TypeAlias

import httpx
import pytest
from fastapi import FastAPI

from sightline.webshop_env import Shop
from sightline.webshop_env.server.app import create_app
from sightline.webshop_env.server.security import COOKIE, MAX_BODY_BYTES, MIN_TOKEN_LENGTH, Guard, is_loopback
from sightline.webshop_env.server.sessions import Sessions

TOKEN = "correct-horse-battery"
OPEN = "/api/v1/sessions"

Send: TypeAlias = Callable[..., httpx.Response]


def connect(app: Any, base_url: str = "http://127.0.0.1:8000") -> Send:
    def send(method: str, path: str, **content: Any) -> httpx.Response:
        async def exchange() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
                return await client.request(method, path, **content)

        return asyncio.run(exchange())

    return send


@pytest.fixture(scope="module")
def sessions(shop: Shop) -> Sessions:
    return Sessions(shop)


@pytest.fixture(scope="module")
def local_app(shop: Shop, sessions: Sessions) -> FastAPI:
    return create_app(shop, sessions=sessions)


@pytest.fixture(scope="module")
def local(local_app: FastAPI) -> Send:
    return connect(local_app)


@pytest.fixture(scope="module")
def remote(shop: Shop) -> Send:
    return connect(create_app(shop, token=TOKEN), "http://shop.example:8000")


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "LOCALHOST:1", "[::1]:8000", "127.9.9.9"])
def test_this_machine_s_names_are_answered(local: Send, host: str) -> None:
    assert local("POST", OPEN, headers={"host": host}).status_code == 201


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
        "[::1",
        "::1",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/v1/health", "/api/v1/shop", "/agentgym/", "/openenv/health"])
def test_a_foreign_host_is_refused_everywhere(local: Send, host: str, path: str) -> None:
    assert code(local("GET", path, headers={"host": host})) == (403, "foreign_host")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://127.0.0.1:8000.evil.example"},
        {"origin": "null"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8000"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_changes_asked_for_by_another_origin_s_page_are_refused(
    local: Send, sessions: Sessions, headers: dict[str, str], method: str
) -> None:
    before = len(sessions)
    assert code(local(method, OPEN, headers=headers)) == (403, "foreign_origin")
    assert len(sessions) == before


@pytest.mark.parametrize(
    "headers", [{}, {"origin": "http://127.0.0.1:8000"}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}]
)
def test_changes_asked_for_by_our_pages_or_by_programs_are_made(local: Send, headers: dict[str, str]) -> None:
    assert local("POST", OPEN, headers=headers).status_code == 201


@pytest.mark.parametrize("path", ["/", "/api/v1/shop", "/api/v1/nothing", "/agentgym/", "/openenv/health", "/nothing"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"cookie": f"{COOKIE}={TOKEN}"},
        {"cookie": f"{COOKIE}="},
        {"cookie": '"; =;; \x7f'},
    ],
)
def test_without_the_token_nothing_is_answered(remote: Send, path: str, headers: dict[str, str]) -> None:
    response = remote("GET", path, headers=headers)
    assert code(response) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in response.text


def test_health_needs_no_token(remote: Send) -> None:
    assert remote("GET", "/api/v1/health").json() == {"status": "ok"}


def test_the_token_opens_everything(remote: Send) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert remote("POST", OPEN, headers=headers).status_code == 201
    assert remote("GET", "/api/v1/shop", headers=headers).json()["products"] == 13


def test_a_visit_with_the_token_sets_a_cookie_that_hides_it_and_opens_everything(remote: Send) -> None:
    visit = remote("GET", f"/?token={TOKEN}")
    assert (visit.status_code, visit.headers["location"]) == (303, "/")
    cookie = visit.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    held = {"cookie": cookie.partition(";")[0]}
    assert remote("GET", "/api/v1/shop", headers=held).status_code == 200
    assert remote("POST", OPEN, headers=held | {"origin": "http://shop.example:8000"}).status_code == 201
    assert code(remote("POST", OPEN, headers=held | {"origin": "http://evil.example"})) == (403, "foreign_origin")


@pytest.mark.parametrize(
    "query", ["token=wrong", "token=", f"token={TOKEN}x", "token=%ff", f"Token={TOKEN}", "&" * 5000]
)
def test_a_visit_with_another_token_sets_no_cookie(remote: Send, query: str) -> None:
    response = remote("GET", f"/?{query}")
    assert code(response) == (401, "unauthorized")
    assert "set-cookie" not in response.headers


def test_the_token_in_the_address_works_for_the_first_page_only(remote: Send) -> None:
    assert remote("GET", f"/api/v1/shop?token={TOKEN}").status_code == 401


@pytest.mark.parametrize("token", ["", "short", "x" * (MIN_TOKEN_LENGTH - 1), "with a space in it, long", "é" * 20])
def test_a_weak_token_is_refused_at_the_start(shop: Shop, token: str) -> None:
    with pytest.raises(ValueError, match="at least 16 visible"):
        create_app(shop, token=token)


def test_sessions_of_another_shop_are_refused_at_the_start(shop: Shop) -> None:
    other = Sessions(Shop(shop.catalogue, shop.goals))
    with pytest.raises(ValueError, match="another shop"):
        create_app(shop, sessions=other)


@pytest.mark.parametrize("path", ["/", "/api/v1/docs", "/api/v1/nothing", "/nothing", "/agentgym/"])
def test_every_answer_restricts_what_a_browser_may_do(local: Send, path: str) -> None:
    headers = local("GET", path).headers
    assert headers["content-security-policy"].startswith("default-src 'self'; ")
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert headers["referrer-policy"] == "same-origin"


def test_refusals_are_restricted_as_well(remote: Send) -> None:
    assert remote("GET", "/").headers["x-frame-options"] == "DENY"


def test_an_announced_oversize_body_is_refused_unread(local: Send) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    headers = {"content-length": str(MAX_BODY_BYTES + 1)}
    assert code(local("POST", OPEN, content=body(), headers=headers)) == (413, "body_too_large")
    headers = {"content-length": "9" * 4000}
    assert code(local("POST", OPEN, content=body(), headers=headers)) == (413, "body_too_large")


def test_an_endless_body_is_refused_at_the_limit(local_app: FastAPI) -> None:
    sent = 0
    answers: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        nonlocal sent
        sent += 1 << 16
        assert sent < 2 * MAX_BODY_BYTES, "the body was read on and on"
        return {"type": "http.request", "body": b" " * (1 << 16), "more_body": True}

    async def send(message: MutableMapping[str, Any]) -> None:
        answers.append(message)

    asyncio.run(local_app(http_scope("POST", OPEN), receive, send))
    assert answers[0]["status"] == 413
    assert b"body_too_large" in answers[1]["body"]
    assert sent <= MAX_BODY_BYTES + (1 << 16)


def http_scope(method: str, path: str) -> dict[str, Any]:
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    return {
        **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http"},
        **{"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers},
        **{"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000)},
    }


@pytest.mark.parametrize(
    ("token", "headers", "admitted"),
    [
        (None, {"host": "127.0.0.1:8000"}, True),
        (None, {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}, True),
        (None, {"host": "evil.example"}, False),
        (None, {"host": "127.0.0.1:8000", "origin": "http://evil.example"}, False),
        (TOKEN, {"host": "shop.example"}, False),
        (TOKEN, {"host": "shop.example", "authorization": f"Bearer {TOKEN}"}, True),
        (
            TOKEN,
            {"host": "shop.example", "authorization": f"Bearer {TOKEN}", "origin": "http://evil.example"},
            False,
        ),
    ],
)
def test_web_sockets_are_guarded_like_requests(token: str | None, headers: dict[str, str], admitted: bool) -> None:
    reached, answers = [], []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        answers.append(message)

    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "websocket", "path": "/openenv/ws", "query_string": b"", "headers": encoded}
    asyncio.run(Guard(application, token=token)(scope, receive, send))
    assert (len(reached), [answer["type"] for answer in answers]) == ((1, []) if admitted else (0, ["websocket.close"]))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_only(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
