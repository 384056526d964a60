"""The first episode that a newcomer reads is what the rule really does in the shop."""

from __future__ import annotations

import pytest

from experiments.shopping.first_episode import tell_episode
from sightline.webshop_env import Catalogue, Shop, WebShopEnv, build_goals, rule_action


@pytest.fixture(scope="module")
def shop() -> Shop:
    catalogue = Catalogue.generate(300, seed=4)
    return Shop(catalogue, build_goals(catalogue, "human", seed=4))


@pytest.mark.parametrize("goal", range(12))
def test_what_is_told_is_what_the_rule_does_and_earns(shop: Shop, goal: int) -> None:
    env = WebShopEnv(shop=shop)
    _, info = env.reset(options={"goal": goal})
    actions: list[str] = []
    reward, over = 0.0, False
    while not over:
        actions.append(rule_action(info["instruction_text"], env.page))
        _, reward, terminated, truncated, info = env.step(actions[-1])
        over = terminated or truncated
    asked, *steps, end = tell_episode(shop, goal)
    assert info["instruction_text"] in asked
    assert len(steps) == len(actions)
    for action, step in zip(actions, steps, strict=True):
        word = {"search": "searches", "click[buy now]": "buys"}.get(action if "buy" in action else action[:6], "")
        assert word in step
    assert f"It earns {reward:.2f} of 1." in end
    assert ("Every wish is met" in end) == (reward > 1 - 1e-9)


def test_an_episode_that_is_cut_off_earns_nothing() -> None:
    catalogue = Catalogue.generate(100, seed=4)
    shop = Shop(catalogue, build_goals(catalogue, "human", seed=4), step_limit=1)
    assert list(tell_episode(shop, 0))[-1].strip() == "Nothing is bought, so nothing is earned."
