"""What is wrong with an action that a page does not take, and what was meant by one that is nearly right.

The rules never ask this module: they take an action or leave it. It serves whoever has to tell a trainer, a model or a
person.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from sightline.webshop_env.rules.pages import Page
from sightline.webshop_env.rules.shop import MAX_ACTION_LENGTH, parse_action
from sightline.webshop_env.rules.state import PageKind

_SHOWN: Final = 80
_NAMED: Final = 8
_FENCE: Final = re.compile(r"```\w*\s*(.*?)\s*```", re.DOTALL)
_LEAD: Final = re.compile(r"^\s*(?:action|next action|my action)\s*:\s*", re.IGNORECASE)
_CALL: Final = re.compile(r"\b(click|search)\s*\[(.*)\]", re.IGNORECASE)
_PARENTHESES: Final = re.compile(r"^(click|search)\s*\((.*)\)$", re.IGNORECASE | re.DOTALL)
_QUOTES: Final = "\"'`"


class Repaired(NamedTuple):
    """An action as the shop takes it, and what was changed to make it so."""

    action: str
    """Action as `Shop.act` takes it; the text itself where nothing could be made of it."""
    repairs: tuple[str, ...] = ()
    """Changes in words, in the order in which they were made; empty where none was needed."""


def action_error(page: Page, action: str) -> str | None:
    """Return why a page does not take an action, and what it would take; None where it does.

    Args:
        page: page that is shown.
        action: action as it was given.
    """
    if len(action) > MAX_ACTION_LENGTH:
        return f"an action has at most {MAX_ACTION_LENGTH:,} characters, not {len(action):,}"
    parsed = parse_action(action)
    if parsed is None:
        return f"an action is search[words] or click[label], not {_shown(action)}"
    name, argument = parsed
    if name == "search":
        return None
    if name != "click":
        return f"there is no action {_shown(name)}; there are search[words] and click[label]"
    if argument == "search" and page.kind is PageKind.INDEX:
        return "the search bar takes words: search[words]"
    if argument in page.targets:
        return None
    labels = list(page.targets)
    near = difflib.get_close_matches(argument, labels, n=1)
    hint = f"did you mean click[{near[0]}]?" if near else f"it offers {_some(labels)}"
    return f"this page has nothing to click with the label {_shown(argument)}; {hint}"


def repair_action(page: Page, text: str) -> Repaired:
    """Return the action that a text nearly is: without code fences, `Action:`, JSON around it, or stray blanks.

    Nothing is guessed: a label is corrected only by case and blanks, never to another one that is merely similar.

    Args:
        page: page that is shown; a label is looked for among its own.
        text: what a model or a person wrote.

    Returns:
        The action and what was changed. A text that the page takes as it is comes back unchanged.
    """
    if action_error(page, text) is None:
        return Repaired(text)
    repairs: list[str] = []
    found = text[: MAX_ACTION_LENGTH + 1]
    for change, repair in (
        ("took the text out of its code fence", _without_fence),
        ("read a JSON tool call", _from_json),
        ("left out what stands before the action", _without_lead),
        ("took brackets for parentheses", _with_brackets),
        ("left out what stands around the action", _call_alone),
        ("spelt the label as the page does", lambda action: _with_own_label(page, action)),
    ):
        changed = repair(found)
        if changed != found:
            found = changed
            repairs.append(change)
    return Repaired(found, tuple(repairs)) if action_error(page, found) is None else Repaired(text)


def _without_fence(text: str) -> str:
    fenced = _FENCE.search(text)
    return fenced.group(1) if fenced else text


def _from_json(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        return text
    if isinstance(action := value.get("action"), str):
        return action
    call = value.get("function") if isinstance(value.get("function"), Mapping) else value
    name, arguments = call.get("name"), call.get("arguments", call.get("parameters"))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return text
    values = list(arguments.values()) if isinstance(arguments, Mapping) else []
    if isinstance(name, str) and len(values) == 1 and isinstance(values[0], str):
        return f"{name}[{values[0]}]"
    return text


def _without_lead(text: str) -> str:
    lines = text.splitlines()
    led = [line for line in lines if _LEAD.match(line)]
    return _LEAD.sub("", led[-1]) if led else text


def _with_brackets(text: str) -> str:
    call = _PARENTHESES.match(text.strip())
    return f"{call.group(1).lower()}[{call.group(2).strip().strip(_QUOTES)}]" if call else text


def _call_alone(text: str) -> str:
    calls = [call for line in text.splitlines() for call in _CALL.finditer(line)]
    # Of several actions none is the one that was meant.
    return f"{calls[0].group(1).lower()}[{calls[0].group(2)}]" if len(calls) == 1 else text


def _with_own_label(page: Page, action: str) -> str:
    parsed = parse_action(action)
    if parsed is None or parsed[0] != "click" or parsed[1] in page.targets:
        return action
    wanted = _plain(parsed[1])
    same = [label for label in page.targets if _plain(label) == wanted]
    return f"click[{same[0]}]" if len(same) == 1 else action


def _plain(label: str) -> str:
    return "".join(label.lower().strip().strip(_QUOTES).split())


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}...")


def _some(labels: list[str]) -> str:
    named = ", ".join(map(_shown, labels[:_NAMED])) or "nothing"
    return named if len(labels) <= _NAMED else f"{named} and {len(labels) - _NAMED} more"
