"""Planning in the real shop: one world told two ways, and nothing seen that an agent cannot see."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from experiments.reasoning.shop.shop_model import RulePolicy, ShopWorld
from sightline.agents import Decision
from sightline.agents.grammar import webshop_grammar, webshop_purchases
from sightline.agents.planning import (
    EnvironmentModel,
    EnvironmentWorld,
    Experience,
    OracleReward,
    RewardModel,
    RewardModelConfig,
    WithheldReward,
    gather,
    plan,
    search_plan,
)
from sightline.webshop_env import Catalogue, Shop, SnapshotError, WebShopEnv, build_goals
from sightline.webshop_env.goals import HeldGoals

STEP_LIMIT = 15


@pytest.fixture(scope="module", params=["human", "synthetic"])
def shop(request: pytest.FixtureRequest) -> Shop:
    catalogue = Catalogue.generate(products=300)
    return Shop(catalogue, build_goals(catalogue, request.param, 42))


def environment(shop: Shop, goal: int) -> WebShopEnv:
    env = WebShopEnv(shop=shop, observation_mode="text_rich", step_limit=STEP_LIMIT)
    env.reset(options={"goal": goal})
    return env


def page_world(env: Any) -> EnvironmentWorld:
    return EnvironmentWorld(env, webshop_grammar)


class Rule:
    """The rule in a world of pages, so that both worlds are searched by one policy."""

    def __init__(self, shop: Shop) -> None:
        self._shop, self._policy = shop, RulePolicy(shop)

    def decide(self, world: Any, states: Any) -> Any:
        decoded = [self._decode(state) for state in states]
        return [
            self._policy._choose(state, page.situation.actions) for state, page in zip(decoded, states, strict=True)
        ]

    def _decode(self, state: Any) -> Any:
        env = WebShopEnv(shop=self._shop, observation_mode="text_rich", step_limit=STEP_LIMIT)
        env.restore(state.token)
        return env.state


def test_both_worlds_are_one_on_random_walks(shop: Shop) -> None:
    """The same pages, actions, rewards and purchases, step by step."""
    rng = random.Random(0)
    purchases = 0
    for _ in range(150):
        goal = rng.randrange(len(shop.goals))
        env = environment(shop, goal)
        one = page_world(env)
        other = ShopWorld(shop, withhold=False)
        here, there = one.root(), env.state
        assert there._replace(seed=0) == other.start(goal, step_limit=STEP_LIMIT)._replace(seed=0)
        while actions := one.actions(here):
            assert other.actions(there) == actions
            action = rng.choice(actions)
            # Random shopping buys too little to compare purchases by.
            if "click[buy now]" in actions and rng.random() < 0.5:
                action = "click[buy now]"
            bought, same = one.purchase(here, action), other.purchase(there, action)
            assert bought == same
            purchases += bought is not None
            step, equal = one.step(here, action), other.step(there, action)
            assert (step.reward, step.ended) == (equal.reward, equal.ended)
            here, there = step.state, equal.state
            assert one.steps == other.steps
    assert purchases > 50


def test_both_worlds_are_searched_alike(shop: Shop) -> None:
    for goal in range(6):
        env = environment(shop, goal)
        rule = Rule(shop)
        pages = EnvironmentModel(page_world(env), rule, OracleReward())
        states = EnvironmentModel(ShopWorld(shop, withhold=False), RulePolicy(shop), OracleReward())
        root = env.state
        first = search_plan(pages, pages.world.root(), simulations=40)  # ty: ignore[missing-attribute]
        second = search_plan(states, root, simulations=40)
        assert first == replace(second, policy_calls=first.policy_calls)


def test_the_oracle_is_never_below_the_rule_and_its_plans_earn_what_they_say(shop: Shop) -> None:
    wins = []
    for goal in range(40):
        world = ShopWorld(shop, withhold=False)
        root = world.start(goal, step_limit=STEP_LIMIT)
        best = search_plan(EnvironmentModel(world, RulePolicy(shop), OracleReward()), root, simulations=256)
        assert best.value >= (best.own_value or 0.0)
        env = environment(shop, goal)
        rewards = [env.step(action)[1] for action in best.actions]
        assert rewards[-1] == best.value
        wins.append(best.value == 1)
    assert np.mean(wins) > 0.85


@pytest.fixture(scope="module")
def reward_model(shop: Shop) -> RewardModel:
    def open_goal(goal: int) -> tuple[Any, Any]:
        world = ShopWorld(shop, withhold=False)
        return world, world.start(goal, step_limit=STEP_LIMIT)

    goals = range(len(shop.goals) - 40, len(shop.goals))
    rule = RulePolicy(shop)
    found: Experience = gather(open_goal, goals, rule, OracleReward(bounds=None), simulations=24)
    config = RewardModelConfig(members=3, trees=40, depth=3)
    return RewardModel.fit(found.purchases, found.rewards, found.goals, config=config)


def with_other_secrets(shop: Shop, rng: random.Random) -> Shop:
    """The same shop with the same instructions, whose goals hide other products, attributes, options and limits."""
    goals = shop.goals.goals
    donors = rng.sample(goals, len(goals))
    swapped = tuple(
        replace(donor, instruction_text=goal.instruction_text, weight=goal.weight)
        for goal, donor in zip(goals, donors, strict=True)
    )
    return Shop(shop.catalogue, replace(shop.goals, goals=HeldGoals(swapped)))


def test_honest_plans_do_not_change_with_what_the_goals_hide(shop: Shop, reward_model: RewardModel) -> None:
    """The canary: equal instructions, other secrets, and not a decision differs; the oracle's do."""
    other = with_other_secrets(shop, random.Random(1))
    honest, oracle = [], []
    for one in (shop, other):
        rule = RulePolicy(one)
        for rewards, plans in ((reward_model, honest), (OracleReward(), oracle)):
            for goal in range(8):
                world = ShopWorld(one, withhold=not rewards.is_oracle)
                root = world.start(goal, step_limit=STEP_LIMIT)
                plans.append(search_plan(EnvironmentModel(world, rule, rewards), root, simulations=48))
    assert honest[:8] == honest[8:]
    assert oracle[:8] != oracle[8:]


def test_the_honest_planner_sees_no_reward_of_a_real_environment(shop: Shop, reward_model: RewardModel) -> None:
    env = environment(shop, 0)
    hidden = WithheldReward(env)
    world = page_world(hidden)
    root = world.root()
    state = world.step(root, world.actions(root)[0]).state
    item = next(action for action in world.actions(state) if webshop_purchases.opens_item(action))
    state = world.step(state, item).state
    bought = world.step(state, "click[buy now]")
    assert bought.ended
    assert bought.reward == 0
    assert bought.state.situation.observation == ""
    assert hidden.restore(bought.state.token) == ""
    assert "Reward" in env.restore(bought.state.token)

    class First:
        name = "first"

        def choose(self, situations: Any) -> list[Decision]:
            wanted = [_first(situation.actions) for situation in situations]
            return [
                Decision(action, tuple(float(one == action) for one in situation.actions), 0, 0)
                for action, situation in zip(wanted, situations, strict=True)
            ]

    env.reset(options={"goal": 3})
    best = plan(env, First(), webshop_grammar, simulations=30, rewards=reward_model)
    assert not best.is_oracle
    for action in best.actions:
        _, _, terminated, _, _ = env.step(action)
    assert terminated


def test_a_snapshot_of_another_shop_is_refused_unchanged_and_the_world_stays_usable(shop: Shop) -> None:
    env = environment(shop, 0)
    world = page_world(env)
    root = world.root()
    elsewhere = Catalogue.generate(products=120, seed=7)
    stranger = environment(Shop(elsewhere, build_goals(elsewhere, "synthetic", 42)), 0)
    with pytest.raises(SnapshotError):
        world.step(replace(root, token=stranger.snapshot()), world.actions(root)[0])
    assert world.step(root, world.actions(root)[0]).state.situation.observation


def _first(actions: tuple[str, ...]) -> str:
    """Buy where that is offered, else open the first product, else take the first action."""
    if "click[buy now]" in actions:
        return "click[buy now]"
    return next((action for action in actions if webshop_purchases.opens_item(action)), actions[0])
