"""How purchases in the shop are read off its pages, in the rich text mode: a button or a visible string a line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sightline.agents.grammar.purchases import Purchase, PurchaseReader
from sightline.agents.grammar.webshop import ShopAction, action_type

_BUTTON = re.compile(r"\[button\] (.*) \[button_\]")
_CLICKED = re.compile(r"\[clicked button\] (.*) \[clicked button_\]")
_CHOSEN = re.compile(r"You have clicked (.*)\.")
_AMOUNT = re.compile(r"\$(\d[\d,]*(?:\.\d+)?)")
_HEADING = "Instruction:"
_MAX_CHARACTERS = 20_000
_FURTHER_PAGES = ("description", "features", "attributes")  # reviews say nothing of what was asked for


def is_purchase(action: str) -> bool:
    """Tell whether an action buys what is shown."""
    return action_type(action) is ShopAction.CLICK_BUY


def opens_product(action: str) -> bool:
    """Tell whether an action opens a product's page."""
    return action_type(action) is ShopAction.CLICK_PRODUCT


def further_pages(actions: Sequence[str]) -> tuple[str, ...]:
    """Return the actions that open the pages of a product, reviews aside."""
    return tuple(action for action in actions if action[len("click[") : -1].lower() in _FURTHER_PAGES)


def read_purchase(instruction: str, page: str, details: str) -> Purchase:
    """Read an item page.

    Args:
        instruction: what the user asked for.
        page: the item page; text beyond 20,000 characters is not looked at.
        details: text of the item's further pages, likewise.
    """
    groups: list[list[str]] = []
    chosen: set[str] = set()
    title, plain, prices = "", "", (float("nan"), float("nan"))
    for line in page[:_MAX_CHARACTERS].splitlines():
        said, button = _CHOSEN.fullmatch(line), _BUTTON.search(line) or _CLICKED.search(line)
        if said:
            chosen.add(said[1])
        elif button:
            if plain:
                groups.append([])
                plain = ""
            if groups:
                groups[-1].append(button[1])
        elif line.startswith("Price:"):
            title, plain, prices = plain, "", read_prices(line)
            groups.append([])  # the buttons that follow are the shop's own
        elif line.strip():
            plain = line.strip()
    offered = tuple(tuple(group) for group in groups if group and not _are_buttons(group))
    return Purchase(instruction, title, product_text(details, instruction), prices, offered, frozenset(chosen))


def product_text(page: str, instruction: str) -> str:
    """Return what a page says of a product: at most 20,000 characters, without buttons and the request."""
    lines = (line.strip() for line in page.replace(instruction, " ").splitlines())
    said = (line for line in lines if line and line != _HEADING and not _BUTTON.fullmatch(line))
    return "\n".join(said)[:_MAX_CHARACTERS]


def read_prices(text: str) -> tuple[float, float]:
    """Return the lowest and highest amount of dollars in a text; NaN twice where there is none."""
    amounts = [float(amount.replace(",", "")) for amount in _AMOUNT.findall(text)]
    return (min(amounts), max(amounts)) if amounts else (float("nan"), float("nan"))


def _are_buttons(labels: Sequence[str]) -> bool:
    """Tell whether these are buttons of the shop, not values of an option."""
    return any(action_type(f"click[{label}]") is not ShopAction.CLICK_OPTION for label in labels)


webshop_purchases = PurchaseReader(
    buys=is_purchase, opens_item=opens_product, further_pages=further_pages, read=read_purchase
)
"""How purchases in the shop are read."""
