"""Arranges a shop page for people: what belongs together on a screen, and which action each control takes.

It reads the page's elements only, so that people see what agents see; it does not know whether in a browser or a
terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from zlib import crc32

from sightline.webshop_env.episodes.reward_explanation import Explanation, explain
from sightline.webshop_env.rules import pages
from sightline.webshop_env.rules.pages import Element, Page, Role
from sightline.webshop_env.rules.shop import RESERVED, parse_action
from sightline.webshop_env.rules.state import SUB_PAGES, PageKind, ShopState

if TYPE_CHECKING:
    from sightline.webshop_env.rules.shop import Shop

TILES: Final = 6
"""How many tints the tile that stands for a product's picture can have."""

_NAVIGATION: Final = (pages.BACK, pages.PREVIOUS, pages.NEXT)
_SUB_PAGE_LABELS: Final = tuple(map(str, SUB_PAGES))


@dataclass(frozen=True, slots=True)
class Control:
    """Something to click."""

    text: str
    """What it says."""
    action: str | None
    """What a click does, or None where the shop would take the click for something else."""
    marked: bool = False
    """A chosen option or a visited product."""


@dataclass(slots=True)
class Hit:
    """A product as a results page lists it; `tile` tints its tile, from 0 to `TILES` - 1."""

    control: Control
    title: str = ""
    price: str = ""

    @property
    def tile(self) -> int:
        """Tint of the tile, always the same for a product."""
        return crc32(self.control.text.encode("utf-8", "replace")) % TILES


@dataclass(slots=True)
class Layout:
    """A page, arranged."""

    kind: PageKind
    """Which page it is."""
    instruction: str
    """What the episode asks for."""
    query: str = ""
    """The words last searched for."""
    asin: str = ""
    """The product that is shown or was bought, or ""."""
    navigation: list[Control] = field(default_factory=list)
    """Back to Search, < Prev, Next >, as far as there are any."""
    count: str = ""
    """Which results page it is, and how many results there are."""
    hits: list[Hit] = field(default_factory=list)
    """Products on a results page."""
    groups: dict[str, list[Control]] = field(default_factory=dict)
    """Options of an item by the name of their group."""
    title: str = ""
    """Of the item."""
    facts: list[str] = field(default_factory=list)
    """Price and rating."""
    sub_pages: list[Control] = field(default_factory=list)
    """Buttons that open the item's sub pages."""
    buy: Control | None = None
    """The button that ends the episode."""
    lines: list[str] = field(default_factory=list)
    """What a sub page says."""
    explanation: Explanation | None = None
    """Of the reward, on the last page."""

    @property
    def tile(self) -> int:
        """Tint of the item's tile; as in the results."""
        return crc32(self.asin.encode("utf-8", "replace")) % TILES


def lay_out(shop: Shop, state: ShopState) -> Layout:
    """Arrange the page that a state shows."""
    layout = Layout(state.kind, shop.goal(state).instruction_text, state.query, state.asin or "")
    if state.kind is PageKind.DONE:
        layout.explanation = explain(shop, state)
        return layout
    page = shop.page(state)
    chosen = dict(state.options)
    for element in page.elements:
        if element.role is Role.BUTTON:
            _place_button(layout, element)
        elif element.role is Role.LINK:
            layout.hits.append(Hit(Control(element.text, _action(page, element), element.marked)))
        elif element.role is Role.OPTION:
            # `marked` imitates the original's slips; people need to know what is chosen.
            marked = chosen.get(element.name) == element.text
            layout.groups.setdefault(element.name, []).append(
                Control(element.text, _option_action(page, element), marked)
            )
        else:
            _place_text(layout, element)
    return layout


def search_action(words: str) -> str | None:
    """Return the action that searches for what a person typed, or None where there is no word in it."""
    # "[" would begin the action's argument anew.
    words = " ".join(words.replace("[", " ").split())
    return f"search[{words}]" if words else None


def recorded_lines(observation: str, candidates: Sequence[str]) -> list[Control]:
    """Split a recorded page into its lines, those with their action that were among the candidates."""
    lines = (line.strip() for part in observation.split("[SEP]") for line in part.split("\n"))
    actions = {action.lower(): action for action in candidates}
    return [Control(line, actions.get(f"click[{line.lower()}]")) for line in lines if line]


def _place_button(layout: Layout, element: Element) -> None:
    control = Control(element.text, f"click[{element.label}]")
    if element.text in _NAVIGATION:
        layout.navigation.append(control)
    elif element.text in _SUB_PAGE_LABELS:
        layout.sub_pages.append(control)
    elif element.text == pages.BUY:
        layout.buy = control


def _place_text(layout: Layout, element: Element) -> None:
    if layout.hits:
        hit = layout.hits[-1]
        if element.name == "title":
            hit.title = element.text
        else:
            hit.price = element.text
    elif element.name == "count":
        layout.count = element.text
    elif element.name == "title":
        layout.title = element.text
    elif element.name in ("price", "rating"):
        layout.facts.append(element.text)
    elif layout.kind in SUB_PAGES and layout.navigation and element.text.strip():
        layout.lines.append(element.text.strip())


def _action(page: Page, element: Element) -> str | None:
    """Return the action that means this element and no other, or None."""
    action = f"click[{element.label}]"
    reads_back = parse_action(action) == ("click", element.label)
    target = page.targets.get(element.label)
    return action if reads_back and target is not None and target[:3] == element[:3] else None


def _option_action(page: Page, element: Element) -> str | None:
    return None if element.label in RESERVED else _action(page, element)
