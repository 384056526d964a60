"""Candidate actions of a page, and the kinds of action there are. Pure functions over text.

A shop page offers clicks but leaves the words of a search open; here an instruction's own words become a few
search proposals, so that every decision is a choice from a finite list.
This module knows nothing of models or of how a page is rendered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class ActionType(StrEnum):
    """What an action does."""

    SEARCH = "search"
    CLICK_PRODUCT = "click_product"
    CLICK_OPTION = "click_option"
    CLICK_BUY = "click_buy"
    CLICK_NEXT = "click_next"
    CLICK_PREVIOUS = "click_previous"
    CLICK_BACK = "click_back"
    CLICK_SUBPAGE = "click_subpage"


ACTION_TYPES: tuple[ActionType, ...] = tuple(ActionType)
"""All action types in the order of a classifier's outputs."""

_BUTTONS = {
    "buy now": ActionType.CLICK_BUY,
    "next >": ActionType.CLICK_NEXT,
    "< prev": ActionType.CLICK_PREVIOUS,
    "back to search": ActionType.CLICK_BACK,
    "description": ActionType.CLICK_SUBPAGE,
    "features": ActionType.CLICK_SUBPAGE,
    "reviews": ActionType.CLICK_SUBPAGE,
    "attributes": ActionType.CLICK_SUBPAGE,
}
_PRODUCT = re.compile(r"b0[0-9a-z]{8}|[0-9]{9}[0-9x]|#[0-9]+")

_PRICE_CLAUSE = re.compile(r",?\s*(?:and\s+)?price\s+(?:is\s+)?(?:lower|less|cheaper|under|below)\b.*", re.DOTALL)
_OPENING = re.compile(
    r"\s*(?:instruction\s*:)?\W*(?:(?:a|am|an|buy|can|d|find|for|get|give|help|i|im|like|look|looking|m|me|need|please|"
    r"search|searching|shopping|show|some|the|to|want|we|would|you)\b\W*)*"
)
_HEAD_ENDS_BEFORE = re.compile(r"(?<!\S)(?:with|that|which|for|in|has|have|having|made)(?!\S)")
_WORD = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*")
_STOP_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be but by can find for from get has have having i if im i'm in into is it its looking me "
        "my need of on or please should so some that the their then there these they this to want was we which will "
        "with would you your"
    )
)
_PROPOSALS = 3


def action_type(action: str) -> ActionType:
    """The type of an action.

    A click on anything that is neither a button of the shop nor a product number (`b0` and eight letters or
    digits, an ISBN-10, or a label such as `#3` that stands for one in prompts) is a click on an option.

    Args:
        action: `search[words]` or `click[target]`; the target's letter case does not matter.

    Raises:
        ValueError: the action has neither form.
    """
    if action.startswith("search[") and action.endswith("]"):
        return ActionType.SEARCH
    if not (action.startswith("click[") and action.endswith("]")):
        raise ValueError(f"{action!r} is no action; expected 'search[words]' or 'click[target]'")
    target = action[len("click[") : -1].lower()
    if target in _BUTTONS:
        return _BUTTONS[target]
    return ActionType.CLICK_PRODUCT if _PRODUCT.fullmatch(target) else ActionType.CLICK_OPTION


def propose_queries(instruction: str) -> tuple[str, ...]:
    """Search queries made of an instruction's own words, lower-cased, longest first.

    The first holds every telling word; the others only the thing itself ("desk lamp" of "a desk lamp that is
    quick release"). The price clause, opening phrase and stop words are left out.

    Args:
        instruction: what the user asked for.

    Returns:
        Up to three distinct queries: at least two when there are two telling words, and none only when the
        instruction has no word at all.
    """
    text = _OPENING.sub("", _PRICE_CLAUSE.sub("", instruction.lower()), count=1)
    words = _telling_words(text) or tuple(dict.fromkeys(_WORD.findall(instruction.lower())))
    head = _telling_words(_HEAD_ENDS_BEFORE.split(text, maxsplit=1)[0]) or words
    proposals = (words, head, head[-3:], head[-1:])
    return tuple(dict.fromkeys(" ".join(proposal) for proposal in proposals if proposal))[:_PROPOSALS]


def candidate_actions(instruction: str, available: Mapping[str, Any]) -> tuple[str, ...]:
    """The actions an agent may choose from.

    Args:
        instruction: what the user asked for.
        available: the environment's `info["available_actions"]`: `has_search_bar` (bool) and `clickables`
            (list of str).

    Returns:
        The search proposals where the page has a search bar, then one click per clickable in page order. The
        button that submits the search bar is left out: clicking it does nothing.
    """
    searches = propose_queries(instruction) if available["has_search_bar"] else ()
    clicks = dict.fromkeys(f"click[{target}]" for target in available["clickables"] if target != "search")
    return (*(f"search[{query}]" for query in searches), *clicks)


def _telling_words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in _WORD.findall(text) if word not in _STOP_WORDS))
