"""The simplest rule that shops: what any model that shops should beat."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sightline.agents.grammar.shop_pages import CHOSEN
from sightline.agents.grammar.webshop import ShopAction, action_type

_WORD: Final = re.compile(r"\w+")
_CLICKED: Final = re.compile(r"\[clicked button\] (.*) \[clicked button_\]")


def first_hit(task: str, shown: str, actions: Sequence[str]) -> str:
    """Return the action of a shopper that searches, opens the first hit, chooses what the task mentions, and buys.

    Args:
        task: the task on one line.
        shown: what can be read, memory included.
        actions: candidates.
    """
    words = set(_WORD.findall(task.lower()))
    chosen = {said[1] for line in shown.splitlines() if (said := CHOSEN.fullmatch(line))} | set(_CLICKED.findall(shown))
    by_kind: dict[ShopAction, list[str]] = {}
    for action in actions:
        by_kind.setdefault(action_type(action), []).append(action)
    options = [action[len("click[") : -1] for action in by_kind.get(ShopAction.CLICK_OPTION, [])]
    for value in options:
        own = set(_WORD.findall(value.lower()))
        if value not in chosen and own and own <= words:
            return f"click[{value}]"
    for kind in (ShopAction.CLICK_BUY, ShopAction.SEARCH, ShopAction.CLICK_PRODUCT, ShopAction.CLICK_PREVIOUS):
        if kind in by_kind:
            return by_kind[kind][0]
    return actions[0]
