from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sightline.webshop_env import Catalogue, Shop, SnapshotError, build_goals, expert_action
from sightline.webshop_env.adapters import openenv
from sightline.webshop_env.adapters.openenv import ShopClient, ShopEnvironment, WebShopAction
from sightline.webshop_env.rules.render import render_text

SERVER = """
import sys
import uvicorn
from fastapi import FastAPI
from sightline.webshop_env import Catalogue, Shop, build_goals
from sightline.webshop_env.adapters.openenv import create_app

assert "gradio" not in sys.modules
catalogue = Catalogue.generate(products=60, seed=5)
shop = Shop(catalogue, build_goals(catalogue, "human", seed=5), step_limit=30)
app = FastAPI()
app.mount("/openenv", create_app(shop, capacity=8))
app.mount("/", create_app(shop, capacity=2))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
"""


@pytest.fixture(scope="module")
def generated() -> Shop:
    """The shop that the server serves."""
    catalogue = Catalogue.generate(products=60, seed=5)
    return Shop(catalogue, build_goals(catalogue, "human", seed=5), step_limit=30)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(port)])
    try:
        deadline = time.monotonic() + 120
        while True:
            assert server.poll() is None, "the server ended by itself"
            assert time.monotonic() < deadline, "the server does not answer"
            try:
                httpx.get(f"http://127.0.0.1:{port}/health")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(params=["", "/openenv"], ids=["alone", "mounted"])
def base_url(request: pytest.FixtureRequest, address: str) -> str:
    return address + request.param


def test_an_episode_is_played_to_its_reward_with_the_client_of_the_library(base_url: str, generated: Shop) -> None:
    state = generated.start(3, seed=11)
    with ShopClient(base_url=base_url).sync() as client:
        result = client.reset(seed=11, goal=3, episode_id="mine")
        assert result.observation.text == render_text(generated.page(state))
        assert result.observation.instruction == generated.goal(state).instruction_text
        assert (result.done, result.reward) == (False, None)
        while not result.done:
            action = expert_action(generated, state)
            state, outcome = generated.act(state, action)
            result = client.step(WebShopAction(action=action))
            assert result.observation.text == render_text(generated.page(state))
            assert result.observation.clickables == generated.page(state).available_actions["clickables"]
            assert result.reward == outcome.reward
        assert (result.reward or 0.0) > 0.5
        assert result.observation.reward_parts == pytest.approx(outcome.parts.as_info() if outcome.parts else None)
        status = client.state()
        assert (status.episode_id, status.goal, status.step_count) == ("mine", 3, state.steps)


def test_a_snapshot_from_the_state_is_restored_by_a_reset_of_another_session(base_url: str) -> None:
    with ShopClient(base_url=base_url).sync() as one, ShopClient(base_url=base_url).sync() as two:
        one.reset(goal=1)
        seen = one.step(WebShopAction(action="search[gift]")).observation
        status = one.state()
        assert len(status.snapshot or "") < 800
        on = one.step(WebShopAction(action="click[next >]")).observation
        assert two.reset(snapshot=status.snapshot).observation.text == seen.text
        assert two.state().step_count == 1
        assert two.step(WebShopAction(action="click[next >]")).observation == on


def test_two_sessions_at_a_time_do_not_disturb_each_other(base_url: str, generated: Shop) -> None:
    states = [generated.start(goal, seed=0) for goal in (4, 5)]
    with ShopClient(base_url=base_url).sync() as one, ShopClient(base_url=base_url).sync() as two:
        clients = [one, two]
        for client, goal in zip(clients, (4, 5), strict=True):
            client.reset(goal=goal, seed=0)
        for _ in range(3):
            for number, client in enumerate(clients):
                action = expert_action(generated, states[number])
                states[number], _ = generated.act(states[number], action)
                text = client.step(WebShopAction(action=action)).observation.text
                assert text == render_text(generated.page(states[number]))


def test_a_session_too_many_is_refused_by_its_code(address: str) -> None:
    with ShopClient(base_url=address).sync() as one, ShopClient(base_url=address).sync() as two:
        one.reset()
        two.reset()
        with pytest.raises(Exception, match="CAPACITY_REACHED"), ShopClient(base_url=address).sync() as three:
            three.reset()
        two.close()
        # The server notices a closed connection when its own turn comes.
        deadline = time.monotonic() + 10
        while True:
            try:
                with ShopClient(base_url=address).sync() as three:
                    assert not three.reset().done
                break
            except (RuntimeError, ConnectionError):
                assert time.monotonic() < deadline, "a closed session does not make place"
                time.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "explanation"),
    [
        ({"gaol": 3}, "cannot take 'gaol' so"),
        ({"goal": "3"}, "'goal' so: Input should be a valid integer"),
        ({"goal": 10**6}, "there is no goal 1000000"),
        ({"split": "validation"}, "splits are 'test'"),
        ({"split": "test", "index": 500}, "has no task 500"),
        ({"index": 5}, "an index counts in a split"),
        ({"goal": 1, "split": "test"}, "not goal and split together"),
        ({"snapshot": "AAAA"}, "not a snapshot of a shop"),
        ({"snapshot": "?"}, "not base64"),
    ],
)
def test_a_wrong_reset_is_explained_and_leaves_the_episode_as_it_was(
    address: str, options: dict[str, object], explanation: str
) -> None:
    with ShopClient(base_url=f"{address}/openenv").sync() as client:
        client.reset(goal=2)
        client.step(WebShopAction(action="search[gift]"))
        before = client.state()
        with pytest.raises(RuntimeError, match=explanation):
            client.reset(**options)
        assert client.state() == before


def test_tasks_are_listed_over_http(base_url: str, generated: Shop) -> None:
    splits = httpx.get(f"{base_url}/webshop/splits").json()
    assert {split["name"] for split in splits} == {"test", "eval"}
    count = httpx.post(f"{base_url}/webshop/num_tasks", json={"split": "test"}).json()
    assert count == {"num_tasks": len(generated.goals)}
    task = httpx.post(f"{base_url}/webshop/task", json={"split": "test", "index": 7}).json()["task"]
    assert (task["goal"], task["instruction"]) == (7, generated.goals.goals[7].instruction_text)
    some = httpx.post(f"{base_url}/webshop/task_range", json={"split": "eval", "start": 5, "stop": 8}).json()["tasks"]
    assert [each["goal"] for each in some] == [5, 6, 7]
    for body in ({"split": "test", "index": 10**6}, {"split": "nonsense", "index": 0}):
        assert httpx.post(f"{base_url}/webshop/task", json=body).status_code == 400
    with ShopClient(base_url=base_url).sync() as client:
        assert client.reset(split="test", index=7).observation.instruction == task["instruction"]


def test_plain_http_says_what_is_wrong(base_url: str) -> None:
    answer = httpx.post(f"{base_url}/reset", json={"goal": 10**6})
    assert answer.status_code == 400
    assert "there is no goal 1000000" in answer.json()["detail"]
    assert httpx.post(f"{base_url}/reset", json={"goal": 0}).status_code == 200
    step = httpx.post(f"{base_url}/step", json={"action": {"action": "search[gift]"}})
    assert step.status_code == 400
    assert "/ws" in step.json()["detail"]
    assert httpx.get(f"{base_url}/state").json()["snapshot"] is None
    schema = httpx.get(f"{base_url}/schema").json()
    assert "snapshot" in schema["state"]["properties"]
    assert httpx.get(f"{base_url}/metadata").json()["name"] == "webshop"


def test_without_a_choice_the_seed_draws_the_goal(generated: Shop) -> None:
    def drawn(**options: Any) -> list[str]:
        return [ShopEnvironment(generated).reset(seed=seed, **options).instruction for seed in range(20)]

    assert drawn() == drawn()
    assert len(set(drawn())) > 5
    assert len(set(drawn(split="test"))) > 5
    assert drawn(goal=3) == [generated.goals.goals[3].instruction_text] * 20


def test_the_step_limit_ends_an_episode(generated: Shop) -> None:
    environment = ShopEnvironment(Shop(generated.catalogue, generated.goals, index=generated.index, step_limit=2))
    environment.reset(goal=0)
    invalid = environment.step(WebShopAction(action="click[nothing]"))
    assert (invalid.valid, invalid.done, invalid.truncated, invalid.reward) == (False, False, False, 0.0)
    assert invalid.action_error == "this page has nothing to click with the label 'nothing'; it offers 'search'"
    last = environment.step(WebShopAction(action="search[gift]"))
    assert (last.valid, last.done, last.truncated, last.reward) == (True, True, True, 0.0)


def test_a_huge_snapshot_is_refused_unread(generated: Shop) -> None:
    with pytest.raises(SnapshotError, match="at most"):
        ShopEnvironment(generated).reset(snapshot="A" * 6_000_000)


def test_a_capacity_of_nothing_is_refused(generated: Shop) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        openenv.create_app(generated, capacity=0)


def test_gradio_can_still_be_imported_by_others() -> None:
    assert sys.modules.get("gradio", "not imported") is not None
