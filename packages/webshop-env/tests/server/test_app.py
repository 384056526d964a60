from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from sightline.webshop_env import Shop
from sightline.webshop_env.adapters import openenv
from sightline.webshop_env.server.app import create_app


def get(app: FastAPI, *paths: str) -> list[httpx.Response]:
    async def exchange() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
            return [await client.get(path) for path in paths]

    return asyncio.run(exchange())


def test_everything_is_in_its_place(shop: Shop, tmp_path: Path) -> None:
    app = create_app(shop, trajectories=tmp_path)
    page, api, agentgym, protocol, nothing = get(
        app, "/", "/api/v1/health", "/agentgym/", "/openenv/health", "/nothing"
    )
    assert page.headers["content-type"].startswith("text/html")
    assert api.json() == {"status": "ok"}
    assert agentgym.json() == "ok"
    assert protocol.json()["status"] == "healthy"
    assert nothing.status_code == 404


def test_no_page_of_the_framework_is_served(shop: Shop) -> None:
    answers = get(create_app(shop), "/docs", "/redoc", "/openapi.json")
    assert [answer.status_code for answer in answers] == [404, 404, 404]


def test_the_mounted_protocol_is_started_and_stopped_with_the_application(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        events.append("start")
        yield
        events.append("stop")

    monkeypatch.setattr(openenv, "create_app", lambda *_: FastAPI(lifespan=lifespan))
    app = create_app(shop)

    async def live() -> None:
        async with app.router.lifespan_context(app):
            events.append("serve")

    asyncio.run(live())
    assert events == ["start", "serve", "stop"]


def test_every_route_and_field_is_documented_and_nothing_is_loaded_from_elsewhere(shop: Shop) -> None:
    described, shown, other = get(create_app(shop), "/api/v1/openapi.json", "/api/v1/docs", "/api/v1/redoc")
    schema, reference = described.json(), shown.text
    assert len(schema["paths"]) == 10
    for path, operations in schema["paths"].items():
        assert f"/api/v1{path}<" in reference
        for operation in operations.values():
            assert operation["description"]
            assert "HTTPValidationError" not in json.dumps(operation)
    assert "<script" not in reference
    assert "http" not in reference.replace("<!doctype html>", "")
    assert other.status_code == 404


@pytest.mark.parametrize(("method", "path"), [("TRACE", "/"), ("DELETE", "/"), ("TRACE", "/api/v1/shop")])
def test_a_wrong_method_is_answered_in_the_documented_format_everywhere(shop: Shop, method: str, path: str) -> None:
    answer = TestClient(create_app(shop), base_url="http://localhost").request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "wrong_method")


def test_a_body_of_another_type_is_refused_by_the_name_of_its_type(shop: Shop) -> None:
    client = TestClient(create_app(shop), base_url="http://localhost")
    form = client.post(
        "/api/v1/sessions", content="goal=1", headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert (form.status_code, form.json()["error"]["code"]) == (415, "wrong_content_type")
    assert "not 'application/x-www-form-urlencoded'" in form.json()["error"]["message"]
    broken = client.post("/api/v1/sessions", content="{", headers={"content-type": "application/json"})
    assert broken.status_code == 422
