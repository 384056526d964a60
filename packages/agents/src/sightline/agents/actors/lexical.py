"""An actor without a model: actions are as likely as their words are shared with the task.

It reads the prompt's text alone, so it serves in tests and shows in an ablation what word overlap can do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from sightline.agents.grammar.actions import ActionType, action_type
from sightline.agents.records import ActionDistribution

_STOP_WORDS = frozenset(
    ("a", "am", "an", "and", "for", "i", "in", "is", "lower", "of", "price", "than", "that", "the", "with")
)
# A page never says that it is time to buy: this stands between an option that the task names and one that it does not.
_PRIORS = {ActionType.SEARCH: 1.0, ActionType.CLICK_BUY: 0.5}


class LexicalActor:
    """Scores an action by the overlap of its words, and of the lines below a product's number, with the task's words.

    The score is the overlap coefficient (shared words over the smaller set's size), 1 for a search, 0 for an option
    that is already chosen; the distribution is the softmax of `sharpness` times the scores.
    Tokens are counted as words between white space.

    Args:
        sharpness: 0 makes all actions equally likely; the larger, the closer to always taking the best.
    """

    def __init__(self, *, sharpness: float = 20.0) -> None:
        self.sharpness = sharpness

    def score(self, prompts: Sequence[str], actions: Sequence[Sequence[str]]) -> list[ActionDistribution]:
        """One distribution per prompt, over that prompt's actions."""
        return [self._score(prompt, candidates) for prompt, candidates in zip(prompts, actions, strict=True)]

    def _score(self, prompt: str, actions: Sequence[str]) -> ActionDistribution:
        task, _, rest = prompt.casefold().partition("\n")
        page = rest.rpartition("page:\n")[2].split("\n")
        wanted = _words(task.removeprefix("task:"))
        scores = [_overlap(action.casefold(), wanted, page) for action in actions]
        weights = [math.exp(self.sharpness * (score - max(scores))) for score in scores]
        probabilities = tuple(weight / sum(weights) for weight in weights)
        best = max(range(len(actions)), key=probabilities.__getitem__)
        return ActionDistribution(probabilities, len(prompt.split()), len(actions[best].split()))


def _overlap(action: str, wanted: frozenset[str], page: Sequence[str]) -> float:
    kind = action_type(action)
    if kind in _PRIORS:
        return _PRIORS[kind]
    target = action.partition("[")[2].removesuffix("]")
    described = _words(target)
    for number, line in enumerate(page):
        if f"[clicked button] {target} [clicked button_]" in line and kind is ActionType.CLICK_OPTION:
            return 0.0
        if f"button] {target} [" in line and kind is ActionType.CLICK_PRODUCT:
            described |= _words("\n".join(_description(page[number + 1 :])))
    return len(described & wanted) / max(min(len(described), len(wanted)), 1)


def _description(lines: Sequence[str]) -> list[str]:
    """The lines up to the next button, gap or end: what a results page says of the product above them."""
    description = []
    for line in lines:
        if not line.strip() or "button]" in line or line == "action:":
            break
        description.append(line)
    return description


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text)) - _STOP_WORDS
