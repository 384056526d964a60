"""What a purchase looks like to whoever makes it: nothing but what the pages say.

Pages are those of the mode `text_rich`: buttons between `[button]` and `[button_]`, one visible string a line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sightline.agents.grammar import ActionType, action_type

_BUTTON = re.compile(r"\[button\] (.*) \[button_\]")
_CHOSEN = re.compile(r"You have clicked (.*)\.")
_CLICKED = re.compile(r"\[clicked button\] (.*) \[clicked button_\]")
_AMOUNT = re.compile(r"\$(\d[\d,]*(?:\.\d+)?)")
_MAX_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Purchase:
    """A product as it would be bought.

    Attributes:
        instruction: what the user asked for.
        title: the product's.
        details: text of its further pages, as far as they were read.
        prices: lowest and highest price shown, in dollars; NaN where none is.
        offered: values of every group of options, in the page's order.
        chosen: chosen values.
    """

    instruction: str
    title: str
    details: str
    prices: tuple[float, float]
    offered: tuple[tuple[str, ...], ...]
    chosen: frozenset[str]


def is_purchase(action: str) -> bool:
    """Tell whether an action buys what is shown."""
    return action_type(action) is ActionType.CLICK_BUY


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
        elif line.strip():
            plain = line.strip()
    offered = tuple(tuple(group) for group in groups if not _are_buttons(group))
    return Purchase(instruction, title, product_text(details, instruction), prices, offered, frozenset(chosen))


def product_text(page: str, instruction: str) -> str:
    """Return the first 20,000 characters of a page without the request, which every page repeats."""
    return page.replace(instruction, " ")[:_MAX_CHARACTERS]


def read_prices(text: str) -> tuple[float, float]:
    """Return the lowest and highest amount of dollars in a text; NaN twice where there is none."""
    amounts = [float(amount.replace(",", "")) for amount in _AMOUNT.findall(text)]
    return (min(amounts), max(amounts)) if amounts else (float("nan"), float("nan"))


def _are_buttons(labels: Sequence[str]) -> bool:
    """Tell whether these are buttons of the shop, not values of an option."""
    return any(action_type(f"click[{label}]") is not ActionType.CLICK_OPTION for label in labels)
