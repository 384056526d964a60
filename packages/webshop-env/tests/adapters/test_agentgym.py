"""AgentGym's routes, and AgentGym-RL's rollouts over them; neither is on a registry: against their interfaces."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from sightline.webshop_env import Shop, WebShopEnv
from sightline.webshop_env.adapters.agentgym import create_router, training_items
from sightline.webshop_env.episodes import best_action


def client(shop: Shop, prefix: str = "", **limits: float) -> TestClient:
    app = FastAPI()
    app.include_router(create_router(shop, **limits), prefix=prefix)  # ty: ignore[invalid-argument-type]  # int is float
    return TestClient(app)


def test_an_episode_is_played_over_the_routes(shop: Shop) -> None:
    http, env = client(shop), WebShopEnv(shop=shop)
    assert http.get("/").json() == "ok"
    number = http.post("/create").json()
    assert isinstance(number, int)
    here = {"env_idx": number}
    observation, info = env.reset(options={"goal": 2})
    assert http.post("/reset", json=here | {"session_id": 2}).json() == [observation, None]
    for action in ("search[chair 7]", "click[nothing]", "click[b0chair07]", "click[buy now]"):
        observation, reward, done, _, info = env.step(action)
        answer = http.post("/step", json=here | {"action": action}).json()
        assert answer == {"state": observation, "reward": reward, "done": done, "info": None}
        assert http.get("/observation", params=here).json() == observation
        assert http.get("/available_actions", params=here).json() == info["available_actions"]
        state = http.get("/state", params=here).json()
        assert state["url"].startswith("http://127.0.0.1:3000/")
        assert state["instruction_text"] == f"Instruction: {info['instruction_text']}"
        assert "<main" in state["html"]
        assert info["instruction_text"] in http.get("/instruction_text", params=here).json()
    assert (reward, done) == (1.0, True)


def test_the_routes_work_under_a_prefix(shop: Shop) -> None:
    http = client(shop, prefix="/agentgym")
    assert http.get("/agentgym/").json() == "ok"
    number = http.post("/agentgym/create").json()
    assert http.get("/agentgym/list_envs").json() == [number]


def test_environments_do_not_disturb_each_other(shop: Shop) -> None:
    http = client(shop)
    one, two = (http.post("/create").json() for _ in range(2))
    assert one != two
    for number in (one, two):
        http.post("/reset", json={"env_idx": number, "session_id": 0})
    http.post("/step", json={"env_idx": one, "action": "search[mug]"})
    first, second = (http.get("/observation", params={"env_idx": number}).json() for number in (one, two))
    assert "Total results" in first
    assert second.endswith("[SEP] Search")


def test_a_reset_without_session_draws_goals(shop: Shop) -> None:
    http = client(shop)
    number = http.post("/create").json()
    drawn = {http.post("/reset", json={"env_idx": number}).json()[0] for _ in range(40)}
    assert len(drawn) == 3


def test_a_closed_or_unknown_environment_is_explained(shop: Shop) -> None:
    http = client(shop)
    number = http.post("/create").json()
    assert http.post("/close", json={"env_idx": number}).json() == {"closed": True}
    assert http.post("/close", json={"env_idx": number}).json() == {"closed": False}
    assert http.get("/list_envs").json() == []
    for answer in (
        http.get("/observation", params={"env_idx": number}),
        http.post("/step", json={"env_idx": number, "action": "search[a]"}),
    ):
        assert answer.status_code == 404
        assert answer.json() == {
            "detail": f"there is no environment {number}: it was never created, or has been closed"
        }


def test_a_goal_that_does_not_exist_is_explained(shop: Shop) -> None:
    http = client(shop)
    number = http.post("/create").json()
    answer = http.post("/reset", json={"env_idx": number, "session_id": 3})
    assert answer.status_code == 404
    assert "goals are numbered 0 to 2" in answer.json()["detail"]


@pytest.mark.parametrize("body", [{}, {"env_idx": "a", "action": "b"}, {"env_idx": 1, "action": 2}, []])
def test_a_malformed_body_is_refused(shop: Shop, body: object) -> None:
    assert client(shop).post("/step", json=body).status_code == 422


def test_a_full_table_refuses_while_all_are_in_use(shop: Shop) -> None:
    http = client(shop, capacity=2)
    numbers = [http.post("/create").json() for _ in range(2)]
    answer = http.post("/create")
    assert answer.status_code == 503
    assert "all 2 environments are in use" in answer.json()["detail"]
    http.post("/close", json={"env_idx": numbers[0]})
    assert http.post("/create").status_code == 200


def test_a_full_table_gives_up_the_one_idle_longest(shop: Shop) -> None:
    http = client(shop, capacity=2, idle_seconds=0.0)
    one, two = (http.post("/create").json() for _ in range(2))
    http.get("/observation", params={"env_idx": one})
    three = http.post("/create").json()
    assert http.get("/list_envs").json() == [one, three]
    assert http.get("/observation", params={"env_idx": two}).status_code == 404


def test_a_capacity_of_nothing_is_refused(shop: Shop) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        create_router(shop, capacity=0)


class Client:
    """What AgentGym's WebShop client asks of a server, with actions that are read from a model's answer."""

    def __init__(self, http: TestClient) -> None:
        self.http = http
        self.number = http.post("/create").json()

    def reset(self, item: int) -> None:
        assert self.http.post("/reset", json={"env_idx": self.number, "session_id": item}).status_code == 200

    def observe(self) -> str:
        return self.http.get("/observation", params={"env_idx": self.number}).json()

    def step(self, answer: str) -> tuple[str, float, bool]:
        action = answer.rsplit("Action:", 1)[1].strip()
        response = self.http.post("/step", json={"env_idx": self.number, "action": action}).json()
        return response["state"], response["reward"], response["done"]


def test_rollouts_of_agentgym_rl_are_played_side_by_side(shop: Shop) -> None:
    items = training_items(range(3))
    assert items[1] == {"item_id": "webshop_1"}

    def roll_out(item: dict[str, str]) -> tuple[float, bool]:
        goal = int(item["item_id"].rsplit("_", 1)[1])
        client = Client(http)
        client.reset(goal)
        state = shop.start(goal)
        assert shop.goal(state).instruction_text in client.observe()
        score, done = 0.0, False
        while not done:
            action = best_action(shop, state)
            assert action is not None
            state, _ = shop.act(state, action)
            _, score, done = client.step(f"Thought:\nIt fits.\n\nAction:\n{action}")
        return score, state.done

    http = client(shop)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(roll_out, items)) == [(1.0, True)] * 3
