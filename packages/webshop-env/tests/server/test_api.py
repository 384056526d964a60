from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.webshop_env import Catalogue, Goal, Shop, ShopState, build_goals, render_html, render_rich, render_text
from sightline.webshop_env.episodes.snapshot import MAX_SNAPSHOT_BYTES, encode
from sightline.webshop_env.goals import GoalSet, HeldGoals
from sightline.webshop_env.rules import url
from sightline.webshop_env.rules.shop import MAX_ACTION_LENGTH
from sightline.webshop_env.server.app import create_app
from sightline.webshop_env.server.sessions import MAX_TRAIL, Sessions

Api: TypeAlias = Callable[..., httpx.Response]


def connect(shop: Shop, **options: Any) -> Api:
    """A function that sends one request to the JSON API of a server of its own."""
    transport = httpx.ASGITransport(app=create_app(shop, **options), raise_app_exceptions=False)

    def send(method: str, path: str, **content: Any) -> httpx.Response:
        async def exchange() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
                return await client.request(method, f"/api/v1{path}", **content)

        return asyncio.run(exchange())

    return send


@pytest.fixture(scope="module")
def api(shop: Shop) -> Api:
    return connect(shop)


def opened(api: Api, **body: Any) -> str:
    response = api("POST", "/sessions", json=body)
    assert response.status_code == 201, response.text
    return response.json()["session"]


def count(api: Api) -> int:
    return api("GET", "/shop").json()["sessions"]


def error(response: httpx.Response) -> tuple[int, str]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert "Traceback" not in response.text
    assert response.headers["content-type"] == "application/json"
    return response.status_code, body["error"]["code"]


ACTIONS = st.one_of(
    st.integers(0, 30),
    st.sampled_from(["search[lamp]", "search[<r>]", "search[chair é\U0001f600]", "click[buy now]", "nonsense", ""]),
    st.text(max_size=30),
)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2), st.integers(-(1 << 63), (1 << 63) - 1), st.lists(ACTIONS, max_size=15))
def test_a_session_goes_as_the_shop_does(shop: Shop, api: Api, goal: int, seed: int, actions: list[int | str]) -> None:
    name, state = opened(api, goal=goal, seed=seed), shop.start(goal, seed)
    for action in actions:
        if isinstance(action, int):
            labels = list(shop.page(state).targets) or ["x"]
            action = f"click[{labels[action % len(labels)]}]"
        response = api("POST", f"/sessions/{name}/actions", json={"action": action})
        assert response.status_code == 200, response.text
        state, outcome = shop.act(state, action)
        assert_shows(shop, state, response.json())
        brought = {"reward": outcome.reward, "done": outcome.done, "valid": outcome.valid}
        assert response.json()["outcome"] == brought
        if outcome.parts is not None:
            assert not_null(response.json()["reward_parts"]) == outcome.parts.as_info()


def assert_shows(shop: Shop, state: ShopState, view: dict[str, Any]) -> None:
    page = shop.page(state)
    assert view["observation"] == render_text(page)
    assert view["available_actions"] == page.available_actions
    assert view["instruction"] == shop.goal(state).instruction_text
    assert (view["url"], view["kind"], view["goal"]) == (url(state), state.kind.value, state.goal)
    assert (view["steps"], view["done"], view["truncated"]) == (state.steps, state.done, state.truncated)
    assert view["reward"] == state.reward
    assert (view["reward_parts"] is not None) == (state.kind.value == "done")


def not_null(parts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if value is not None}


def test_a_page_is_shown_in_every_mode(shop: Shop, api: Api) -> None:
    name = opened(api, goal=0)
    api("POST", f"/sessions/{name}/actions", json={"action": "search[desk lamp]"})
    state, _ = shop.act(shop.start(0), "search[desk lamp]")
    page = shop.page(state)
    expected = {"text": render_text(page), "text_rich": render_rich(page), "html": render_html(page), "url": url(state)}
    for mode, observation in expected.items():
        view = api("GET", f"/sessions/{name}?mode={mode}").json()
        assert (view["mode"], view["observation"], view["steps"]) == (mode, observation, 1)
    assert error(api("GET", f"/sessions/{name}?mode=braille")) == (422, "invalid_request")


def test_a_purchase_is_scored_with_its_parts(api: Api) -> None:
    name = opened(api, goal=0)
    for action in ("search[desk lamp]", "click[B0LAMP]", "click[red]", "click[small]"):
        view = api("POST", f"/sessions/{name}/actions", json={"action": action}).json()
        assert (view["done"], view["reward"], view["reward_parts"]) == (False, 0, None)
    view = api("POST", f"/sessions/{name}/actions", json={"action": "click[Buy Now]"}).json()
    assert view["outcome"] == {"reward": 1.0, "done": True, "valid": True}
    assert (view["kind"], view["reward"], view["reward_parts"]["r_option"]) == ("done", 1.0, 1.0)
    again = api("GET", f"/sessions/{name}").json()
    assert again["reward_parts"] == view["reward_parts"]


def test_the_step_limit_truncates(catalogue: Catalogue, goals: GoalSet) -> None:
    api = connect(Shop(catalogue, goals, step_limit=2))
    name = opened(api, goal=0)
    views = [api("POST", f"/sessions/{name}/actions", json={"action": "?"}).json() for _ in range(2)]
    assert [view["truncated"] for view in views] == [False, True]
    assert views[0]["step_limit"] == 2


def test_without_a_body_a_goal_is_drawn(api: Api) -> None:
    goals = Counter(api("POST", "/sessions").json()["goal"] for _ in range(60))
    assert set(goals) == {0, 1, 2}


def test_equal_seeds_draw_equal_goals(api: Api) -> None:
    drawn = [[api("POST", "/sessions", json={"seed": seed}).json()["goal"] for seed in range(20)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3


def test_a_snapshot_restores_a_session_and_opens_others(shop: Shop, api: Api) -> None:
    name = opened(api, goal=0, seed=5)
    path = f"/sessions/{name}/snapshot"
    after = api("POST", f"/sessions/{name}/actions", json={"action": "search[<r>]"}).json()
    saved = api("GET", path).json()["snapshot"]
    assert base64.b64decode(saved) == encode(shop, shop.act(shop.start(0, 5), "search[<r>]")[0])
    del after["outcome"]
    api("POST", f"/sessions/{name}/actions", json={"action": "click[back to search]"})
    assert api("PUT", path, json={"snapshot": saved}).json() == after
    other = api("POST", "/sessions", json={"snapshot": saved}).json()
    assert other["session"] != name
    assert other | {"session": name} == after


@pytest.mark.parametrize(
    "snapshot", ["", "AAAA", "not base64!", "é", "SGVsbG8=", base64.b64encode(b"SLWS\x01" + b"\0" * 40).decode()]
)
def test_garbage_is_not_restored_and_the_session_stays_as_it_was(api: Api, snapshot: str) -> None:
    name = opened(api, goal=1)
    sessions = count(api)
    before = api("POST", f"/sessions/{name}/actions", json={"action": "search[mug]"}).json()
    assert error(api("PUT", f"/sessions/{name}/snapshot", json={"snapshot": snapshot})) == (400, "bad_snapshot")
    assert error(api("POST", "/sessions", json={"snapshot": snapshot})) == (400, "bad_snapshot")
    del before["outcome"]
    assert api("GET", f"/sessions/{name}").json() == before
    assert count(api) == sessions


def test_a_snapshot_of_another_catalogue_is_refused(api: Api) -> None:
    catalogue = Catalogue.generate(20)
    elsewhere = connect(Shop(catalogue, build_goals(catalogue, "synthetic", 1)))
    saved = elsewhere("GET", f"/sessions/{opened(elsewhere)}/snapshot").json()["snapshot"]
    response = api("POST", "/sessions", json={"snapshot": saved})
    assert error(response) == (400, "bad_snapshot")
    assert "other catalogue" in response.json()["error"]["message"]


def test_a_closed_session_is_gone(api: Api) -> None:
    name, other = opened(api), opened(api)
    assert api("DELETE", f"/sessions/{name}").status_code == 204
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("GET", "/snapshot", None),
        ("PUT", "/snapshot", {"snapshot": ""}),
        ("POST", "/actions", {"action": "?"}),
    ):
        assert error(api(method, f"/sessions/{name}{path}", json=body)) == (404, "unknown_session")
    assert api("GET", f"/sessions/{other}").status_code == 200


def test_a_full_server_says_so(shop: Shop) -> None:
    api = connect(shop, sessions=Sessions(shop, capacity=2))
    first, _ = opened(api), opened(api)
    assert error(api("POST", "/sessions")) == (503, "server_full")
    api("DELETE", f"/sessions/{first}")
    opened(api)


def test_a_full_recording_is_a_conflict(shop: Shop) -> None:
    sessions = Sessions(shop)
    name = sessions.adopt(shop.start(0), [(shop.start(0), "?")] * MAX_TRAIL).identifier
    response = connect(shop, sessions=sessions)("POST", f"/sessions/{name}/actions", json={"action": "?"})
    assert error(response) == (409, "session_full")


def test_restoring_a_recorded_session_begins_its_recording_anew(shop: Shop) -> None:
    sessions = Sessions(shop)
    api, name = connect(shop, sessions=sessions), sessions.create(0, record=True).identifier
    saved = api("GET", f"/sessions/{name}/snapshot").json()
    api("POST", f"/sessions/{name}/actions", json={"action": "?"})
    api("PUT", f"/sessions/{name}/snapshot", json=saved)
    assert sessions.get(name).trail == ()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"goal": 3}, 404, "unknown_goal"),
        ({"split": "dev"}, 404, "unknown_goal"),
        ({"split": "train_and_dev"}, 404, "unknown_goal"),
        ({"goal": -1}, 422, "invalid_request"),
        ({"goal": "0"}, 422, "invalid_request"),
        ({"goal": True}, 422, "invalid_request"),
        ({"goal": 10**400}, 422, "invalid_request"),
        ({"goal": 0, "split": "test"}, 422, "invalid_request"),
        ({"snapshot": "", "seed": 1}, 422, "invalid_request"),
        ({"split": "validation"}, 422, "invalid_request"),
        ({"seed": 1 << 63}, 422, "invalid_request"),
        ({"gaol": 0}, 422, "invalid_request"),
        ([], 422, "invalid_request"),
        ("0", 422, "invalid_request"),
    ],
)
def test_what_opens_no_session_is_explained(api: Api, body: Any, status: int, code: str) -> None:
    before = count(api)
    assert error(api("POST", "/sessions", json=body)) == (status, code)
    assert count(api) == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b'{"action": 3}',
        b'{"action": null}',
        b'{"action": "a", "b": 1}',
        b'{"action": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"action": NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"action": ' + b"9" * 5000 + b"}",
        json.dumps({"action": "a" * (MAX_ACTION_LENGTH + 1)}).encode(),
    ],
)
def test_a_bad_body_is_refused_and_is_no_step(api: Api, content: bytes) -> None:
    name = opened(api)
    headers = {"content-type": "application/json"}
    status, code = error(api("POST", f"/sessions/{name}/actions", content=content, headers=headers))
    assert (status, code) in {(400, "bad_request"), (422, "invalid_request")}
    assert api("GET", f"/sessions/{name}").json()["steps"] == 0


def test_the_longest_action_is_taken(api: Api) -> None:
    name = opened(api)
    action = f"search[{'é' * (MAX_ACTION_LENGTH - 8)}]"
    assert api("POST", f"/sessions/{name}/actions", json={"action": action}).json()["kind"] == "search_results"


def test_an_oversize_snapshot_is_refused_by_its_length(api: Api) -> None:
    longest = base64.b64encode(bytes(MAX_SNAPSHOT_BYTES)).decode()
    assert error(api("POST", "/sessions", json={"snapshot": longest})) == (400, "bad_snapshot")
    assert error(api("POST", "/sessions", json={"snapshot": longest + "AAAA"})) == (422, "invalid_request")


@pytest.fixture(scope="module")
def many_goals(catalogue: Catalogue, goals: GoalSet) -> Api:
    def goal(number: int) -> Goal:
        return replace(goals.goals[number % 3], instruction_text=f"number {number}", weight=1.0 + number % 7)

    return connect(Shop(catalogue, replace(goals, goals=HeldGoals(map(goal, range(1600))))))


@pytest.mark.parametrize(
    ("query", "first", "count"),
    [
        ("", 0, 1600),
        ("split=test", 0, 500),
        ("split=dev", 500, 1000),
        ("split=train", 1500, 100),
        ("split=eval", 0, 500),
        ("split=train_and_dev", 500, 1100),
    ],
)
def test_goals_are_listed_by_split(many_goals: Api, query: str, first: int, count: int) -> None:
    view = many_goals("GET", f"/goals?limit=2&{query}").json()
    assert view["count"] == count
    assert [goal["index"] for goal in view["goals"]] == [first, first + 1]
    assert view["goals"][1]["instruction_text"] == f"number {first + 1}"
    last = many_goals("GET", f"/goals?offset={count - 1}&{query}").json()["goals"]
    assert [goal["index"] for goal in last] == [first + count - 1]
    assert many_goals("GET", f"/goals?offset={count}&{query}").json() == {"count": count, "goals": []}


@pytest.mark.parametrize(
    ("body", "lowest", "highest"),
    [
        ({"split": "test"}, 0, 499),
        ({"split": "dev"}, 500, 1499),
        ({"split": "train"}, 1500, 1599),
        ({"split": "train_and_dev"}, 500, 1599),
    ],
)
def test_a_session_is_opened_in_a_split(many_goals: Api, body: dict[str, Any], lowest: int, highest: int) -> None:
    drawn = [many_goals("POST", "/sessions", json=body | {"seed": seed}).json()["goal"] for seed in range(60)]
    assert lowest <= min(drawn) < max(drawn) <= highest
    assert max(drawn) - min(drawn) > (highest - lowest) / 2
    assert drawn[:5] == [
        many_goals("POST", "/sessions", json=body | {"seed": seed}).json()["goal"] for seed in range(5)
    ]


def test_a_listed_goal_is_the_shop_s_goal(shop: Shop, api: Api) -> None:
    listed = api("GET", "/goals").json()["goals"]
    assert len(listed) == len(shop.goals)
    for index, (view, goal) in enumerate(zip(listed, shop.goals.goals, strict=True)):
        assert (view["index"], view["asin"], view["goal_options"]) == (index, goal.asin, goal.goal_options)
        assert (view["attributes"], view["price_upper"]) == (list(goal.attributes), goal.price_upper)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "offset=-1", "split=all", "ofset=3"])
def test_a_list_of_goals_has_bounds(api: Api, query: str) -> None:
    assert error(api("GET", f"/goals?{query}")) == (422, "invalid_request")


def test_a_search_finds_what_the_shop_finds(shop: Shop, api: Api) -> None:
    hits = api("GET", "/search", params={"query": "chair wood", "k": 4}).json()["hits"]
    assert [(hit["asin"], hit["score"]) for hit in hits] == shop.search("chair wood", 4)
    assert (hits[0]["title"], hits[0]["price"]) == (shop.catalogue[hits[0]["asin"]].title, 25.0)
    assert error(api("GET", "/search")) == (422, "invalid_request")
    assert error(api("GET", "/search?query=a&k=0")) == (422, "invalid_request")


def test_the_shop_is_described(shop: Shop) -> None:
    api = connect(shop)
    opened(api)
    assert api("GET", "/shop").json() == {
        "fingerprint": shop.catalogue.fingerprint,
        "products": 13,
        "goals": 3,
        "goal_kind": "synthetic",
        "goal_seed": 0,
        "step_limit": None,
        "sessions": 1,
        "capacity": 10_000,
        "idle_seconds": 3600,
    }
    assert api("GET", "/health").json() == {"status": "ok"}


def test_unknown_paths_and_methods_are_json_errors(api: Api) -> None:
    assert error(api("GET", "/nothing")) == (404, "unknown_path")
    assert error(api("PATCH", "/sessions")) == (405, "wrong_method")
    assert error(api("POST", f"/sessions/{'x' * 5000}/actions", json={"action": ""})) == (404, "unknown_session")


def test_a_defect_is_reported_without_its_traceback(shop: Shop, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "search", lambda *_: 1 / 0)
    response = api("GET", "/search?query=a")
    assert error(response) == (500, "internal_error")
    assert "division" not in response.text
