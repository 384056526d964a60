"""Prompts: how a task, what has been done and what is on the page become text for an actor.

The same functions render what the student is trained on and what every actor reads, so the two cannot drift apart.
This module knows nothing of models or of any one task's pages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from sightline.agents.records import Event, Situation

if TYPE_CHECKING:
    from sightline.agents.grammar.grammar import TaskGrammar


_END = "action:"
_TOKEN: Final = re.compile(r"\w+|[^\w\s]")


def count_tokens(*texts: str) -> int:
    """Return the number of words and punctuation marks: how views, and actors without a tokenizer, count tokens."""
    return sum(len(_TOKEN.findall(text)) for text in texts)


def render_prompt(
    task: str,
    context: Sequence[str],
    history: Sequence[tuple[str, str]] = (),
    *,
    memory: Sequence[str] = (),
    tip: str | None = None,
) -> str:
    """Return the text after which an action is expected; it ends with `action:`, and a space and the action follow.

    Args:
        task: the task on one line (see `TaskGrammar.task_text`); it becomes the prompt's first line.
        context: pieces of the current page to show, in this order; a whole page is one piece.
        history: (observation, action) pairs, oldest first.
        memory: lines that say what the episode is worth remembering (see `TaskGrammar.memory`).
        tip: advice, which becomes the last line before `action:`; white space in it counts as single spaces.
    """
    parts = [f"task: {task}", *(["memory:", *memory] if memory else [])]
    for observation, action in history:
        parts += ["before:", observation.strip(), f"action: {action}"]
    parts += ["page:", "\n\n".join(piece.strip() for piece in context)]
    prompt = "\n".join([*parts, _END])
    return prompt if tip is None else with_tip(prompt, tip)


def split_prompt(prompt: str) -> tuple[str, str]:
    """Return the task and all else that a prompt of `render_prompt` shows."""
    task, _, rest = prompt.removesuffix(_END).partition("\n")
    return task.removeprefix("task: "), rest.strip()


def with_tip(prompt: str, tip: str) -> str:
    """Return a prompt of `render_prompt` with advice as its last line before `action:`."""
    return f"{prompt.removesuffix(_END)}tip: {' '.join(tip.split())}\n{_END}"


def react_history(
    events: Sequence[Event], instruction: str, grammar: TaskGrammar, *, turns: int, max_characters: int
) -> tuple[tuple[str, str], ...]:
    """Return the last `turns` (observation, action) pairs of an episode, oldest first.

    Args:
        events: alternating OBS and ACT; a last OBS without an action, the current page, is left out.
        instruction: what the user asked for.
        grammar: how pages are read.
        turns: number of pairs to keep.
        max_characters: length to which pages are cut; those that are end in `...`.
    """
    pairs = [
        (_clip(grammar.page_text(page.text, instruction).strip(), max_characters), action.text)
        for page, action in pairwise(events)
        if page.kind == "OBS" and action.kind == "ACT"
    ]
    return tuple(pairs[max(len(pairs) - turns, 0) :])


def react_prompt(situation: Situation, grammar: TaskGrammar, *, turns: int, max_characters: int) -> str:
    """Return the prompt of an agent that sees the whole page after a rolling history (see `react_history`)."""
    page = grammar.page_text(situation.observation, situation.instruction)
    history = react_history(
        situation.events, situation.instruction, grammar, turns=turns, max_characters=max_characters
    )
    return render_prompt(grammar.task_text(situation.instruction), [page], history)


def _clip(text: str, max_characters: int) -> str:
    return text if len(text) <= max_characters else text[: max(max_characters - 3, 0)] + "..."
