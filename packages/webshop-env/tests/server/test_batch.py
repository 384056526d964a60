from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from sightline.webshop_env import Shop
from sightline.webshop_env.server.app import create_app
from sightline.webshop_env.server.sessions import CapacityError, Sessions


@pytest.fixture
def client(shop: Shop) -> TestClient:
    return TestClient(create_app(shop), base_url="http://localhost")


def test_many_sessions_are_opened_and_stepped_as_one_by_one(client: TestClient) -> None:
    opened = client.post("/api/v1/batch/sessions", json={"sessions": [{"goal": goal, "seed": 1} for goal in (0, 1, 2)]})
    assert opened.status_code == 201
    names = [page["session"] for page in opened.json()["pages"]]
    alone = [client.post("/api/v1/sessions", json={"goal": goal, "seed": 1}).json()["session"] for goal in (0, 1, 2)]
    for actions in (["search[lamp]", "search[mug]", "nonsense"], ["click[b0lamp]", "click[b0mug]", "search[chair]"]):
        together = client.post("/api/v1/batch/actions", json={"actions": dict(zip(names, actions, strict=True))}).json()
        apart = [
            client.post(f"/api/v1/sessions/{name}/actions", json={"action": action}).json()
            for name, action in zip(alone, actions, strict=True)
        ]
        assert [step | {"session": ""} for step in together["steps"]] == [step | {"session": ""} for step in apart]


def test_an_unknown_session_in_a_batch_leaves_all_others_as_they_were(client: TestClient) -> None:
    name = client.post("/api/v1/sessions", json={"goal": 0}).json()["session"]
    refused = client.post("/api/v1/batch/actions", json={"actions": {name: "search[lamp]", "gone": "search[lamp]"}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "unknown_session")
    assert client.get(f"/api/v1/sessions/{name}").json()["steps"] == 0


def test_a_batch_with_a_wrong_goal_opens_nothing(client: TestClient) -> None:
    refused = client.post("/api/v1/batch/sessions", json={"sessions": [{"goal": 0}, {"goal": 99}]})
    assert refused.status_code == 404
    assert client.get("/api/v1/shop").json()["sessions"] == 0


@pytest.mark.parametrize("sessions", [[], [{"goal": 0}] * 1025])
def test_batches_are_bounded(client: TestClient, sessions: list[dict[str, int]]) -> None:
    assert client.post("/api/v1/batch/sessions", json={"sessions": sessions}).status_code == 422


def test_the_figures_count_what_happened(client: TestClient) -> None:
    name = client.post("/api/v1/sessions", json={"goal": 0}).json()["session"]
    client.post(f"/api/v1/sessions/{name}/actions", json={"action": "search[lamp]"})
    client.get("/api/v1/sessions/gone")
    text = client.get("/metrics").text
    assert "sightline_sessions_open 1\n" in text
    assert "sightline_steps_total 1\n" in text
    assert 'sightline_requests_total{status="404"} 1\n' in text
    assert all(re.fullmatch(r"# TYPE \w+ \w+|\w+(\{.*\})? [\d.e+-]+", line) for line in text.splitlines())


def test_the_figures_are_for_those_who_have_the_token(shop: Shop) -> None:
    client = TestClient(create_app(shop, token="correct-horse-battery"), base_url="http://localhost")
    assert client.get("/metrics").status_code == 401


def test_a_program_at_its_quota_locks_nobody_out(shop: Shop) -> None:
    sessions = Sessions(shop, capacity=40, quota=3)
    held = [sessions.create(0, client="10.0.0.1") for _ in range(3)]
    with pytest.raises(CapacityError, match="one program may hold 3 sessions"):
        sessions.create(0, client="10.0.0.1")
    sessions.create(0, client="10.0.0.2")
    sessions.close(held[0].identifier)
    sessions.create(0, client="10.0.0.1")


def test_programs_that_take_all_they_may_leave_room_for_people(shop: Shop) -> None:
    sessions = Sessions(shop, capacity=40)
    for number in range(38):
        sessions.create(0, client=f"program {number}")
    with pytest.raises(CapacityError, match="all 40 sessions are in use"):
        sessions.create(0, client="one more")
    sessions.create(0)
    sessions.create(0)
    with pytest.raises(CapacityError):
        sessions.create(0)


def test_a_session_that_expires_frees_its_programs_quota(shop: Shop) -> None:
    now = [0.0]
    sessions = Sessions(shop, idle_seconds=5, quota=1, clock=lambda: now[0])
    sessions.create(0, client="a")
    now[0] = 6.0
    sessions.create(0, client="a")
    with pytest.raises(ValueError, match="quota must be at least 1"):
        Sessions(shop, quota=0)
