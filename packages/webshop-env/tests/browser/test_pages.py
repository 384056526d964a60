from __future__ import annotations

import importlib.util
import shutil
from itertools import pairwise

import numpy as np
import pytest

from sightline.webshop_env import Catalogue, Shop, WebShopEnv, build_goals
from sightline.webshop_env.episodes import best_action

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: install chromium, chromium-browser or google-chrome"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("PIL") is None, reason="pillow is not installed"),
]


@pytest.fixture(scope="module")
def made_up() -> Shop:
    catalogue = Catalogue.generate(60)
    return Shop(catalogue, build_goals(catalogue, "human", 42), step_limit=15)


@pytest.mark.slow
def test_every_page_of_an_episode_is_seen_as_text_as_a_picture_and_as_a_tree(made_up: Shop) -> None:
    from sightline.webshop_env.browser.pages import BrowserObservations

    plain = WebShopEnv(shop=made_up)
    env = BrowserObservations(WebShopEnv(shop=made_up), width=900, height=1400)
    try:
        text, _ = plain.reset(seed=1, options={"goal": 3})
        seen, _ = env.reset(seed=1, options={"goal": 3})
        pictures, done = [], False
        while not done:
            assert seen["text"] == text
            assert env.observation_space.contains(seen)
            assert 'searchbox "Search the shop"' in seen["accessibility_tree"]
            pictures.append(seen["screenshot"])
            for target in plain.page.targets.values():
                assert target.text == "Search" or _is_told(target.text, seen["accessibility_tree"], plain)
            action = best_action(made_up, plain.state)
            assert action is not None
            text, expected, done, _, _ = plain.step(action)
            seen, reward, terminated, truncated, _ = env.step(action)
            assert (reward, terminated, truncated) == (expected, done, False)
        assert "Reward" in seen["accessibility_tree"]
        assert all(np.ptp(picture) > 100 for picture in pictures)
        assert all((one != other).any() for one, other in pairwise(pictures))
    finally:
        env.close()


def _is_told(text: str, tree: str, env: WebShopEnv) -> bool:
    """A product's button bears its title, everything else its own name."""
    name = env.shop.catalogue[text].title if text in env.shop.catalogue else text
    return f'button "{" ".join(name.split())}"' in tree


def test_accessibility_lines_tell_names_states_and_depth_and_say_nothing_twice() -> None:
    from sightline.webshop_env.browser.pages import accessibility_lines

    def node(number: int, role: str, name: str = "", children: tuple[int, ...] = (), **states: object) -> dict:
        properties = [{"name": key, "value": {"value": value}} for key, value in states.items()]
        return {
            "nodeId": str(number),
            "role": {"value": role},
            "name": {"value": name},
            "childIds": list(map(str, children)),
            "properties": properties,
        }

    nodes = [
        node(1, "RootWebArea", "Shop", (2, 3, 9)),
        node(2, "button", "Buy\n Now", (4,), focused=True, disabled=False),
        node(3, "generic", "", (5,)),
        node(4, "StaticText", "Buy Now"),
        node(5, "heading", "Lamp", (), level=2),
    ]
    hidden = {**node(6, "button", "Hidden"), "ignored": True}
    assert accessibility_lines([*nodes, hidden]).splitlines() == [
        'RootWebArea "Shop"',
        '  button "Buy Now" focused',
        '  heading "Lamp" level=2',
    ]
    assert accessibility_lines([]) == ""


def test_a_missing_browser_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.webshop_env.browser import pages as browser

    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(browser.BrowserError, match=r"no browser is installed: looked for chromium, .* apt install"):
        browser.launch_options()
