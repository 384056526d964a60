from __future__ import annotations

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env import Catalogue, GoalError, Shop, SnapshotError, WebShopEnv, render_rich
from sightline.webshop_env.gym import PageText

LAMP = ("search[desk lamp]", "click[b0lamp]", "click[red]", "click[small]")


def run(env: WebShopEnv, *actions: str) -> tuple[str, float, bool, bool, dict]:
    result = ("", 0.0, False, False, {})
    for action in actions:
        result = env.step(action)
    return result


@pytest.fixture(scope="module")
def generated() -> Catalogue:
    return Catalogue.generate(products=80, seed=2)


@pytest.fixture
def env(shop: Shop) -> WebShopEnv:
    env = WebShopEnv(shop=shop)
    env.reset(options={"goal": 0})
    return env


def test_an_episode_from_reset_to_purchase(shop: Shop) -> None:
    env = WebShopEnv(shop=shop)
    observation, info = env.reset(options={"goal": 0})
    assert observation.startswith("WebShop [SEP] Instruction: [SEP] find me a dimmable desk lamp")
    assert set(info) == {"available_actions", "url", "instruction_text"}
    assert info["instruction_text"] == env.goals[0].instruction_text
    *_, terminated, truncated, info = run(env, *LAMP)
    assert not terminated
    assert "reward_info" not in info
    _, reward, terminated, truncated, info = env.step("click[buy now]")
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert info["reward_info"]["r_option"] == 1.0


def test_gymnasium_finds_nothing_to_complain_about(generated: Catalogue) -> None:
    env = gymnasium.make("sightline/WebShop-v0", catalogue=generated, step_limit=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_the_embedded_catalogue_is_the_default() -> None:
    observation, _ = WebShopEnv().reset(seed=0)
    assert observation.startswith("WebShop [SEP] Instruction: [SEP] ")


@pytest.mark.parametrize("vector", [SyncVectorEnv, lambda makers: AsyncVectorEnv(makers, shared_memory=False)])
def test_vector_environments_share_one_shop(shop: Shop, vector) -> None:
    envs = vector([lambda: WebShopEnv(shop=shop)] * 2)
    try:
        envs.reset(options={"goal": 0})
        for action in (*LAMP, "click[buy now]"):
            observations, rewards, terminations, _, infos = envs.step((action, "search[mug]"))
        assert rewards.tolist() == [1.0, 0.0]
        assert terminations.tolist() == [True, False]
        assert observations[0].startswith("Thank you")
        assert infos["available_actions"]["clickables"][1][-1] == "b0mug"
    finally:
        envs.close()


def test_the_same_seed_draws_the_same_goals(generated: Catalogue) -> None:
    def drawn(env: WebShopEnv) -> list[int]:
        env.reset(seed=3)
        goals = []
        for _ in range(5):
            env.reset()
            goals.append(env.state.goal)
        return goals

    first = drawn(WebShopEnv(generated))
    assert first == drawn(WebShopEnv(generated))
    assert len(set(first)) > 1


def test_a_split_limits_what_is_drawn(generated: Catalogue) -> None:
    env = WebShopEnv(generated, goals="synthetic", split="dev")
    env.reset(seed=0)
    for _ in range(30):
        env.reset()
        assert 500 <= env.state.goal < 1500


def test_step_before_reset_asks_for_a_reset(shop: Shop) -> None:
    with pytest.raises(ResetNeeded, match="reset"):
        WebShopEnv(shop=shop).step("search[lamp]")


def test_an_action_that_is_no_string_is_a_type_error(env: WebShopEnv) -> None:
    with pytest.raises(TypeError, match="not 3"):
        env.step(3)  # ty: ignore[invalid-argument-type]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"goals": 1}, ValueError, "did you mean 'goal'"),
        ({"colour": 1}, ValueError, "the only one is 'goal'"),
        ({"goal": 3}, GoalError, "numbered 0 to 2"),
        ({"goal": "x"}, TypeError, "integer"),
    ],
)
def test_wrong_reset_options_are_explained_and_change_nothing(
    env: WebShopEnv, options: dict, error: type[Exception], message: str
) -> None:
    state = env.state
    with pytest.raises(error, match=message):
        env.reset(options=options)
    assert env.state == state


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation_mode": "image"}, "'html', 'text', 'text_rich', 'url', not 'image'"),
        ({"render_mode": "human"}, "render_mode"),
        ({"step_limit": 0}, "step_limit"),
        ({"previous_actions": -1}, "previous_actions"),
    ],
)
def test_wrong_arguments_are_explained(shop: Shop, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WebShopEnv(shop=shop, **arguments)


def test_a_catalogue_beside_a_shop_is_refused(shop: Shop) -> None:
    with pytest.raises(ValueError, match="not both"):
        WebShopEnv(shop.catalogue, shop=shop)


def test_numpy_integers_name_goals(shop: Shop) -> None:
    env = WebShopEnv(shop=shop)
    env.reset(options={"goal": np.int64(1)})
    assert env.restore(env.snapshot())
    assert env.state.goal == 1


def test_observation_modes_show_the_same_page(shop: Shop) -> None:
    shown = {}
    for mode in ("text", "text_rich", "html", "url"):
        env = WebShopEnv(shop=shop, observation_mode=mode)
        env.reset(options={"goal": 0})
        shown[mode] = run(env, *LAMP[:2])[0]
    assert shown["text"].startswith("Instruction: [SEP] ")
    assert shown["text_rich"].startswith("Instruction:\n")
    assert shown["html"].startswith('<main class="item_page">')
    assert shown["url"] == "http://127.0.0.1:3000/item_page/s0/B0LAMP/desk+lamp/1/{}"


def test_ansi_rendering_is_the_rich_page(shop: Shop) -> None:
    env = WebShopEnv(shop=shop, render_mode="ansi")
    env.reset(options={"goal": 0})
    assert env.render() == render_rich(env.page)


def test_the_step_limit_truncates_and_travels_with_snapshots(shop: Shop) -> None:
    env, other = WebShopEnv(shop=shop, step_limit=2), WebShopEnv(shop=shop)
    env.reset(options={"goal": 0})
    assert not env.step("nonsense")[3]
    other.restore(env.snapshot())
    assert env.step("nonsense")[3]
    assert other.step("nonsense")[3]


@pytest.mark.parametrize(
    ("observations", "actions", "expected"),
    [
        (0, 0, "{2}"),
        (1, 0, "{1} [SEP] {2}"),
        (0, 2, "search[mug] [SEP] nonsense [SEP] {2}"),
        (2, 1, "{0} [SEP] {1} [SEP] nonsense [SEP] {2}"),
        (5, 5, "{0} [SEP] search[mug] [SEP] {1} [SEP] nonsense [SEP] {2}"),
    ],
)
def test_history_comes_before_the_page_oldest_first(shop: Shop, observations: int, actions: int, expected: str) -> None:
    plain = WebShopEnv(shop=shop)
    pages = [plain.reset(options={"goal": 0})[0], plain.step("search[mug]")[0], plain.step("nonsense")[0]]
    env = WebShopEnv(shop=shop, previous_observations=observations, previous_actions=actions)
    assert env.reset(options={"goal": 0})[0] == pages[0]
    observation = run(env, "search[mug]", "nonsense")[0]
    assert observation == expected.format(*pages)
    env.step("search[chair]")
    env.reset(options={"goal": 1})
    other = WebShopEnv(shop=shop, previous_observations=observations, previous_actions=actions)
    other.reset(options={"goal": 0})
    run(other, "search[mug]", "nonsense")
    assert env.restore(other.snapshot()) == observation
    assert env.step("search[lamp]") == other.step("search[lamp]")


def test_unencodable_actions_do_not_spoil_snapshots(shop: Shop) -> None:
    env = WebShopEnv(shop=shop, previous_actions=1)
    env.reset(options={"goal": 0})
    observation = env.step("search[\ud800]" + "x" * 20_000)[0]
    assert env.restore(env.snapshot()) == observation


ACTIONS = st.one_of(
    st.integers(0, 40),
    st.sampled_from(["search[lamp]", "search[<r>]", "search[]", "click[buy now]"]),
    st.text(max_size=9),
)


@given(st.lists(ACTIONS, max_size=12), st.lists(ACTIONS, max_size=8), st.lists(ACTIONS, max_size=8))
def test_a_restore_brings_back_observation_and_future_whatever_happened_between(
    shop: Shop, before: list[int | str], between: list[int | str], after: list[int | str]
) -> None:
    env = WebShopEnv(shop=shop, previous_observations=1, previous_actions=2, steps_after_end="allow")

    def follow(actions: list[int | str]) -> list[tuple]:
        results = []
        for action in actions:
            labels = env.info["available_actions"]["clickables"] or ["x"]
            results.append(env.step(action if isinstance(action, str) else f"click[{labels[action % len(labels)]}]"))
        return results

    observation, _ = env.reset(seed=1)
    results = follow(before)
    observation = results[-1][0] if results else observation
    token = env.snapshot()
    future = follow(after)
    env.restore(token)
    follow(between)
    assert env.restore(token) == observation
    assert follow(after) == future


def test_a_snapshot_has_the_same_future_in_another_process(generated: Catalogue) -> None:
    env = WebShopEnv(generated, goals="synthetic", seed=5)
    env.reset(seed=1)
    run(env, "search[<r>]", "click[next >]")
    code = (
        "import sys; from sightline.webshop_env import *\n"
        "env = WebShopEnv(Catalogue.generate(80, 2), goals='synthetic', seed=5)\n"
        "print([env.restore(bytes.fromhex(sys.argv[1])), *map(env.step, sys.argv[2:])])"
    )
    future = ("click[next >]", "search[<r>]", "click[next >]", "nonsense")
    token = env.snapshot()
    expected = [env.restore(token), *map(env.step, future)]
    there = subprocess.run(
        [sys.executable, "-c", code, token.hex(), *future], capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == str(expected)


@pytest.mark.parametrize("damage", [lambda token: b"", lambda token: token[:-5], lambda token: token + b"x"])
def test_a_failed_restore_leaves_the_environment_as_it_was(env: WebShopEnv, damage) -> None:
    run(env, *LAMP)
    state, token = env.state, env.snapshot()
    with pytest.raises(SnapshotError):
        env.restore(damage(token))
    assert env.state is state
    assert env.snapshot() == token


def test_another_catalogues_snapshot_is_refused(env: WebShopEnv, generated: Catalogue) -> None:
    with pytest.raises(SnapshotError, match="other catalogue"):
        WebShopEnv(generated).restore(env.snapshot())


@pytest.mark.parametrize("name", ["sightline/WebShop-v0", "sightline.webshop_env:sightline/WebShop-v0"])
def test_gymnasium_makes_it_by_name(name: str) -> None:
    code = (
        "import gymnasium\n"
        f"{'' if ':' in name else 'import sightline.webshop_env'}\n"
        f"env = gymnasium.make({name!r}, goals='synthetic')\n"
        "env.reset(seed=0)\n"
        "print(env.step('search[chair]')[1:4], bool(env.spec.to_json()))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(0.0, False, False) True\n", "")


def test_search_and_prices_are_those_of_the_shop(env: WebShopEnv) -> None:
    assert [asin for asin, _ in env.search("lamp", k=1)] == ["B0LAMP"]
    assert env.prices["B0LAMP"] == 15.0


def test_page_text_holds_any_string_up_to_its_length() -> None:
    space = PageText(10, seed=0)
    assert "café ☕\n" in space
    assert "x" * 11 not in space
    assert 3 not in space
    assert all(space.sample() in space for _ in range(100))
    assert space == PageText(10)
    assert space != PageText(11)


def test_info_says_whether_an_action_was_valid_and_what_was_wrong_with_it(shop: Shop) -> None:
    env = WebShopEnv(shop=shop)
    _, info = env.reset(options={"goal": 0})
    assert "action_is_valid" not in info
    *_, info = env.step("search[lamp]")
    assert info["action_is_valid"] is True
    assert "action_error" not in info
    before = env.state
    *_, info = env.step("click[b0lump]")
    assert info["action_is_valid"] is False
    assert "did you mean click[b0lamp]?" in info["action_error"]
    assert env.state == before._replace(steps=before.steps + 1)


def test_a_lenient_environment_takes_a_wrapped_action_and_says_what_it_repaired(shop: Shop) -> None:
    strict, lenient = WebShopEnv(shop=shop), WebShopEnv(shop=shop, lenient_actions=True)
    for env in (strict, lenient):
        env.reset(options={"goal": 0})
    *_, info = strict.step("Action: search[lamp]\n")
    assert not info["action_is_valid"]
    *_, info = lenient.step("Action: search[lamp]\n")
    assert (info["action_is_valid"], lenient.state.query) == (True, "lamp")
    assert info["action_repairs"] == ("left out what stands before the action",)
    *_, info = lenient.step("click[b0lamp]")
    assert "action_repairs" not in info


@pytest.mark.parametrize("ending", ["purchase", "limit"])
def test_a_step_after_the_end_is_refused_unless_it_is_allowed(shop: Shop, ending: str) -> None:
    actions = ["search[lamp]", "click[b0lamp]", "click[buy now]"]
    env = WebShopEnv(shop=shop, step_limit=3 if ending == "purchase" else 2)
    env.reset(options={"goal": 0})
    for action in actions[: 3 if ending == "purchase" else 2]:
        *_, terminated, truncated, _ = env.step(action)
    assert (terminated, truncated) == (ending == "purchase", ending == "limit")
    state = env.state
    with pytest.raises(ResetNeeded, match="purchase" if ending == "purchase" else "cut off after 2 steps"):
        env.step("search[mug]")
    assert env.state == state
    tolerant = WebShopEnv(shop=shop, steps_after_end="allow")
    tolerant.restore(env.snapshot())
    assert "Mug" in tolerant.step("search[mug]")[0]


@pytest.mark.parametrize("goal", [True, 1.0, "1", [1], np.array([1, 2])])
def test_a_goal_of_another_type_is_refused_by_name(shop: Shop, goal: object) -> None:
    with pytest.raises(TypeError, match=r"option 'goal' is the index of a goal, an integer, not"):
        WebShopEnv(shop=shop).reset(options={"goal": goal})
    env = WebShopEnv(shop=shop)
    assert env.reset(options={"goal": np.int64(1)})[0] == env.reset(options={"goal": 1})[0]


@pytest.mark.parametrize("goal", [True, False, 1.0, "1", [1]])
def test_a_goal_that_is_no_integer_is_refused_by_the_name_of_the_option(shop: Shop, goal: object) -> None:
    with pytest.raises(TypeError, match="option 'goal' is the index of a goal, an integer, not"):
        WebShopEnv(shop=shop).reset(options={"goal": goal})
