"""What a chat model's answer names: one of the numbered actions, however plainly it says so.

This module knows nothing of requests, pages or what is done with the choice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic import JsonValue

_SHOWN_CHARACTERS: Final = 200
_READ_CHARACTERS: Final = 20_000
_KEYS: Final = ("action", "answer", "choice", "number")
_END_TOKENS: Final = re.compile(r"(?:\s*(?:<\|[a-z_]{1,30}\|>|</s>|<eos>|<end_of_turn>))+$")
_FENCED: Final = re.compile(r"```(?:json)?\s(.*)```", re.DOTALL)
_NUMBERED: Final = re.compile(r"#?(\d{1,9})(?:[.):]?|[.):]\s+(\S.*)|\s+\((\S.*)\))", re.DOTALL)
_LABELLED: Final = re.compile(
    r"^\W*(?:(?:the|my|best|final|next) )*(?:action|answer|choice)\W*?(?:(?:number|no\.)\W*?)?(?:[:=]|\bis\b)(.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_MENTIONED: Final = re.compile(r"\baction\s+(?:number\s+|no\.\s*|#)?(\d{1,9})\b", re.IGNORECASE)


class ChoiceError(ValueError):
    """An answer does not name one of the actions; the message says what it is instead."""


def choice_format(count: int) -> dict[str, JsonValue]:
    """Return the `response_format` that keeps a server's answer to `{"action": n}`, n from 1 to `count`."""
    number: JsonValue = {"type": "integer", "enum": list(range(1, count + 1))}
    schema: JsonValue = {
        "type": "object",
        "properties": {"action": number},
        "required": ["action"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "choice", "strict": True, "schema": schema}}


def parse_choice(text: str, actions: Sequence[str]) -> int:
    """Return the index (from 0) of the action that an answer names, by its number (from 1) or its exact text.

    Understood are a bare number, quoted or not, an action's text, JSON with one of them under "action", alone, in a
    Markdown code block or in other text, `Action: 3`, a line that is an action's text, and prose that says "action 3"
    of one number only. Thoughts up to `</think>` and end tokens do not count. Of several JSON objects, labels or lines
    the first one counts; a mere mention of an action's text does not.

    Args:
        text: what the model said; text beyond 20,000 characters is not looked at.
        actions: the possible actions, as they were listed.

    Raises:
        ChoiceError: it names none of the actions, or more than one.
    """
    shown = repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}...")
    said = _END_TOKENS.sub("", text[-_READ_CHARACTERS:].rpartition("</think>")[2]).strip()
    thoughts_alone = said.startswith("<think>")
    if thoughts_alone:  # what a server files under reasoning may be the whole answer
        said = said.removeprefix("<think>").strip()
    if fenced := _FENCED.fullmatch(said):
        said = fenced[1].strip()
    listed = [_plain(action) for action in actions]
    try:
        answer = _load(said)
    except (ValueError, RecursionError):
        answer = None if thoughts_alone else _found_in(said, listed)
    if thoughts_alone and not isinstance(answer, dict):
        raise ChoiceError(f"the answer holds thoughts and nothing after them: {shown}")
    index = _index(answer, listed)
    if index is None:
        raise ChoiceError(f"the answer names no action from 1 to {len(actions)} but is {shown}")
    return index


def _index(answer: Any, listed: Sequence[str]) -> int | None:
    """Return the index that a value of JSON names; None if it names none."""
    if isinstance(answer, dict):
        return next((_index(answer[key], listed) for key in _KEYS if key in answer), None)
    if isinstance(answer, list):
        return _index(answer[0], listed) if answer else None
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    if type(answer) is int:
        return answer - 1 if 1 <= answer <= len(listed) else None
    if not isinstance(answer, str):
        return None
    said = _plain(answer)
    numbered = _NUMBERED.fullmatch(said)
    if said in listed and not (numbered and said.isdigit()):
        return listed.index(said)
    if numbered:
        index = _index(int(numbered[1]), listed)
        text = numbered[2] or numbered[3]
        # A number before the text of another action names two.
        return None if text in listed and index != listed.index(text) else index
    return None


def _found_in(text: str, listed: Sequence[str]) -> Any:
    """Return what text that is no JSON says: the number or the text of an action, or a JSON value that holds it."""
    if _index(text, listed) is not None:
        return text
    for value in _objects(text):
        if any(key in value for key in _KEYS):
            return value
    if labelled := _LABELLED.search(text):
        return labelled[1]
    for line in text.splitlines():
        if _plain(line.lstrip("-*> ")) in listed:
            return line.lstrip("-*> ")
    mentioned = set(_MENTIONED.findall(text))
    return int(mentioned.pop()) if len(mentioned) == 1 else None


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a text, in their order."""
    start = text.find("{")
    while start >= 0:
        try:
            value, end = json.JSONDecoder(object_pairs_hook=_first_of_each).raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield value
        start = text.find("{", end)


def _load(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_first_of_each)


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def _plain(text: str) -> str:
    """Return a text as it is compared: single spaces, small letters, no quotes around it."""
    return " ".join(text.split()).strip("\"'`* ").removesuffix(".").lower()
