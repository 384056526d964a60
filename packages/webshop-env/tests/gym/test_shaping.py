from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from sightline.webshop_env import Catalogue, Shop, ShopState, WebShopEnv, build_goals, parse_action
from sightline.webshop_env.episodes import proposed_searches
from sightline.webshop_env.gym import ShapedRewards
from sightline.webshop_env.rules import PageKind


@pytest.fixture(scope="module")
def made_up() -> Shop:
    catalogue = Catalogue.generate(40, seed=8)
    return Shop(catalogue, build_goals(catalogue, "human", 8), step_limit=4)


def actions(shop: Shop, state: ShopState) -> list[str]:
    labels = [label for label in shop.page(state).targets if label != "search"]
    clicks = [f"click[{label}]" for label in labels if parse_action(f"click[{label}]") == ("click", label)]
    searches = proposed_searches(shop.goal(state).instruction_text)
    return clicks + [f"search[{query}]" for query in searches if state.kind is PageKind.INDEX]


@pytest.mark.parametrize("goals", [8, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_shaped_and_plain_rewards_have_the_same_best_actions(made_up: Shop, discount: float, goals: int) -> None:
    env = ShapedRewards(WebShopEnv(shop=made_up), discount)
    several = 0
    for goal in range(goals):
        goal %= len(made_up.goals)

        @cache
        def best(state: ShopState, shaped: bool) -> tuple[float, frozenset[str]]:
            """Return the greatest discounted sum of rewards from a state, and the actions that lead to it."""
            if state.done or state.truncated:
                # A value cut short by the limit of steps is that of a state in which nothing can be earned any more.
                return 0.0, frozenset()
            values = {}
            for action in actions(made_up, state):
                after, outcome = made_up.act(state, action)
                after = after._replace(visited=frozenset())
                reward = outcome.reward
                if shaped:
                    reward += discount * env.potential(after) - env.potential(state)
                values[action] = reward + discount * best(after, shaped)[0]
            greatest = max(values.values())
            return greatest, frozenset(action for action, value in values.items() if value > greatest - 1e-9)

        start = made_up.start(goal)
        results, _ = made_up.act(start, actions(made_up, start)[-1])
        for state in (start, results._replace(visited=frozenset())):
            plain, shaped = best(state, False), best(state, True)
            assert shaped[1] == plain[1]
            assert shaped[0] == pytest.approx(plain[0] - env.potential(state))
            several += 0 < len(plain[1]) < len(actions(made_up, state))
    assert several > goals / 4


def test_what_is_added_sums_to_the_first_potential_whatever_is_done(made_up: Shop) -> None:
    rng = np.random.default_rng(0)
    env = ShapedRewards(WebShopEnv(shop=made_up, step_limit=30))
    for goal in range(30):
        env.reset(options={"goal": goal % len(made_up.goals)})
        state = env.unwrapped.state  # ty: ignore[missing-attribute]
        added, ended = 0.0, False
        while not ended:
            _, reward, ended, truncated, info = env.step(str(rng.choice(actions(made_up, state))))
            state = env.unwrapped.state  # ty: ignore[missing-attribute]
            added += reward - info["unshaped_reward"]
            if truncated:
                break
        first = env.potential(made_up.start(goal % len(made_up.goals))._replace(step_limit=30))
        assert added == pytest.approx(env.potential(state) - first)


@pytest.mark.parametrize("discount", [0.0, -1.0, 1.1, float("nan")])
def test_a_discount_outside_its_range_is_refused(made_up: Shop, discount: float) -> None:
    with pytest.raises(ValueError, match="discount must be above 0"):
        ShapedRewards(WebShopEnv(shop=made_up), discount)
