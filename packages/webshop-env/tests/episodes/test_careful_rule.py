from __future__ import annotations

import pytest

from sightline.webshop_env import Catalogue, Shop, ShopState, build_goals, render_rich
from sightline.webshop_env.episodes import careful_choice, rule_choice

ITEM = ["click[back to search]", "click[< prev]", "click[red]", "click[blue]", "click[buy now]"]
TASK = "i need lamp that is waterproof in red, and price lower than 20.00 dollars"
LISTED = "\n\n".join(
    f"[button] #{number} [button_]\n{title}\n{price}"
    for number, title, price in (
        (1, "Steel Lamp", "$9.0"),
        (2, "Red Lamp", "$9.0"),
        (3, "Waterproof Red Lamp", "$30.0"),
    )
)
HITS = ["click[back to search]", "click[next >]", "click[#1]", "click[#2]", "click[#3]"]
OPENED = "memory:\nsearched lamp waterproof red\nopened #1 Steel Lamp, $9.0\n"
GROUP = "color\n  [button] red [button_]\n  [button] blue [button_]"


def test_a_product_is_left_while_an_asked_word_stands_nowhere() -> None:
    assert careful_choice(TASK, f"{OPENED}page:\n{GROUP}", ITEM) == "click[< prev]"
    assert careful_choice(TASK, f"{OPENED}page:", ITEM) == "click[< prev]"


def test_it_is_chosen_and_bought_once_all_was_read() -> None:
    review = "Review: it is waterproof."
    assert careful_choice(TASK, f"{OPENED}page:\n{GROUP}\n\n{review}", ITEM) == "click[red]"
    chosen = f"{OPENED}You have clicked red.\npage:\n{review}"
    assert careful_choice(TASK, chosen, ITEM) == "click[buy now]"


def test_after_three_products_the_last_one_is_bought() -> None:
    opened = "\n".join(f"opened #{number} Steel Lamp, $9.0" for number in (1, 2, 3))
    assert careful_choice(TASK, f"memory:\n{opened}\npage:\n", ITEM[:2] + ITEM[-1:]) == "click[buy now]"


def test_what_is_remembered_of_other_products_and_of_searches_is_not_read_on_this_one() -> None:
    others = "memory:\nsearched lamp waterproof red\nopened #2 Waterproof Red Lamp, $9.0\nopened #1 Steel Lamp, $9.0\n"
    assert careful_choice(TASK, f"{others}page:\n{GROUP}", ITEM) == "click[< prev]"


def test_the_best_affordable_product_that_was_not_opened_is_opened() -> None:
    assert careful_choice(TASK, f"page:\n{LISTED}", HITS) == "click[#2]"
    visited = LISTED.replace("[button] #2 [button_]", "[clicked button] #2 [clicked button_]")
    assert careful_choice(TASK, f"page:\n{visited}", HITS) == "click[#1]"


@pytest.fixture(scope="module")
def long_shop() -> Shop:
    catalogue = Catalogue.generate(300, 1, long_texts=True)
    return Shop(catalogue, build_goals(catalogue, "human", 1), step_limit=15, long_pages=True)


def test_who_reads_before_buying_earns_more_on_long_pages(long_shop: Shop) -> None:
    def earned(rule: object, goal: int) -> float:
        state, opened = long_shop.start(goal), []
        while not state.done and state.steps < 15:
            task = long_shop.goal(state).instruction_text
            page = long_shop.page(state)
            actions = [f"click[{label}]" for label in page.targets if label != "search"] or ["click[search]"]
            if state.kind == "index":
                actions = [f"search[{task}]"]
            if state.kind == "item_page" and state.asin not in opened:
                opened.append(str(state.asin))
            lines = [f"opened {asin} {long_shop.product(asin).title}" for asin in opened]
            shown = "\n".join(["memory:", *lines, "page:", render_rich(page).replace(task, "")])
            action = rule(task, shown, actions) if callable(rule) else ""
            state, _ = long_shop.act(state, str(action))
        return state.reward

    goals = range(60)
    careful, hasty = (sum(earned(rule, goal) for goal in goals) for rule in (careful_choice, rule_choice))
    assert careful > hasty + 2
    assert isinstance(long_shop.start(0), ShopState)
