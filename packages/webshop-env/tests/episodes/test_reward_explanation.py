from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env import Shop, ShopState
from sightline.webshop_env.episodes.reward_explanation import explain
from sightline.webshop_env.rules.state import PageKind


def _bought(shop: Shop, goal: int, *actions: str) -> ShopState:
    state = shop.start(goal)
    for action in (*actions, "click[buy now]"):
        state, outcome = shop.act(state, action)
        assert outcome.valid
    return state


def test_every_wish_is_judged_by_itself(shop: Shop) -> None:
    state = _bought(shop, 0, "search[desk lamp]", "click[b0lamp]", "click[red]")
    why = explain(shop, state)
    assert {name: [(wish.text, wish.met) for wish in wishes] for name, wishes in why.wishes.items()} == {
        "Attributes": [("dimmable", True)],
        "Options": [("color: red", True), ("size: small", False)],
        "Price": [("$15.00, at most $40.00 allowed", True)],
    }
    assert why.formula == "(1 of 1 attributes + 1 of 2 options + 1 of 1 price) / 4 × 1 for the kind = 0.75"


def test_another_kind_of_product_is_said_to_be_one(shop: Shop) -> None:
    why = explain(shop, _bought(shop, 0, "search[mug]", "click[b0mug]"))
    assert why.reward.total == 0
    assert why.kind.startswith("Not the kind of product")
    assert why.wishes["Price"][0].text == "$100.00, at most $40.00 allowed"


@given(st.lists(st.sampled_from(["red", "blue", "café", "small"]), max_size=3), st.sampled_from([0, 1, 2]))
def test_the_wishes_met_add_up_to_the_reward(shop: Shop, options: list[str], goal: int) -> None:
    state = _bought(shop, goal, "search[desk lamp]", "click[b0lamp]", *(f"click[{value}]" for value in options))
    why = explain(shop, state)
    wishes = [wish for group in why.wishes.values() for wish in group]
    assert why.reward.total == state.reward
    assert sum(wish.met for wish in wishes) / len(wishes) * why.reward.r_type == pytest.approx(state.reward)


def test_only_a_purchase_is_explained(shop: Shop) -> None:
    with pytest.raises(ValueError, match="only a purchase can be explained"):
        explain(shop, shop.start(0))
    done = _bought(shop, 0, "search[desk lamp]", "click[b0lamp]")
    assert done.kind is PageKind.DONE
