"""What is on a page: elements, grouped into fragments that pages of one product share.

A page knows neither how it is drawn in each observation mode (`rules.render`) nor what a click
does (`rules.shop`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict

from sightline.webshop_env.rules.state import SUB_PAGES, PageKind, ShopState

if TYPE_CHECKING:
    from sightline.webshop_env.product import Goal, Headline, Product

BACK = "Back to Search"
NEXT = "Next >"
PREVIOUS = "< Prev"
BUY = "Buy Now"
SEARCH = "Search"

SEPARATOR: Final = " [SEP] "
"""Between the strings of a page in the mode `text`."""

_ASCII_SPACE = " \t\n\f\r"


class AvailableActions(TypedDict):
    """What can be done on a page: whether it has a search bar, and what can be clicked, in page order."""

    has_search_bar: bool
    clickables: list[str]


class Role(Enum):
    """What an element is to a reader."""

    TEXT = auto()
    BUTTON = auto()
    LINK = auto()
    OPTION = auto()


class Element(NamedTuple):
    """One visible thing on a page."""

    role: Role
    """Whether it is read or clicked."""
    text: str
    """What it says; white space as in the data."""
    name: str = ""
    """The group of an option; for a text, what it is ("title", "price", ...); else ""."""
    marked: bool = False
    """A chosen option or a visited link."""

    @property
    def label(self) -> str:
        """What `click[...]` calls it: option values as they are, everything else in lower case."""
        return self.text if self.role is Role.OPTION else self.text.lower()


class Fragment:
    """An immutable run of elements that pages share, with what is derived from it computed once.

    Its elements are unmarked: whether a link was visited or an option chosen is the page's to say.

    Attributes:
        elements: from top to bottom.
        buttons: those of the elements, by label.
        links: those of the elements, by label.
        options: those of the elements, by label. Of equal values in two groups the later takes the earlier's place.
        text: the elements as the mode `text` shows them: stripped, joined by " [SEP] ".
    """

    __slots__ = ("_rich", "buttons", "elements", "links", "options", "text")

    def __init__(self, elements: Iterable[Element]) -> None:
        self.elements = tuple(elements)
        self.buttons: dict[str, Element] = {}
        self.links: dict[str, Element] = {}
        self.options: dict[str, Element] = {}
        self.text = SEPARATOR.join([element.text.strip() for element in self.elements])
        self._rich: str | None = None
        for element in self.elements:
            role = element.role
            if role is Role.OPTION:
                self.options[element.text] = element
            elif role is not Role.TEXT:
                (self.buttons if role is Role.BUTTON else self.links)[element.text.lower()] = element

    @classmethod
    def of_links(cls, parts: Iterable[Fragment]) -> Fragment:
        """Return fragments of texts and links only, in order; making them anew would take many times as long."""
        joined = cls(())
        parts = list(parts)
        joined.elements = tuple(chain.from_iterable([part.elements for part in parts]))
        joined.text = SEPARATOR.join([part.text for part in parts])
        for part in parts:
            joined.links.update(part.links)
        return joined

    @property
    def rich(self) -> str:
        """The elements as the mode `text_rich` shows them: one line each, what can be clicked in brackets."""
        if self._rich is None:
            self._rich = "".join(map(rich_line, self.elements))
        return self._rich


def rich_line(element: Element) -> str:
    """Return an element as the mode `text_rich` shows it, with the line break at its end."""
    if element.role is Role.TEXT:
        return f"{element.text}\n"
    tag = "clicked button" if element.marked else "button"
    lead = {Role.BUTTON: "", Role.LINK: "\n", Role.OPTION: "  "}[element.role]
    return f"{lead}[{tag}] {element.text} [{tag}_]\n"


class Page:
    """One immutable page, as fragments from top to bottom.

    Attributes:
        kind: which page.
        fragments: what is on it, unmarked.
        marked: texts of the links that were visited and of the options that show as chosen.
        targets: what can be clicked, unmarked, by label: buttons, then links, then options; a duplicate keeps the
            first's place.
    """

    __slots__ = ("fragments", "kind", "marked", "targets")

    def __init__(self, kind: PageKind, fragments: tuple[Fragment, ...], marked: frozenset[str] = frozenset()) -> None:
        self.kind = kind
        self.fragments = fragments
        self.marked = marked
        self.targets: dict[str, Element] = {}
        for fragment in fragments:
            self.targets.update(fragment.buttons)
        # No page has both links and options.
        for fragment in fragments:
            self.targets.update(fragment.links or fragment.options)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Page):
            return NotImplemented
        return self.kind is other.kind and tuple(self.elements) == tuple(other.elements)

    def __hash__(self) -> int:
        return hash((self.kind, tuple(self.elements)))

    @property
    def elements(self) -> Iterator[Element]:
        """All elements from top to bottom, marked."""
        elements = chain.from_iterable(fragment.elements for fragment in self.fragments)
        return map(self._mark, elements) if self.marked else elements

    def _mark(self, element: Element) -> Element:
        if element.text in self.marked and element.role in (Role.LINK, Role.OPTION):
            return element._replace(marked=True)
        return element

    @property
    def available_actions(self) -> AvailableActions:
        """What can be done here, as the original reports it."""
        return {"has_search_bar": self.kind is PageKind.INDEX, "clickables": list(self.targets)}


def _visible(elements: Iterable[Element]) -> Fragment:
    """Leave out empty texts and blank ones with a line break, and shrink other blank ones to " "."""
    kept = []
    for element in elements:
        if element.text.strip(_ASCII_SPACE):
            kept.append(element)
        elif element.text and "\n" not in element.text:
            kept.append(Element(element.role, " ", element.name))
    return Fragment(kept)


def _text(text: str, name: str = "") -> Element:
    return Element(Role.TEXT, text, name)


def _button(label: str) -> Element:
    return Element(Role.BUTTON, label)


_INDEX_FOOT = Fragment((_button(SEARCH),))
_ITEM_HEAD = Fragment((_button(BACK), _button(PREVIOUS)))


def instruction_fragment(goal: Goal, on_index: bool) -> Fragment:
    """Return the request at the top of every page but the last."""
    instruction = _text(goal.instruction_text, "instruction")
    if on_index:
        return _visible((_text("WebShop", "heading"), _text("Instruction: "), instruction))
    return _visible((_text("Instruction:"), instruction))


def hit_fragment(product: Headline | Product) -> Fragment:
    """Return a product as a results page lists it."""
    link = Element(Role.LINK, product.asin)
    return _visible((link, _text(product.title, "title"), _text(product.price_tag, "price")))


def item_fragment(product: Product, show_attributes: bool, *, long: bool = False) -> Fragment:
    """Return the item page below its navigation: options, what the product is, and the buttons that lead on.

    Args:
        product: product that is shown.
        show_attributes: whether there is a button to its attributes.
        long: whether the page says itself what sub pages say otherwise, each part after a blank line.
    """
    elements: list[Element] = []
    for group, values in product.options.items():
        elements.append(_text(group, "group"))
        elements.extend(Element(Role.OPTION, value, group) for value in values)
    elements += (
        _text(product.title, "title"),
        _text(f"Price: {product.price_tag}", "price"),
        _text("Rating: N.A.", "rating"),
    )
    if long:
        elements.extend(_inline(product))
    buttons = (page for page in SUB_PAGES if show_attributes or page is not PageKind.ATTRIBUTES)
    elements.extend(_button(page) for page in buttons if not long or page is PageKind.ATTRIBUTES)
    elements.append(_button(BUY))
    return _visible(elements)


def _inline(product: Product) -> Iterator[Element]:
    yield from (_text(f"\nDescription: {part}", "description") for part in product.description.split("\n\n") if part)
    yield from (_text(f"\nFeature: {bullet}", "bullet") for bullet in product.bullets)
    yield from (_text(f"\nReview: {review}", "review") for review in product.reviews)


def sub_fragment(product: Product, kind: PageKind) -> Fragment:
    """Return what a sub page says about the product; published products have no reviews, so that page says nothing."""
    if kind is PageKind.DESCRIPTION:
        return _visible((_text(product.description, "description"),))
    if kind is PageKind.FEATURES:
        return _visible(_text(f" {bullet}", "bullet") for bullet in product.bullets)
    if kind is PageKind.ATTRIBUTES:
        attributes = (_text(f" {attribute}", "attribute") for attribute in product.attributes)
        rest = (product.category, product.query, product.product_category)
        return _visible(chain(attributes, map(_text, rest)))
    return _visible(_text(f" {review}", "review") for review in product.reviews)


def clicked_values(query: str, options: tuple[tuple[str, str], ...], item: Fragment) -> frozenset[str]:
    """Return the option values of an item page that `text_rich` shows as clicked.

    The original shows a value as clicked when its address holds the value in double quotes. The address holds the
    query and the choices as JSON, so that a value with an accent never looks clicked, and a quoted query word may.
    """
    address = f"{query.replace(' ', '+')}/{options_json(options)}"
    return frozenset(value for value in item.options if f'"{value}"' in address)


@lru_cache(1024)
def options_json(options: tuple[tuple[str, str], ...]) -> str:
    """Chosen options as the addresses of item pages hold them."""
    return json.dumps(dict(options))


def index_page(instruction: Fragment) -> Page:
    """Return the page with the search bar."""
    return Page(PageKind.INDEX, (instruction, _INDEX_FOOT))


def results_page(instruction: Fragment, number: int, total: int, hits: Fragment, visited: frozenset[str]) -> Page:
    """Return a page of search results; beyond the last one it is without products."""
    return Page(PageKind.RESULTS, (instruction, _results_head(number, total), hits), visited)


@lru_cache(maxsize=256)
def _results_head(number: int, total: int) -> Fragment:
    count = _text(f"Page {number} (Total results: {total})", "count")
    turns = (PREVIOUS, NEXT) if number > 1 else (NEXT,)
    return Fragment((_button(BACK), count, *map(_button, turns)))


def product_page(kind: PageKind, instruction: Fragment, body: Fragment, clicked: frozenset[str] = frozenset()) -> Page:
    """Return an item page or one of its sub pages."""
    return Page(kind, (instruction, _ITEM_HEAD, body), clicked)


def done_page(state: ShopState) -> Page:
    """Return the page after a purchase, with the original's spelling."""
    # The original escapes what could end a script element.
    options = json.dumps(dict(state.options), sort_keys=True)
    for character in "<>&'":
        options = options.replace(character, f"\\u{ord(character):04x}")
    bought = Fragment(map(_text, ("Purchased", "asin", state.asin or "", "options", options)))
    earned = Fragment(map(_text, ("Your score (min 0.0, max 1.0)", str(state.reward), "Reward Details ", "None")))
    return Page(PageKind.DONE, (_DONE_HEAD, bought, _DONE_GOAL, earned))


_DONE_HEAD = Fragment(
    map(_text, ("Thank you for shopping with us!", "Your code: ", "None", " (Paste it in your MTurk interface.)"))
)
_DONE_GOAL = Fragment(
    map(
        _text,
        (
            *("attrs", "None", "category", "None", "query", "None", "product category", "None"),
            *("Target", "asin", "options", "attrs", "price upper", "instuction text", "category", "product category"),
            *("query", "Goal ", "None", "Reward"),
        ),
    )
)
