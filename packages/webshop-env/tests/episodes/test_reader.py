from __future__ import annotations

import pytest

from sightline.webshop_env import Catalogue, Shop, ShopState, build_goals, rule_action
from sightline.webshop_env.episodes import reader_action
from sightline.webshop_env.rules import Page, PageKind


@pytest.fixture(scope="module")
def made_up() -> Shop:
    catalogue = Catalogue.generate(300, seed=11)
    return Shop(catalogue, build_goals(catalogue, "human", 11), step_limit=15)


def play(shop: Shop, goal: int) -> tuple[ShopState, list[Page], list[str]]:
    state, seen, actions = shop.start(goal), [], []
    while not state.done and not state.truncated:
        seen.append(shop.page(state))
        actions.append(reader_action(shop.goal(state).instruction_text, seen))
        state, outcome = shop.act(state, actions[-1])
        assert outcome.valid
    return state, seen, actions


def test_it_buys_within_the_usual_limit_of_steps_and_reads_on_the_way(made_up: Shop) -> None:
    ends = [play(made_up, goal) for goal in range(100)]
    assert sum(state.done for state, _, _ in ends) >= 98
    kinds = {page.kind for _, seen, _ in ends for page in seen}
    assert {PageKind.FEATURES, PageKind.DESCRIPTION} <= kinds


def test_reading_finds_more_than_titles_alone(made_up: Shop) -> None:
    def rule(goal: int) -> float:
        state = made_up.start(goal)
        while not state.done and not state.truncated:
            action = rule_action(made_up.goal(state).instruction_text, made_up.page(state))
            state, _ = made_up.act(state, action)
        return state.reward

    goals = range(150)
    read, ruled = [play(made_up, goal)[0].reward for goal in goals], [rule(goal) for goal in goals]
    assert sum(reward == 1 for reward in read) >= sum(reward == 1 for reward in ruled)


def test_it_opens_features_only_while_an_asked_word_stands_nowhere(shop: Shop) -> None:
    state = shop.start(0)
    for action in ("search[lamp]", "click[b0lamp]"):
        state, _ = shop.act(state, action)
    page = shop.page(state)
    assert reader_action("find me a desk lamp in red", [page]) == "click[red]"
    assert reader_action("find me a dimmable steel desk lamp in red", [page]) == "click[features]"
    features, _ = shop.act(state, "click[features]")
    assert reader_action("find me a dimmable steel desk lamp", [page, shop.page(features)]) == "click[< prev]"
    assert reader_action("find me a dimmable steel desk lamp", [page, shop.page(features), page]) == "click[buy now]"


def test_what_it_does_follows_from_the_pages_that_it_saw(made_up: Shop) -> None:
    _, seen, actions = play(made_up, 5)
    text = made_up.goals.goals[5].instruction_text
    assert [reader_action(text, seen[: place + 1]) for place in range(len(seen))] == actions
