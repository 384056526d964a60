from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.webshop_env import Catalogue, GoalError, Shop, SnapshotError, WebShopEnv, build_goals, render_text
from sightline.webshop_env.adapters.classic import SimServer, WebAgentTextEnv

GOLDEN = Path(__file__).resolve().parents[5] / "shared" / "golden"
RECORDINGS = [
    ("webshop/traces_human.jsonl", True, 42),
    ("webshop/traces_synth.jsonl", False, 43),
    ("webshop-real/traces_synth.jsonl", False, 77),
]


@pytest.fixture
def server(shop: Shop) -> SimServer:
    return SimServer(shop)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the recordings are not at {GOLDEN}")
@pytest.mark.parametrize(("path", "human", "seed"), RECORDINGS, ids=[path for path, _, _ in RECORDINGS])
def test_every_recorded_step_of_the_original_is_reproduced(path: str, human: bool, seed: int) -> None:
    products = (GOLDEN / path).parent / "items_shuffle.json"
    text = WebAgentTextEnv("text", products, human_goals=human, session_prefix="goal-", seed=seed)
    rich = WebAgentTextEnv("text_rich", server=text.server)
    records = [json.loads(line) for line in (GOLDEN / path).read_text(encoding="utf-8").splitlines()]
    (goals,) = (record["goals"] for record in records if record["kind"] == "goals")
    assert [goal | {"weight": 0} for goal in text.server.goals] == [goal | {"weight": 0} for goal in goals]
    assert [goal["weight"] for goal in text.server.goals] == pytest.approx([goal["weight"] for goal in goals])
    episodes = [record for record in records if record["kind"] == "episode"]
    assert episodes
    for episode in episodes:
        first = episode["reset"]
        name = first["url"].rpartition("/")[2]

        def shown(text_page: str, rich_page: str, name: str = name) -> dict[str, Any]:
            url = text.state["url"].replace(f"/{text.session}", f"/{name}", 1)
            return {"text": text_page, "rich": rich_page, "available": text.get_available_actions(), "url": url}

        observations = text.reset(session=episode["goal_index"])[0], rich.reset(session=episode["goal_index"])[0]
        recorded = {key: first[key] for key in ("text", "rich", "available", "url")}
        assert shown(*observations) == recorded
        assert text.instruction_text == first["instruction"]
        for step in episode["steps"]:
            observation, reward, done, info = text.step(step["action"])
            observations = observation, rich.step(step["action"])[0]
            assert shown(*observations) == {key: step[key] for key in ("text", "rich", "available", "url")}
            assert reward == pytest.approx(step["reward"], abs=1e-9)
            assert (done, info) == (step["done"], None)
        session = text.server.user_sessions[text.session]
        if session["done"]:
            assert session["verbose_info"] == pytest.approx(episode["final"]["info"], abs=1e-9)


def test_an_integer_session_is_the_index_of_a_goal(server: SimServer) -> None:
    env = WebAgentTextEnv("text", server=server, session_prefix="worker-")
    sessions: list[tuple[Any, int]] = [(1, 1), (np.int64(2), 2), (-1, 2)]
    for session, goal in sessions:
        observation, info = env.reset(session=session)
        assert server.goals[goal]["instruction_text"] in observation
        assert server.user_sessions[env.session] == {"goal": server.goals[goal], "done": False}
        assert info is None
    assert env.session == "worker-2"
    assert env.state["url"].endswith("/worker-2")


def test_a_named_or_unnamed_session_draws_its_goal_with_the_seed(server: SimServer) -> None:
    def drawn(seed: int) -> list[str]:
        env = WebAgentTextEnv("text", server=server, seed=seed)
        return [env.reset(session=name)[0] for name in ["5", None, "anna", None] * 5]

    assert drawn(0) == drawn(0)
    assert len(set(drawn(0))) == 3


def test_sessions_of_the_past_are_forgotten(server: SimServer) -> None:
    one, two = (WebAgentTextEnv("text", server=server) for _ in range(2))
    for _ in range(10):
        one.reset()
        two.reset(session="two")
    assert set(server.user_sessions) == {one.session, "two"}
    one.close()
    one.close()
    assert set(server.user_sessions) == {"two"}


@pytest.mark.parametrize("session", [3, -4, 10**30])
def test_a_goal_that_does_not_exist_is_explained_and_the_episode_stays(server: SimServer, session: int) -> None:
    env = WebAgentTextEnv("text", server=server, session=1)
    before = env.step("search[lamp]")[0]
    with pytest.raises(GoalError, match="goals are numbered 0 to 2"):
        env.reset(session=session)
    assert (env.observation, env.session) == (before, "1")


@pytest.mark.parametrize("session", [1.5, ("a",), b"a"])
def test_a_session_of_another_kind_is_explained(server: SimServer, session: Any) -> None:
    env = WebAgentTextEnv("text", server=server)
    with pytest.raises(TypeError, match="a session is a goal's index, a name, or None"):
        env.reset(session=session)


def test_a_replaced_instruction_changes_no_goal(server: SimServer) -> None:
    env = WebAgentTextEnv("text", server=server)
    observation, _ = env.reset(session=0, instruction_text="Instruction: something else")
    assert env.instruction_text == env.state["instruction_text"] == "Instruction: something else"
    assert "dimmable desk lamp" in observation
    server.goals[0]["instruction_text"] = "changed"
    server.user_sessions[env.session]["goal"]["attributes"].append("changed")
    assert "changed" not in str(server.goals[0])
    assert env.reset(session=0) == (observation, None)
    assert env.instruction_text.startswith("Instruction: find me a dimmable desk lamp")


def test_goals_carry_the_keys_of_the_original(server: SimServer) -> None:
    keys = "asin category query name product_category instruction_text attributes price_upper goal_options weight"
    assert list(server.goals[0]) == keys.split()
    assert server.goals[0]["goal_options"] == {"color": "red", "size": "small"}
    assert [goal["asin"] for goal in server.goals[1:]] == ["B0MUG", "B0CHAIR07"]


def test_a_purchase_is_entered_in_the_session(server: SimServer) -> None:
    env = WebAgentTextEnv("text", server=server, session=2)
    for action in ("search[chair 7]", "click[b0chair07]"):
        assert env.step(action)[1:] == (0.0, False, None)
    _, reward, done, _ = env.step("click[buy now]")
    session = server.user_sessions["2"]
    assert (reward, done, session["done"], session["reward"]) == (1.0, True, True, 1.0)
    assert session["verbose_info"]["r_att"] == 1.0
    assert env.get_available_actions() == {"has_search_bar": False, "clickables": []}
    assert env.get_instruction_text() == f"Instruction:{server.goals[2]['instruction_text']}"


@pytest.mark.parametrize("history", [(0, 0), (1, 0), (0, 2), (2, 2), (3, 1)])
def test_history_is_that_of_the_environment_with_five_returns(shop: Shop, history: tuple[int, int]) -> None:
    observations, actions = history
    env = WebAgentTextEnv("text", server=SimServer(shop), num_prev_obs=observations, num_prev_actions=actions)
    other = WebShopEnv(shop=shop, previous_observations=observations, previous_actions=actions)
    assert env.reset(session=0)[0] == other.reset(options={"goal": 0})[0]
    for action in ("search[lamp]", "click[nothing]", "click[b0lamp]", "click[red]", "click[buy now]"):
        assert env.step(action)[0] == other.step(action)[0]
        assert env.observation == render_text(other.page)


@pytest.mark.parametrize("mode", ["html", "text", "text_rich", "url"])
def test_every_observation_mode_is_offered(server: SimServer, mode: str) -> None:
    env = WebAgentTextEnv(mode, server=server)
    assert env.reset(session=0)[0] == env.observation
    if mode in ("html", "url"):
        assert env.observation == env.state[mode]


@pytest.mark.parametrize(
    ("arguments", "explanation"),
    [
        ({"observation_mode": "image"}, "must be one of 'text', 'text_rich', 'html', 'url'"),
        ({"get_image": True}, "can no longer be downloaded"),
        ({"server": True, "file_path": "items_shuffle.json"}, "a server has its catalogue"),
        ({"catalogue": True, "num_products": 5}, "a catalogue has its products"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(shop: Shop, arguments: dict[str, Any], explanation: str) -> None:
    given = {"server": SimServer(shop), "catalogue": shop.catalogue}
    with pytest.raises(ValueError, match=explanation):
        WebAgentTextEnv(**{name: given.get(name, value) for name, value in arguments.items()})


def test_an_action_that_is_no_string_is_explained(server: SimServer) -> None:
    with pytest.raises(TypeError, match=r"such as 'search\[desk lamp\]'"):
        WebAgentTextEnv(server=server).step(("search", "lamp"))  # ty: ignore[invalid-argument-type]  # that is the test


def test_files_of_the_published_names_are_found_beside_the_products(tmp_path: Path) -> None:
    files = Catalogue.generate(products=40, seed=1).write_official(tmp_path)
    for path, name in ((files.products, "items_shuffle_1000.json"), (files.attributes, "items_ins_v2_1000.json")):
        path.rename(tmp_path / name)
    for human in (False, True):
        env = WebAgentTextEnv("text", tmp_path / "items_shuffle_1000.json", human_goals=human, num_products=30)
        catalogue = Catalogue.generate(products=40, seed=1)
        goals = build_goals(Catalogue.from_products(list(catalogue)[:30]), "human" if human else "synthetic", seed=42)
        assert [goal["instruction_text"] for goal in env.server.goals] == [g.instruction_text for g in goals.goals]


def test_goals_can_be_filtered_and_limited() -> None:
    catalogue = Catalogue.generate(products=60, seed=2)
    env = WebAgentTextEnv(
        catalogue=catalogue, filter_goals=lambda index, goal: index > 3 and "pack" not in goal["name"]
    )
    everything = WebAgentTextEnv(catalogue=catalogue).server.goals
    assert list(env.server.goals) == [goal for goal in everything[4:] if "pack" not in goal["name"]]
    limited = WebAgentTextEnv(catalogue=catalogue, limit_goals=7).server.goals
    assert len(limited) == 7
    assert all(goal in list(everything) for goal in limited)


def test_the_four_tuple_stays_and_properties_say_whether_an_action_was_valid(shop: Shop) -> None:
    env = WebAgentTextEnv("text", server=SimServer(shop))
    assert (env.action_is_valid, env.action_error) == (True, None)
    assert len(env.step("click[nothing]")) == 4
    assert not env.action_is_valid
    assert "nothing to click with the label 'nothing'" in (env.action_error or "")
    env.step("search[lamp]")
    assert (env.action_is_valid, env.action_error) == (True, None)
    env.step("nonsense")
    env.reset()
    assert env.action_is_valid


def test_a_state_is_got_and_set_in_another_environment_of_the_same_server(shop: Shop) -> None:
    env = WebAgentTextEnv("text", server=SimServer(shop))
    env.reset(session=0)
    env.step("search[lamp]")
    state, page = env.get_state(), env.observation
    assert isinstance(state, bytes)
    bought = [env.step(action) for action in ("click[b0lamp]", "click[buy now]")]
    other = WebAgentTextEnv("text", server=env.server)
    assert other.set_state(state) == page
    assert other.server.user_sessions[other.session]["goal"] == env.server.goals[0]
    assert [other.step(action) for action in ("click[b0lamp]", "click[buy now]")] == bought
    with pytest.raises(SnapshotError):
        other.set_state(b"nonsense")
