from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.grammar import product_text, read_prices, webshop_purchases

PAGE = """You have clicked 250 ml.
You have clicked dark grey.
Instruction:
a travel bottle in dark grey
[button] Back to Search [button_]
[button] < Prev [button_]
color
  [clicked button] dark grey [clicked button_]
  [button] white [button_]
size
  [clicked button] 250 ml [clicked button_]
  [button] 500 ml [button_]
Kalani Travel Bottles, Price: low
Price: $1,015.99 to $1,019.5
Rating: N.A.
[button] Description [button_]
[button] Features [button_]
[button] Reviews [button_]
[button] Buy Now [button_]
"""
DETAILS = """Instruction:
a travel bottle in dark grey
[button] < Prev [button_]

 Holds a lot. """


def test_a_page_is_read_line_by_line() -> None:
    purchase = webshop_purchases.read(
        "a travel bottle in dark grey",
        PAGE,
        "Instruction:\na travel bottle in dark grey\n[button] < Prev [button_]\n\n Holds a lot. ",
    )
    assert purchase.title == "Kalani Travel Bottles, Price: low"
    assert purchase.prices == (1015.99, 1019.5)
    assert purchase.offered == (("dark grey", "white"), ("250 ml", "500 ml"))
    assert purchase.chosen == {"dark grey", "250 ml"}
    assert purchase.details == "Holds a lot."


def test_actions_of_a_purchase_are_told_apart() -> None:
    assert webshop_purchases.buys("click[buy now]")
    assert not webshop_purchases.buys("click[features]")
    assert not webshop_purchases.buys("search[buy now]")
    assert webshop_purchases.opens_item("click[b000000001]")
    assert not webshop_purchases.opens_item("click[white]")
    actions = ("click[< prev]", "click[description]", "click[reviews]", "click[Features]", "click[buy now]")
    assert webshop_purchases.further_pages(actions) == ("click[description]", "click[Features]")


def test_a_price_may_be_missing() -> None:
    assert all(math.isnan(price) for price in read_prices("Price: N.A."))
    assert read_prices("Price: $12") == (12.0, 12.0)


def test_text_is_bounded() -> None:
    assert len(product_text("x" * 100_000, "wish")) == 20_000
    assert len(webshop_purchases.read("wish", "y" * 100_000, "x" * 100_000).details) == 20_000


@given(st.text(max_size=400), st.text(max_size=100))
def test_any_text_can_be_read(page: str, details: str) -> None:
    purchase = webshop_purchases.read("a lamp", page, details)
    assert purchase.instruction == "a lamp"
