"""Prompts and candidate actions as tokens: one way for labelling, training and evaluation.

Prompt and action are tokenised apart, so what is supervised is exactly the action, whatever the tokenizer does at the
border. This module knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.teachability.views import StateView

RenderFn = Callable[[StateView, str | None], tuple[str, Sequence[str]]]
"""Makes a prompt, and the text of each action, of a view and a teaching text."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt with its candidates, in tokens."""

    prompt: list[int]
    """At least one token."""
    candidates: list[list[int]]
    """At least one token each."""


EncodeFn = Callable[[StateView, str | None], Encoded]
"""Makes tokens of a view and a teaching text."""


def render_plainly(view: StateView, patch: str | None) -> tuple[str, Sequence[str]]:
    """Return a prompt that names the task, earlier turns, the page, the actions and the teaching text, line by line."""
    parts = [f"task: {view.instruction}"]
    for observation, action in view.history:
        parts += ["before:", observation, f"action: {action}"]
    parts += ["page:", view.observation, "actions: " + " | ".join(view.actions)]
    parts += [f"tip: {patch}"] if patch else []
    return "\n".join([*parts, "action:"]), view.actions


class TextEncoder:
    """Encodes views with a Hugging Face tokenizer.

    Args:
        tokenizer: any; its special tokens are used for the prompt if it adds some, never for an action.
        render: makes text of a view.
        context: most tokens of prompt and longest action together. A longer prompt loses its middle: the task stands at
            its beginning, what is asked at its end.
    """

    def __init__(self, tokenizer: Any, *, render: RenderFn = render_plainly, context: int = 1024) -> None:
        self.tokenizer = tokenizer
        self._render = render
        self._context = context

    def __call__(self, view: StateView, patch: str | None = None) -> Encoded:
        """Return a view in tokens.

        Raises:
            ValueError: an action leaves no room for a prompt.
        """
        prompt, actions = self._render(view, patch)
        candidates = self.tokenizer([f" {action}\n" for action in actions], add_special_tokens=False)["input_ids"]
        room = self._context - max(map(len, candidates))
        if room < 1:
            longest = max(actions, key=len)
            raise ValueError(f"an action leaves no room for a prompt in {self._context} tokens: {longest[:200]!r}")
        return Encoded(cut_middle(self.tokenizer(prompt)["input_ids"], room), candidates)


def cut_middle(tokens: list[int], room: int) -> list[int]:
    """Return at most `room` tokens: the first third of it and the last two thirds."""
    if len(tokens) <= room:
        return tokens
    head = room // 3
    return tokens[:head] + tokens[len(tokens) - (room - head) :]
