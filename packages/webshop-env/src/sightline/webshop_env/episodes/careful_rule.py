"""A rule for long pages: it buys a product only when all that is asked for was read there, else looks into another.

It sees no more than a prompt shows: a few lines of memory, and the page or a part of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sightline.webshop_env.episodes.page_text import read_page, rule_choice
from sightline.webshop_env.episodes.request_words import ASIDE, content_words
from sightline.webshop_env.episodes.shoppers import choose_or_buy, listed_hits, mentioned_options
from sightline.webshop_env.rules import pages
from sightline.webshop_env.rules.state import PageKind

_PRODUCTS: Final = 3
"""How many products it looks into before it buys the one that it sees: as many as memory holds."""
_OPENED: Final = re.compile(r"opened \S+ (.*)")
_BACK: Final = f"click[{pages.PREVIOUS.lower()}]"
_BUY: Final = f"click[{pages.BUY.lower()}]"


def careful_choice(task: str, shown: str, actions: Sequence[str]) -> str:
    """Return what a shopper does who reads whether a product is what was asked for.

    It opens the affordable hit, not opened yet, whose title shares most words with the task. On an item page it goes
    back while a word of the task stands nowhere in what it sees there, and looks into up to three products so.
    Otherwise it chooses the options that the task mentions, and buys.

    Args:
        task: text that says what is wanted.
        shown: lines of memory that begin with `opened`, a product's number, and its title, the last one opened last;
            then the page, or a part of it, below a line `page:`.
        actions: what can be done.

    Returns:
        One of the actions.
    """
    memory, _, seen = f"\n{shown}\n".rpartition("\npage:\n")
    page = read_page(shown, actions)
    if page.kind is PageKind.RESULTS:
        return _on_results(task, seen, actions)
    if page.kind is not PageKind.ITEM:
        return rule_choice(task, shown, actions)
    opened = [said[1] for line in memory.splitlines() if (said := _OPENED.fullmatch(line))]
    chosen = [line for line in memory.splitlines() if line.startswith("You have clicked ")]
    words = set(content_words(task))
    known = set(content_words("\n".join([seen, *opened[-1:], *chosen])))
    if (words - ASIDE) - known and len(opened) < _PRODUCTS and _BACK in actions:
        return _BACK
    wanted = mentioned_options(page, words)
    marked = {element.name: element.text for element in page.elements if element.marked}
    action = choose_or_buy(page, wanted, marked)
    return action if action in actions else next((each for each in (_BUY, _BACK) if each in actions), actions[-1])


def _on_results(task: str, seen: str, actions: Sequence[str]) -> str:
    page = read_page(seen, actions)
    hits = [hit for hit in listed_hits(task, page) if f"click[{hit.asin.lower()}]" in actions]
    fresh = [hit for hit in hits if hit.asin not in page.marked]
    affordable = [hit for hit in fresh if hit.affordable]
    if not hits:
        return rule_choice(task, seen, actions)
    best = max(affordable or fresh or hits, key=lambda hit: hit.overlap)
    return f"click[{best.asin.lower()}]"
