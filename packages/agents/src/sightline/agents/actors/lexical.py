"""An actor without a model: actions are as likely as their words are shared with the task.

It reads the prompt's text alone, so it serves in tests and shows in an ablation what word overlap can do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sightline.agents.prompts import count_tokens
from sightline.agents.records import ActionDistribution

if TYPE_CHECKING:
    from sightline.agents.grammar import TaskGrammar


class LexicalActor:
    """Scores an action by the overlap of the words that tell what it is about with the words of the task.

    The score is the overlap coefficient (shared words over the smaller set's size), or the number that the grammar
    gives in place of words; the distribution is the softmax of `sharpness` times the scores. Tokens are counted
    by `count_tokens`, candidates included.

    Args:
        grammar: what actions are about (`action_words`), and which words tell nothing (`stop_words`).
        sharpness: 0 makes all actions equally likely; the larger, the closer to always taking the best.
    """

    def __init__(self, grammar: TaskGrammar, *, sharpness: float = 20.0) -> None:
        self.grammar = grammar
        self.sharpness = sharpness

    def score(self, prompts: Sequence[str], actions: Sequence[Sequence[str]]) -> list[ActionDistribution]:
        """Return one distribution per prompt, over that prompt's actions."""
        return [self._score(prompt, candidates) for prompt, candidates in zip(prompts, actions, strict=True)]

    def _score(self, prompt: str, actions: Sequence[str]) -> ActionDistribution:
        task, _, rest = prompt.casefold().partition("\n")
        page = rest.rpartition("page:\n")[2].split("\n")
        wanted = self._words(task.removeprefix("task:"))
        scores = [self._overlap(action.casefold(), wanted, page) for action in actions]
        weights = [math.exp(self.sharpness * (score - max(scores))) for score in scores]
        probabilities = tuple(weight / sum(weights) for weight in weights)
        best = max(range(len(actions)), key=probabilities.__getitem__)
        return ActionDistribution(probabilities, count_tokens(prompt, *actions), count_tokens(actions[best]))

    def _overlap(self, action: str, wanted: frozenset[str], page: Sequence[str]) -> float:
        about = self.grammar.action_words(action, page)
        if not isinstance(about, str):
            return about
        described = self._words(about)
        return len(described & wanted) / max(min(len(described), len(wanted)), 1)

    def _words(self, text: str) -> frozenset[str]:
        return frozenset(re.findall(r"\w+", text)) - self.grammar.stop_words
