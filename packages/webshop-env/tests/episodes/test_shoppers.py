from __future__ import annotations

import random

import pytest

from sightline.webshop_env import Catalogue, Shop, ShopState, build_goals, expert_action, rule_action
from sightline.webshop_env.episodes import content_words, reachable_reward
from sightline.webshop_env.goals import GoalSet, HeldGoals


@pytest.fixture(scope="module", params=["human", "synthetic"])
def generated(request: pytest.FixtureRequest) -> Shop:
    catalogue = Catalogue.generate(products=300, seed=4)
    return Shop(catalogue, build_goals(catalogue, request.param, 4))


def rule(shop: Shop, state: ShopState) -> str:
    return rule_action(shop.goal(state).instruction_text, shop.page(state))


def finish(shop: Shop, state: ShopState, policy) -> ShopState:
    """Play on until the policy buys something; every action must be valid."""
    bought_before = state.done
    for _ in range(40):
        state, outcome = shop.act(state, policy(shop, state))
        assert outcome.valid
        if outcome.done:
            return state
    raise AssertionError(f"nothing bought after 40 steps ({bought_before=})")


def wander(shop: Shop, state: ShopState, rng: random.Random, steps: int) -> ShopState:
    for _ in range(steps):
        labels = list(shop.page(state).targets)
        word = rng.choice(shop.catalogue[rng.randrange(len(shop.catalogue))].title.split())
        action = f"click[{rng.choice(labels)}]" if labels and rng.random() < 0.8 else f"search[{word}]"
        state, _ = shop.act(state, action)
    return state


def test_content_words_leave_out_price_filler_and_punctuation() -> None:
    text = "I'm looking for a (red) [desk] lamp, with color: off-white, and price lower than 30.00 dollars"
    assert content_words(text) == ["red", "desk", "lamp", "color", "off-white"]


def test_the_expert_earns_everything_on_nearly_all_generated_goals(generated: Shop) -> None:
    goals = random.Random(0).sample(range(len(generated.goals)), 150)
    rewards = [finish(generated, generated.start(goal), expert_action).reward for goal in goals]
    assert rewards == [reachable_reward(generated, generated.start(goal)).reward for goal in goals]
    assert sum(reward == 1.0 for reward in rewards) >= 0.95 * len(goals)


def test_the_expert_finds_its_way_from_anywhere(generated: Shop) -> None:
    rng, found = random.Random(1), 0
    for _ in range(60):
        start = generated.start(rng.randrange(len(generated.goals)))
        state = wander(generated, start, rng, rng.randrange(1, 25))
        if state.done:
            continue  # the walk bought something: an expert is for episodes that are not over
        found += 1
        promised = reachable_reward(generated, state)
        done = finish(generated, state, expert_action)
        assert (done.reward, done.steps - state.steps) == promised
    assert found > 30


def test_the_rule_always_comes_to_buy_and_is_worse_than_the_expert(generated: Shop) -> None:
    rng = random.Random(2)
    goals = [rng.randrange(len(generated.goals)) for _ in range(100)]
    rule_rewards = [finish(generated, generated.start(goal), rule).reward for goal in goals]
    expert_rewards = [finish(generated, generated.start(goal), expert_action).reward for goal in goals]
    assert 0.3 < sum(rule_rewards) / len(goals) < sum(expert_rewards) / len(goals)


def test_the_rule_comes_to_buy_from_anywhere(generated: Shop) -> None:
    rng = random.Random(3)
    for _ in range(60):
        start = generated.start(rng.randrange(len(generated.goals)))
        state, _ = generated.act(wander(generated, start, rng, rng.randrange(1, 25)), "search[<r>]")
        assert finish(generated, wander(generated, state, rng, rng.randrange(6)), rule).done


def test_the_expert_chooses_options_of_human_goals_in_whatever_group_they_are(catalogue: Catalogue) -> None:
    goals = build_goals(Catalogue.generate(50, 0), "human", 0)
    lamp = catalogue["B0LAMP"]
    goal = type(goals.goals[0])(
        *("B0LAMP", lamp.category, lamp.query, lamp.title, lamp.product_category),
        *("a steel lamp", ("steel",), 50.0, ("Blue", "red")),
    )
    shop = Shop(catalogue, GoalSet(HeldGoals([goal]), dict.fromkeys(catalogue.asins, 10.0), "human", 0))
    done = finish(shop, shop.start(0), expert_action)
    assert dict(done.options) == {"size": "blue", "color": "red"}
    assert done.reward == 1.0


def test_the_expert_does_not_try_to_choose_what_cannot_be_chosen(shop: Shop, catalogue: Catalogue) -> None:
    mug = catalogue["B0MUG"]
    wanted = mug.options["shape"]
    for value in wanted:
        goal = type(shop.goals.goals[1])(
            *("B0MUG", mug.category, mug.query, mug.title, mug.product_category),
            *("a mug", ("ceramic",), 200.0, (value,)),
        )
        odd = Shop(catalogue, GoalSet(HeldGoals([goal]), dict.fromkeys(catalogue.asins, 10.0), "human", 0))
        assert finish(odd, odd.start(0), expert_action).asin == "B0MUG"


def test_the_rule_prefers_what_is_affordable(shop: Shop) -> None:
    state, _ = shop.act(shop.start(0), "search[lamp mug]")
    page = shop.page(state)
    assert rule_action("a mug or lamp, and price lower than 200.00 dollars", page) in {"click[b0lamp]", "click[b0mug]"}
    assert rule_action("a ceramic mug, and price lower than 90.00 dollars", page) == "click[b0lamp]"


def test_the_rule_chooses_the_options_that_the_instruction_mentions(shop: Shop) -> None:
    done = finish(shop, shop.start(0), rule)
    assert (done.asin, dict(done.options), done.reward) == ("B0LAMP", {"color": "red", "size": "small"}, 1.0)
