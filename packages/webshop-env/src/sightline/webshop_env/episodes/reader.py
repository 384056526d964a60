"""A shopper that knows only the instruction and what it has read, so that its demonstrations show reading.

It reaches what reading alone can reach: nothing here asks the goal, the reward or a page that was not opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sightline.webshop_env.episodes.request_words import ASIDE, content_words
from sightline.webshop_env.episodes.shoppers import choose_or_buy, listed_hits, mentioned_options, rule_action
from sightline.webshop_env.rules import pages
from sightline.webshop_env.rules.pages import Page, Role
from sightline.webshop_env.rules.state import SUB_PAGES, PageKind

_TELLING: Final = (PageKind.FEATURES, PageKind.DESCRIPTION)
"""Pages that it opens while an asked word stands nowhere yet; Reviews follow where the page says that there are any."""
_PRODUCTS: Final = 3
"""How many products it looks into before it buys the best of them."""
_PATIENCE: Final = 9
"""How many pages it sees before it buys the best product so far: shops of the literature close after 15 steps."""
_SPARE: Final = 1
"""How many words may stand nowhere: a request calls things by other names than a shop does."""
_BACK: Final = f"click[{pages.PREVIOUS.lower()}]"

_Read = dict[str, tuple[set[str], set[PageKind]]]
"""Title -> the words read of the product, and which of its pages were opened, in the order of first opening."""


def reader_action(instruction: str, seen: Sequence[Page]) -> str:
    """Return what a shopper does who reads on while something that is asked for stands nowhere yet.

    It searches with the instruction's words and opens the affordable hit whose title shares most words with them. While
    a word is missing from all that it has read of a product, it opens Features and Description. A product whose pages
    hold every word is bought with the options that the instruction mentions; otherwise the next hits are
    looked into, and the best of them is bought.

    Args:
        instruction: text that says what is wanted.
        seen: pages that were shown since the episode began, the present one last.
    """
    page = seen[-1]
    wanted = set(content_words(instruction)) - ASIDE
    read = _read(seen)
    best = max(read, key=lambda title: len(wanted & read[title][0]), default="")
    if page.kind is PageKind.RESULTS:
        return _on_results(instruction, page, read, best, len(seen))
    if page.kind in SUB_PAGES:
        return _BACK
    if page.kind is not PageKind.ITEM:
        return rule_action(instruction, page)
    title = _title(page)
    words, opened = read[title]
    missing = len(wanted - words)
    settled = missing <= _SPARE or len(read) >= _PRODUCTS or len(seen) > _PATIENCE
    unread = [kind for kind in _TELLING if kind not in opened and kind.lower() in page.targets]
    if missing > _SPARE and unread and len(seen) <= _PATIENCE:
        return f"click[{unread[0].lower()}]"
    if title != best or (not settled and _others(instruction, seen, read)):
        return _BACK
    chosen = mentioned_options(page, wanted)
    marked = {e.name: e.text for e in page.elements if e.marked and chosen.get(e.name) == e.text}
    return choose_or_buy(page, chosen, marked)


def _read(seen: Sequence[Page]) -> _Read:
    read: _Read = {}
    title = ""
    for page in seen:
        if page.kind is PageKind.ITEM:
            title = _title(page)
        if page.kind is PageKind.ITEM or page.kind in SUB_PAGES:
            words, opened = read.setdefault(title, (set(), set()))
            opened.add(page.kind)
            for element in page.elements:
                if element.role in (Role.TEXT, Role.OPTION) and element.name != "instruction":
                    words.update(content_words(element.text))
    return read


def _title(page: Page) -> str:
    return next((element.text for element in page.elements if element.name == "title"), "")


def _on_results(instruction: str, page: Page, read: _Read, best: str, seen: int) -> str:
    hits = listed_hits(instruction, page)
    fresh = [hit for hit in hits if hit.affordable and hit.title not in read]
    if read and len(read) < _PRODUCTS and fresh and seen <= _PATIENCE:
        return f"click[{max(fresh, key=lambda hit: hit.overlap).asin.lower()}]"
    again = [hit for hit in hits if hit.title == best]
    return f"click[{again[0].asin.lower()}]" if again else rule_action(instruction, page)


def _others(instruction: str, seen: Sequence[Page], read: _Read) -> bool:
    """Tell whether the last results page lists an affordable product that was not opened yet."""
    results = next((page for page in reversed(seen) if page.kind is PageKind.RESULTS), None)
    hits = [] if results is None else listed_hits(instruction, results)
    return any(hit.affordable and hit.title not in read for hit in hits)
