"""Pages read back from their text, also from a part of it, so that a rule can shop by what an agent was shown.

`render_rich` draws a page; this reads such a drawing. What the text does not say stays unknown: an option value that
can be clicked but is not drawn stands in a group of its own, or with a longer one that holds all its words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from sightline.webshop_env.episodes.shoppers import rule_action
from sightline.webshop_env.rules import pages
from sightline.webshop_env.rules.pages import Element, Fragment, Page, Role
from sightline.webshop_env.rules.shop import parse_action
from sightline.webshop_env.rules.state import SUB_PAGES, PageKind

_BUTTON: Final = re.compile(r"(\s*)\[(clicked )?button\] (.*) \[(?:clicked )?button_\]")
_CHOSEN: Final = re.compile(r"You have clicked (.*)\.")
_COUNT: Final = re.compile(r"Page \d+ \(Total results: \d+\)")
_PRODUCT: Final = re.compile(r"b0[0-9a-z]{8}|[0-9]{9}[0-9x]|#[0-9]+", re.IGNORECASE)
_BUTTONS: Final = frozenset(
    label.lower() for label in (pages.BACK, pages.PREVIOUS, pages.NEXT, pages.BUY, pages.SEARCH, *SUB_PAGES)
)


def read_page(text: str, actions: Iterable[str]) -> Page:
    """Return the page that a text in the mode `text_rich` shows, as far as it shows it.

    Args:
        text: lines of a page, in any order of its parts.
        actions: what can be done on it, which tells its kind and what the text leaves out.
    """
    parsed = [(verb, label) for verb, label in filter(None, map(parse_action, actions)) if label]
    targets = [label for verb, label in parsed if verb == "click"]
    drawn = list(_elements(text.splitlines()))
    known = {element.label for element in drawn if element.role is not Role.TEXT}
    hidden = [label for label in targets if label not in known]
    unseen = [_target(label, _longest(label, hidden)) for label in hidden]
    chosen = {said[1] for line in text.splitlines() if (said := _CHOSEN.fullmatch(line.strip()))}
    chosen |= {element.text for element in drawn if element.marked}
    fragment = Fragment(element._replace(marked=False) for element in (*drawn, *unseen))
    return Page(_kind({verb for verb, _ in parsed}, targets), (fragment,), frozenset(chosen))


def rule_choice(task: str, shown: str, actions: Sequence[str]) -> str:
    """Return what `rule_action` does who sees no more than a part of the page.

    Args:
        task: text that says what is wanted.
        shown: part of the page that can be read.
        actions: what can be done.

    Returns:
        One of the actions: of searches the first, and the last action where what the rule would do is none of them.
    """
    page = read_page(shown, actions)
    wanted = rule_action(task, page)
    if wanted in actions:
        return wanted
    proposed = [action for action in actions if action.startswith("search[")]
    return proposed[0] if proposed and wanted.startswith("search[") else actions[-1]


def _elements(lines: Sequence[str]) -> Iterator[Element]:
    group, below_link = "", 0
    for line, following in pairwise([*lines, ""]):
        button = _BUTTON.fullmatch(line)
        if button:
            element = _target(button[3], group if button[1] else "")
            below_link = 2 if element.role is Role.LINK else 0
            yield element._replace(marked=bool(button[2]))
        elif _COUNT.match(line):
            yield Element(Role.TEXT, line, "count")
        elif line.strip() and not _CHOSEN.fullmatch(line.strip()):
            ahead = _BUTTON.fullmatch(following)
            group = line if ahead and ahead[1] else ""
            name = {2: "title", 1: "price"}.get(below_link, "group" if group else "")
            below_link = max(below_link - 1, 0)
            yield Element(Role.TEXT, line, name)


def _target(label: str, group: str = "") -> Element:
    if label.lower() in _BUTTONS:
        return Element(Role.BUTTON, label)
    if _PRODUCT.fullmatch(label):
        return Element(Role.LINK, label)
    return Element(Role.OPTION, label, group or label)


def _longest(label: str, others: Iterable[str]) -> str:
    words = set(label.split())
    return max((other for other in others if words <= set(other.split())), key=len, default=label)


def _kind(verbs: Collection[str], targets: Sequence[str]) -> PageKind:
    if "search" in verbs:
        return PageKind.INDEX
    if pages.BUY.lower() in targets:
        return PageKind.ITEM
    if pages.NEXT.lower() in targets or any(_PRODUCT.fullmatch(label) for label in targets):
        return PageKind.RESULTS
    return PageKind.DESCRIPTION
