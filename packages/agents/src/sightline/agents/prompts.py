"""Prompts: how a task, what has been done and what is on the page become text for an actor.

The same functions render what the student is trained on and what every actor reads, so the two cannot drift apart.
This module knows the page format of the shop's rich text mode and nothing of models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from sightline.agents.records import Event, Situation

_HEADING = "instruction:"

PRODUCT_NUMBER = re.compile(r"\b(?:b0[a-z0-9]{8}|[0-9]{9}[0-9x])\b", re.IGNORECASE)
"""An ASIN, or an ISBN-10."""


def strip_instruction(observation: str, instruction: str) -> str:
    """The page without the lines that only repeat the instruction.

    A rich page begins `Instruction:`, then the instruction; the index page says `WebShop` before, and lines such as
    `You have clicked red.` may come first. Those stay. A page of another form comes back as it is.

    Args:
        observation: a page, one string a line.
        instruction: the task; a leading `Instruction:` is ignored, as is how its words are spaced.
    """
    lines = observation.split("\n")
    task = _one_line(instruction).casefold().removeprefix(_HEADING).strip()
    for start, line in enumerate(lines):
        if line.strip().casefold() != _HEADING:
            continue
        repeated = ""
        for end in range(start + 1, len(lines)):
            repeated = _one_line(f"{repeated} {lines[end]}").casefold()
            if repeated == task:
                return "\n".join(lines[:start] + lines[end + 1 :])
            if not task.startswith(repeated):
                break
    return observation


def render_prompt(instruction: str, context: Sequence[str], history: Sequence[tuple[str, str]] = ()) -> str:
    """The text after which an action is expected; ends with `action:`, and ` click[...]` follows.

    Args:
        instruction: the task; it becomes the prompt's first line.
        context: the pieces of the current page to show, in page order; a whole page is one piece.
        history: (observation, action) pairs, oldest first.
    """
    parts = [f"task: {_one_line(instruction).removeprefix('Instruction:').strip()}"]
    for observation, action in history:
        parts += ["before:", observation.strip(), f"action: {action}"]
    parts += ["page:", "\n\n".join(piece.strip() for piece in context), "action:"]
    return "\n".join(parts)


def react_history(
    events: Sequence[Event], instruction: str, *, turns: int, max_characters: int
) -> tuple[tuple[str, str], ...]:
    """The last `turns` (observation, action) pairs of an episode, oldest first.

    Args:
        events: alternating OBS and ACT; a last OBS without an action, the current page, is left out.
        instruction: the task, which is stripped from the pages.
        turns: pairs to keep.
        max_characters: pages are cut to this length, and end in `...` where they are.
    """
    pairs = [
        (_clip(strip_instruction(page.text, instruction).strip(), max_characters), action.text)
        for page, action in pairwise(events)
        if page.kind == "OBS" and action.kind == "ACT"
    ]
    return tuple(pairs[max(len(pairs) - turns, 0) :])


def react_prompt(situation: Situation, *, turns: int, max_characters: int) -> str:
    """The prompt of an agent that sees the whole page after a rolling history (see `react_history`)."""
    page = strip_instruction(situation.observation, situation.instruction)
    history = react_history(situation.events, situation.instruction, turns=turns, max_characters=max_characters)
    return render_prompt(situation.instruction, [page], history)


def abbreviate_products(page: str, texts: Sequence[str]) -> list[str]:
    """The texts with short labels in place of product numbers, the same label everywhere.

    A product number costs a language model some seven tokens and says nothing; `#1` is the first product of the
    page, `#2` the second, and numbers that the page does not show follow in the order of the texts.

    Args:
        page: the current page, in full.
        texts: a prompt and its candidate actions, for example.
    """
    labels: dict[str, str] = {}
    for text in (page, *texts):
        for number in PRODUCT_NUMBER.findall(text):
            labels.setdefault(number.lower(), f"#{len(labels) + 1}")
    return [PRODUCT_NUMBER.sub(lambda match: labels[match[0].lower()], text) for text in texts]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _clip(text: str, max_characters: int) -> str:
    return text if len(text) <= max_characters else text[: max(max_characters - 3, 0)] + "..."
