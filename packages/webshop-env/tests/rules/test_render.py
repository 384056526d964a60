from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from sightline.webshop_env import Catalogue, Product, Shop, ShopState, render_html, render_rich, render_text
from sightline.webshop_env.goals import GoalSet, HeldGoals
from sightline.webshop_env.rules import Page, url

INSTRUCTION = "find me a dimmable desk lamp in red, small, and price lower than 40.00 dollars"


def reach(shop: Shop, *actions: str) -> ShopState:
    state = shop.start(0)
    for action in actions:
        state, outcome = shop.act(state, action)
        assert outcome.valid, action
    return state


@pytest.fixture
def show(shop: Shop):
    def page(*actions: str) -> Page:
        return shop.page(reach(shop, *actions))

    return page


LAMP = ("search[desk lamp]", "click[b0lamp]")


def test_index_page(show) -> None:
    assert render_text(show()) == f"WebShop [SEP] Instruction: [SEP] {INSTRUCTION} [SEP] Search"
    assert render_rich(show()) == f"WebShop\nInstruction: \n{INSTRUCTION}\n[button] Search [button_]\n"
    assert show().available_actions == {"has_search_bar": True, "clickables": ["search"]}


def test_results_page_marks_visited_products_as_clicked(show) -> None:
    page = show(*LAMP, "click[< prev]")
    assert render_text(page) == (
        f"Instruction: [SEP] {INSTRUCTION} [SEP] Back to Search [SEP] Page 1 (Total results: 1) [SEP] Next > [SEP] "
        "B0LAMP [SEP] Desk Lamp <Pro> [SEP] $10.0 to $20.0"
    )
    assert render_rich(page).endswith(
        "\n\n[clicked button] B0LAMP [clicked button_]\nDesk Lamp <Pro>\n$10.0 to $20.0\n"
    )
    assert page.available_actions == {"has_search_bar": False, "clickables": ["back to search", "next >", "b0lamp"]}


def test_item_page_lists_buttons_before_options_among_what_can_be_clicked(show) -> None:
    page = show(*LAMP)
    assert render_text(page) == (
        f"Instruction: [SEP] {INSTRUCTION} [SEP] Back to Search [SEP] < Prev [SEP] color [SEP] red [SEP] blue [SEP] "
        "café [SEP] size [SEP] small [SEP] blue [SEP] Desk Lamp <Pro> [SEP] Price: $10.0 to $20.0 [SEP] Rating: N.A. "
        "[SEP] Description [SEP] Features [SEP] Reviews [SEP] Attributes [SEP] Buy Now"
    )
    assert page.available_actions["clickables"] == [
        *("back to search", "< prev", "description", "features", "reviews", "attributes", "buy now"),
        *("red", "blue", "café", "small"),
    ]


def test_chosen_options_are_announced_last_label_first(show) -> None:
    rich = render_rich(show(*LAMP, "click[red]", "click[small]"))
    assert rich.startswith("You have clicked small.\nYou have clicked red.\nInstruction:\n")
    assert "color\n  [clicked button] red [clicked button_]\n  [button] blue [button_]\n" in rich


def test_a_value_looks_clicked_in_every_group_that_has_it(show) -> None:
    assert render_rich(show(*LAMP, "click[blue]")).count("[clicked button] blue") == 2


def test_a_value_with_an_accent_never_looks_clicked(show) -> None:
    assert "clicked" not in render_rich(show(*LAMP, "click[café]"))


def test_a_quoted_word_of_the_query_marks_a_label(show) -> None:
    assert "[clicked button] red" in render_rich(show('search["red" lamp]', "click[b0lamp]"))


def test_sub_pages(show) -> None:
    head = f"Instruction: [SEP] {INSTRUCTION} [SEP] Back to Search [SEP] < Prev"
    assert render_text(show(*LAMP, "click[description]")) == f"{head} [SEP] A lamp.\nIt shines & shines."
    assert render_text(show(*LAMP, "click[features]")) == f"{head} [SEP] dimmable [SEP]  [SEP] steel"
    assert render_rich(show(*LAMP, "click[features]")).endswith("[button] < Prev [button_]\n dimmable\n \n steel\n")
    assert render_text(show(*LAMP, "click[reviews]")) == head
    assert render_text(show(*LAMP, "click[attributes]")) == (
        f"{head} [SEP] dimmable [SEP] steel [SEP] electronics [SEP] desk lamp [SEP] Home › Lamps"
    )
    mug = ("search[mug]", "click[b0mug]")
    assert render_text(show(*mug, "click[description]")) == head
    assert render_text(show(*mug, "click[features]")) == f"{head} [SEP] "


@pytest.mark.parametrize(("bullet", "shown"), [("\n", ""), (" \n\t", ""), ("\xa0", " [SEP] "), ("a\n", " [SEP] a")])
def test_blank_texts_vanish_only_with_a_line_break(goals: GoalSet, bullet: str, shown: str) -> None:
    product = Product("B0", "T", "", (bullet,), (), "$100.0", "c", "q", "p")
    goal = replace(goals.goals[0], asin="B0")
    shop = Shop(Catalogue.from_products([product]), replace(goals, goals=HeldGoals([goal]), prices={"B0": 100.0}))
    page = shop.page(reach(shop, "search[t]", "click[b0]", "click[features]"))
    assert render_text(page).endswith(f"[SEP] < Prev{shown}")


def test_the_last_page_names_purchase_and_score(show) -> None:
    text = render_text(show(*LAMP, "click[small]", "click[red]", "click[buy now]"))
    purchase = '[SEP] asin [SEP] B0LAMP [SEP] options [SEP] {"color": "red", "size": "small"} [SEP] attrs'
    assert purchase in text
    assert "Your score (min 0.0, max 1.0) [SEP] 1.0 [SEP] Reward Details [SEP] None" in text


def test_addresses(shop: Shop) -> None:
    base = "http://127.0.0.1:3000"
    assert url(reach(shop)) == f"{base}/s0"
    assert url(reach(shop, "search[a  b]", "click[next >]"), "mine") == f"{base}/search_results/mine/a++b/2"
    item = reach(shop, *LAMP, "click[café]")
    assert url(item) == f'{base}/item_page/s0/B0LAMP/desk+lamp/1/{{"color": "caf\\u00e9"}}'
    sub, _ = shop.act(item, "click[features]")
    assert url(sub) == f"{base}/item_sub_page/s0/B0LAMP/desk+lamp/1/Features/{{'color': 'café'}}"
    done, _ = shop.act(item, "click[buy now]")
    assert url(done) == f"{base}/done/s0/B0LAMP/{{'color': 'café'}}"


class _Collect(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag + (" checked" if ("checked", None) in attrs else ""))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data)


def test_html_holds_the_same_texts_escaped_and_the_choices_checked(show) -> None:
    page = show(*LAMP, "click[red]")
    parser = _Collect()
    parser.feed(render_html(page))
    assert " [SEP] ".join(parser.texts) == render_text(page)
    assert parser.tags.count("input checked") == 1
    assert "<Pro>" not in render_html(page)


def test_html_cannot_be_broken_out_of(goals: GoalSet) -> None:
    evil = '"><script>alert(1)</script>'
    product = Product("B0", evil, evil, (evil,), (), evil, "c", "q", "p", options={evil: (evil,)})
    goal = replace(goals.goals[0], asin="B0", instruction_text=evil)
    shop = Shop(Catalogue.from_products([product]), replace(goals, goals=HeldGoals([goal]), prices={"B0": 100.0}))
    for path in (
        (),
        ("search[alert]",),
        ("search[alert]", "click[b0]"),
        ("search[alert]", "click[b0]", "click[features]"),
    ):
        parser = _Collect()
        parser.feed(render_html(shop.page(reach(shop, *path))))
        assert "script" not in parser.tags
