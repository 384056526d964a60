"""A scripted shopper that reads only the page; a pure function, so it can take over in the middle of any episode."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from sightline.webshop_env.episodes.request_words import MAX_QUERY_WORDS, PRICE_CLAUSE, content_words
from sightline.webshop_env.rules import pages
from sightline.webshop_env.rules.pages import Page, Role
from sightline.webshop_env.rules.shop import PAGE_SIZE, RESERVED, parse_action
from sightline.webshop_env.rules.state import SUB_PAGES, PageKind

_MAX_RESULT_PAGES: Final = 5

_COUNT: Final = re.compile(r"Page (\d+) \(Total results: (\d+)\)")
_PRICE: Final = re.compile(r"\$([\d.]+)")


def _reachable(page: Page, values: Iterable[str]) -> dict[str, str]:
    """Group -> value for those values that a click can choose.

    Of equal values in two groups a click chooses the later group's, so the group is what the page says, not what was
    wanted; one value a group, so that no two choices undo each other for ever.
    """
    chosen: dict[str, str] = {}
    for value in values:
        target = page.targets.get(value)
        clickable = value not in RESERVED and parse_action(f"click[{value}]") == ("click", value)
        if target is not None and target.role is Role.OPTION and clickable:
            chosen.setdefault(target.name, value)
    return chosen


def choose_or_buy(page: Page, wanted: Mapping[str, str], chosen: Mapping[str, str]) -> str:
    """Return the click on the first wanted value that is not chosen yet, or on `Buy Now` where all are.

    Args:
        page: item page that is shown.
        wanted: group -> value to choose.
        chosen: group -> value that is chosen.
    """
    for group, value in wanted.items():
        if chosen.get(group) != value:
            return f"click[{value}]"
    return f"click[{pages.BUY.lower()}]"


def rule_action(instruction: str, page: Page) -> str:
    """Return what a shopper does who only matches words of the instruction with words on the page.

    It searches with the instruction's words, opens the affordable hit whose title shares most words with them, chooses
    the option values that the instruction mentions, and buys.

    Args:
        instruction: text that says what is wanted.
        page: the page that is shown.
    """
    words = content_words(instruction)
    if page.kind is PageKind.RESULTS:
        return _rule_on_results(instruction, page)
    if page.kind in SUB_PAGES:
        return f"click[{pages.PREVIOUS.lower()}]"
    if page.kind is PageKind.ITEM:
        wanted = mentioned_options(page, set(words))
        marked = {e.name: e.text for e in page.elements if e.marked and wanted.get(e.name) == e.text}
        return choose_or_buy(page, wanted, marked)
    return f"search[{' '.join(words[:MAX_QUERY_WORDS]) or 'product'}]"


class Hit(NamedTuple):
    """A product as a results page lists it."""

    asin: str
    """The product's number."""
    title: str
    """The product's title."""
    overlap: int
    """Number of words that the title shares with the instruction."""
    affordable: bool
    """Whether the price, as far as it is known, is within the instruction's limit."""


def listed_hits(instruction: str, page: Page) -> list[Hit]:
    """Return the products that a results page lists, in its order."""
    clause = PRICE_CLAUSE.search(instruction.lower())
    limit = float(clause[1]) if clause else float("inf")
    words = set(content_words(instruction))
    hits: list[Hit] = []
    for element in page.elements:
        if element.role is Role.LINK:
            hits.append(Hit(element.text, "", 0, affordable=True))
        elif hits and element.name == "title":
            hits[-1] = hits[-1]._replace(
                title=element.text, overlap=len(words.intersection(content_words(element.text)))
            )
        elif hits and element.name == "price" and (price := _PRICE.search(element.text)):
            hits[-1] = hits[-1]._replace(affordable=float(price[1]) <= limit)
    return hits


def _rule_on_results(instruction: str, page: Page) -> str:
    hits = listed_hits(instruction, page)
    number, total = 1, 0
    for element in page.elements:
        if element.name == "count" and (count := _COUNT.match(element.text)):
            number, total = int(count[1]), int(count[2])
    affordable = [hit for hit in hits if hit.affordable]
    more = number < _MAX_RESULT_PAGES and number * PAGE_SIZE < total
    if not affordable and more:
        return f"click[{pages.NEXT.lower()}]"
    if not hits:
        return f"click[{(pages.PREVIOUS if number > 1 else pages.BACK).lower()}]"
    best = max(affordable or hits, key=lambda hit: hit.overlap)
    return f"click[{best.asin.lower()}]"


def mentioned_options(page: Page, words: set[str]) -> dict[str, str]:
    """Return group -> the longest value all of whose words the instruction mentions.

    Args:
        page: item page that is shown.
        words: words of the instruction.
    """
    values = [label for label, element in page.targets.items() if element.role is Role.OPTION]
    # The page never shows a value as chosen that JSON would escape, so a click on one could not be seen to work.
    plain = (value for value in values if value.isascii() and '"' not in value and "\\" not in value)
    mentioned = [(value, own) for value in plain if (own := set(content_words(value))) and own <= words]
    return _reachable(page, (value for value, _ in sorted(mentioned, key=lambda pair: -len(pair[1]))))
