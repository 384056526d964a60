"""A browser agent's episode in real Chromium, through BrowserGym's own environment and actions."""

from __future__ import annotations

import importlib.util
import json
import shutil
from typing import Any

import pytest

from sightline.webshop_env import Catalogue, Shop, WebShopEnv, build_goals, parse_action
from sightline.webshop_env.episodes import best_action

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: install chromium, chromium-browser or google-chrome"),
    pytest.mark.skipif(importlib.util.find_spec("browsergym") is None, reason="browsergym-core is not installed"),
]

WAYS = {
    "a purchase that meets every wish": None,
    "a hasty purchase": ("search[lamp]", "click[FIRST]", "click[buy now]"),
    "a walk until the step limit": ("search[lamp]", "click[next >]", "click[< prev]", "click[back to search]") * 4,
}


@pytest.fixture(scope="module")
def made_up() -> Shop:
    catalogue = Catalogue.generate(60)
    return Shop(catalogue, build_goals(catalogue, "human", 42), step_limit=8)


def in_the_browser(env: Any, action: str) -> tuple[Any, ...]:
    """Do with BrowserGym's actions what a text action says, as an agent would that sees the elements' numbers."""
    parsed = parse_action(action)
    assert parsed is not None
    name, argument = parsed
    page = env.page
    if name == "search":
        box = page.get_by_role("searchbox").get_attribute("bid")
        env.step(f"fill({json.dumps(box)}, {json.dumps(argument)})")
        return env.step(f'press({json.dumps(box)}, "Enter")')
    buttons = page.locator('button[name="action"]').all()
    wanted = next(button for button in buttons if button.get_attribute("value").lower() == f"click[{argument}]")
    return env.step(f"click({json.dumps(wanted.get_attribute('bid'))})")


@pytest.mark.parametrize("way", WAYS)
def test_an_episode_in_the_browser_earns_what_the_same_actions_earn_as_text(made_up: Shop, way: str) -> None:
    from sightline.webshop_env.browser.browsergym import ShopBrowserEnv

    text = WebShopEnv(shop=made_up)
    env = ShopBrowserEnv(made_up, goal=3, pre_observation_delay=0.1)
    try:
        _, facts = text.reset(options={"goal": 3})
        observation, info = env.reset(seed=0)
        assert observation["goal"] == facts["instruction_text"]
        assert observation["screenshot"].shape == (720, 1280, 3)
        assert observation["axtree_object"]["nodes"]
        planned = iter(WAYS[way] or ())
        earned = 0.0
        while True:
            action = next(planned) if WAYS[way] else best_action(made_up, text.state)
            assert action is not None
            if action == "click[FIRST]":
                action = f"click[{made_up.hits(text.state)[0]}]"
            _, expected, terminated, truncated, facts = text.step(action)
            observation, reward, done, cut, info = in_the_browser(env, action)
            assert observation["last_action_error"] == ""
            assert (reward, done, cut) == (expected, terminated or truncated, False)
            assert info["task_info"]["steps"] == text.state.steps
            earned += reward
            if done:
                break
        assert info["task_info"].get("reward_info") == facts.get("reward_info")
        assert earned == text.state.reward
        assert (earned == 1.0) == (way == "a purchase that meets every wish")
    finally:
        env.close()


def test_an_agent_that_opens_another_episode_has_left_its_own(made_up: Shop) -> None:
    from sightline.webshop_env.browser.browsergym import ShopBrowserEnv

    env = ShopBrowserEnv(made_up, goal=3, pre_observation_delay=0.1)
    try:
        env.reset(seed=0)
        home = env.page.url.removesuffix("/play")
        env.step(f"goto({json.dumps(home)})")
        bid = env.page.get_by_role("button", name="Play goal 0").get_attribute("bid")
        _, reward, done, _, info = env.step(f"click({json.dumps(bid)})")
        assert (reward, done, info["task_info"]) == (0.0, True, {"left": True})
    finally:
        env.close()
