from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env import Shop, ShopState, parse_action
from sightline.webshop_env.commands.layout import Control, Layout, lay_out, recorded_lines, search_action


def _after(shop: Shop, *actions: str) -> ShopState:
    state = shop.start(0)
    for action in actions:
        state, outcome = shop.act(state, action)
        assert outcome.valid
    return state


def _controls(layout: Layout) -> list[Control]:
    options = [value for values in layout.groups.values() for value in values]
    buy = [layout.buy] if layout.buy else []
    return [*layout.navigation, *(hit.control for hit in layout.hits), *options, *layout.sub_pages, *buy]


def test_results_are_cards_of_asin_title_and_price(shop: Shop) -> None:
    layout = lay_out(shop, _after(shop, "search[desk lamp]", "click[b0lamp]", "click[< prev]"))
    assert layout.count == "Page 1 (Total results: 1)"
    assert [(hit.control, hit.title, hit.price) for hit in layout.hits] == [
        (Control("B0LAMP", "click[b0lamp]", marked=True), "Desk Lamp <Pro>", "$10.0 to $20.0")
    ]


def test_chosen_options_are_marked_even_where_the_original_forgets_them(shop: Shop) -> None:
    layout = lay_out(shop, _after(shop, "search[desk lamp]", "click[b0lamp]", "click[café]", "click[blue]"))
    marked = {name: [value.text for value in values if value.marked] for name, values in layout.groups.items()}
    assert marked == {"color": ["café"], "size": ["blue"]}


def test_options_that_a_click_would_miss_cannot_be_clicked(shop: Shop) -> None:
    lamp = lay_out(shop, _after(shop, "search[desk lamp]", "click[b0lamp]"))
    assert {name: [value.action for value in values] for name, values in lamp.groups.items()} == {
        "color": ["click[red]", None, "click[café]"],
        "size": ["click[small]", "click[blue]"],
    }
    mug = lay_out(shop, _after(shop, "search[mug]", "click[b0mug]"))
    offered = [value.text for value in mug.groups["shape"] if value.action is not None]
    assert offered == ["next >", 'wide "w"']


def test_sub_pages_show_what_they_say(shop: Shop) -> None:
    item = ("search[desk lamp]", "click[b0lamp]")
    assert lay_out(shop, _after(shop, *item, "click[features]")).lines == ["dimmable", "steel"]
    assert lay_out(shop, _after(shop, *item, "click[description]")).lines == ["A lamp.\nIt shines & shines."]
    assert lay_out(shop, _after(shop, *item, "click[reviews]")).lines == []
    attributes = lay_out(shop, _after(shop, *item, "click[attributes]")).lines
    assert attributes == ["dimmable", "steel", "electronics", "desk lamp", "Home › Lamps"]


@given(st.lists(st.integers(0, 60), max_size=8))
def test_every_control_does_what_it_says(shop: Shop, choices: list[int]) -> None:
    state = _after(shop, "search[chair lamp mug]")
    for choice in choices:
        controls = [control for control in _controls(lay_out(shop, state)) if control.action is not None]
        if not controls:
            return
        control = controls[choice % len(controls)]
        state, outcome = shop.act(state, str(control.action))
        assert outcome.valid
        marked = [same for same in _controls(lay_out(shop, state)) if same.action == control.action]
        if control.text in dict(state.options).values():
            assert any(same.marked for same in marked)


@given(st.text())
def test_typed_words_make_a_search_or_nothing(words: str) -> None:
    action = search_action(words)
    if action is None:
        assert not words.replace("[", " ").split()
    elif words.isprintable():
        parsed = parse_action(action)
        assert parsed is not None
        assert parsed[0] == "search"
        assert parsed[1].split() == words.replace("[", " ").lower().split()


def test_recorded_text_is_split_into_lines_with_their_actions() -> None:
    lines = recorded_lines("Mug [SEP] Buy Now [SEP] a\nb", ("click[buy now]", "click[b]"))
    assert lines == [
        Control("Mug", None),
        Control("Buy Now", "click[buy now]"),
        Control("a", None),
        Control("b", "click[b]"),
    ]
