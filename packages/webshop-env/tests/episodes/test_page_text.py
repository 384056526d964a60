from __future__ import annotations

import random

import pytest

from sightline.webshop_env import Catalogue, Shop, ShopState, build_goals, render_rich, rule_action
from sightline.webshop_env.episodes import read_page, rule_choice
from sightline.webshop_env.rules.state import SUB_PAGES, PageKind


@pytest.fixture(scope="module")
def made_up() -> Shop:
    catalogue = Catalogue.generate(products=300, seed=4)
    return Shop(catalogue, build_goals(catalogue, "human", 4))


def offered(shop: Shop, state: ShopState) -> list[str]:
    clicks = [f"click[{label}]" for label in shop.page(state).targets if label != "search"]
    return ["search[lamp]", *clicks] if state.kind is PageKind.INDEX else clicks


def test_a_rule_that_reads_a_pages_whole_text_does_what_it_does_on_the_page(made_up: Shop) -> None:
    rng = random.Random(0)
    for goal in range(80):
        state = made_up.start(goal)
        for _ in range(6):
            page, task = made_up.page(state), made_up.goal(state).instruction_text
            actions = offered(made_up, state)
            text = render_rich(page).replace(task, "")
            kind = read_page(text, actions).kind
            assert kind is page.kind or {kind, page.kind} <= set(SUB_PAGES)
            wanted = rule_action(task, page)
            assert rule_choice(task, text, actions) == (wanted if wanted in actions else actions[0])
            state, _ = made_up.act(state, wanted if rng.random() < 0.7 else rng.choice(actions))
            if state.done:
                break


ITEM = ["click[back to search]", "click[< prev]", "click[red]", "click[dark red]", "click[buy now]"]


def test_options_that_are_offered_but_not_shown_are_chosen_once_they_are_asked_for() -> None:
    assert rule_choice("a dark red lamp", "", ITEM) == "click[dark red]"
    assert rule_choice("a lamp", "", ITEM) == "click[buy now]"


def test_what_is_said_to_be_chosen_is_not_chosen_again() -> None:
    said = "You have clicked red."
    assert rule_choice("a red lamp", said, ITEM) == "click[buy now]"
    marked = "color\n  [clicked button] red [clicked button_]\n  [button] dark red [button_]"
    assert rule_choice("a red lamp", marked, ITEM) == "click[buy now]"


def test_a_hit_whose_title_is_hidden_comes_after_one_that_shares_a_word() -> None:
    actions = ["click[back to search]", "click[#1]", "click[#2]", "click[next >]"]
    shown = "[button] #2 [button_]\nSteel Lamp\n$9.0"
    assert rule_choice("a lamp", shown, actions) == "click[#2]"
    assert rule_choice("a lamp, and price lower than 5.00 dollars", shown, actions) == "click[#1]"
