from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env import GoalError, Shop, ShopState
from sightline.webshop_env.adapters.trl import ShopTools, environment_factory, training_rows


@pytest.fixture
def tools(shop: Shop) -> ShopTools:
    environment = environment_factory(shop)()
    environment.reset(goal=2)
    return environment


def test_search_and_click_are_the_only_tools() -> None:
    members = [name for name, _ in inspect.getmembers(ShopTools, inspect.isfunction) if not name.startswith("_")]
    assert set(members) - {"reset", "get_reward"} == {"search", "click"}
    for tool in (ShopTools.search, ShopTools.click):
        signature = inspect.signature(tool)
        (argument,) = [name for name in signature.parameters if name != "self"]
        assert {signature.parameters[argument].annotation, signature.return_annotation} == {"str"}
        assert f"Args:\n    {argument}: " in (inspect.getdoc(tool) or "")


def test_an_episode_is_played_to_its_reward(tools: ShopTools) -> None:
    assert tools.get_reward() == 0.0
    assert "[button] B0CHAIR07 [button_]" in tools.search("wood chair 7")
    assert "[button] Buy Now [button_]" in tools.click("B0CHAIR07")
    assert "Thank you for shopping" in tools.click("Buy Now")
    assert tools.get_reward() == 1.0


def test_the_goal_comes_from_the_row_and_other_columns_do_not_matter(shop: Shop) -> None:
    one, two = environment_factory(shop)(), environment_factory(shop)()
    page = one.reset(goal=0, prompt=[{"role": "user", "content": "Shop!"}], hint=None)
    assert two.reset(goal=0) == page
    assert shop.goals.goals[0].instruction_text in page
    one.search("mug")
    assert two.search("lamp") != one.search("mug")
    assert two.reset(goal=0) == page


def test_rollouts_do_not_disturb_each_other(shop: Shop) -> None:
    one, two = environment_factory(shop)(), environment_factory(shop)()
    one.reset(goal=2)
    two.reset(goal=2)
    for act in (
        lambda env: env.search("chair 7"),
        lambda env: env.click("b0chair07"),
        lambda env: env.click("buy now"),
    ):
        act(one)
    assert (one.get_reward(), two.get_reward()) == (1.0, 0.0)


def test_the_first_purchase_is_the_last(tools: ShopTools) -> None:
    for label in ("B0LAMP", "Buy Now"):
        tools.search("lamp")
        if label == "Buy Now":
            tools.click("B0LAMP")
        tools.click(label)
    reward = tools.get_reward()
    assert reward < 1.0
    with pytest.raises(ValueError, match="it ended with a purchase"):
        tools.search("wood chair 7")
    assert tools.get_reward() == reward


def test_a_click_on_nothing_tells_the_model_what_there_is(tools: ShopTools) -> None:
    with pytest.raises(ValueError, match="'Buy Now' cannot be clicked here; what can: search"):
        tools.click("Buy Now")
    tools.search("chair")
    with pytest.raises(ValueError, match="what can: back to search, next >, b0chair00"):
        tools.click("b0mug")


def test_the_step_limit_ends_the_episode(shop: Shop) -> None:
    limited = Shop(shop.catalogue, shop.goals, index=shop.index, step_limit=2)
    tools = ShopTools(limited)
    tools.reset(goal=2)
    tools.search("chair 7")
    with pytest.raises(ValueError, match="cannot be clicked"):
        tools.click("nothing")
    with pytest.raises(ValueError, match="the episode is over"):
        tools.click("b0chair07")


@pytest.mark.parametrize("words", ["wood chair [7]", " wood\nchair 7 ", "wood] chair[ 7"])
def test_brackets_and_line_breaks_do_not_hurt_a_search(tools: ShopTools, words: str) -> None:
    assert tools.search(words) == tools.search("wood chair 7")


@pytest.mark.parametrize("words", ["", "  \n", "[]", 7, None, ["lamp"]])
def test_what_is_no_search_is_explained(tools: ShopTools, words: object) -> None:
    with pytest.raises((ValueError, TypeError), match=r"give a few words|words must be text"):
        tools.search(words)  # ty: ignore[invalid-argument-type]  # models do that


@given(st.lists(st.tuples(st.sampled_from(["search", "click"]), st.text(max_size=40)), max_size=6))
def test_whatever_a_model_says_ends_in_a_page_or_an_explanation(shop: Shop, calls: list[tuple[str, str]]) -> None:
    tools = ShopTools(shop)
    tools.reset(goal=0)
    for tool, argument in calls:
        try:
            answer = getattr(tools, tool)(argument)
        except ValueError as error:
            answer = f"Instruction: {error}"
        assert len("Instruction:") < len(answer) < 10_000
        assert "Instruction:" in answer
    assert tools.get_reward() == 0.0


def test_a_row_without_goal_or_with_a_wrong_one_is_refused(shop: Shop) -> None:
    tools = ShopTools(shop)
    with pytest.raises(ValueError, match=r"needs a column 'goal'.*\['prompt'\]"):
        tools.reset(prompt="Shop!")
    with pytest.raises(GoalError, match="numbered 0 to 2"):
        tools.reset(goal=3)
    with pytest.raises(ValueError, match="there is no episode yet"):
        tools.search("lamp")


def test_rows_hold_a_conversation_and_a_goal(shop: Shop) -> None:
    rows = training_rows(shop, range(3))
    assert [row["goal"] for row in rows] == [0, 1, 2]
    assert all(row["prompt"][-1]["role"] == "user" for row in rows)
    for row in rows:  # a trainer that drops what `reset` returns still tells the model its task
        assert shop.goals.goals[row["goal"]].instruction_text in row["prompt"][-1]["content"]
    with pytest.raises(GoalError):
        training_rows(shop, [3])


def test_trl_is_not_imported() -> None:
    code = "import sys; import sightline.webshop_env.adapters.trl; sys.exit(bool({'trl', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_goal_reached_by_another_route_scores_as_the_shop_says(shop: Shop) -> None:
    tools = ShopTools(shop)
    tools.reset(goal=0)
    state: ShopState = shop.start(0)._replace(seed=0)
    for tool, argument in (("search", "lamp"), ("click", "b0lamp"), ("click", "red"), ("click", "Buy Now")):
        getattr(tools, tool)(argument)
        state, _ = shop.act(state, f"{tool}[{argument}]")
    assert 0 < tools.get_reward() == state.reward < 1
