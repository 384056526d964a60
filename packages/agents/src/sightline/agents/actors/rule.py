"""An actor that acts by a rule over what it can read, so that views are compared on an actor that can do the task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sightline.agents.prompts import count_tokens, split_prompt
from sightline.agents.records import ActionDistribution

PromptRule = Callable[[str, str, Sequence[str]], str]
"""The task on one line, all else that the prompt shows (memory, parts of the page), the candidates -> one of them."""


class RuleActor:
    """Finds one candidate certain: the one that a rule chooses from what the prompt shows, and from nothing else.

    Args:
        rule: rule to act by; what it chooses must be a candidate.
    """

    def __init__(self, rule: PromptRule) -> None:
        self.rule = rule

    def score(self, prompts: Sequence[str], actions: Sequence[Sequence[str]]) -> list[ActionDistribution]:
        """Return one distribution per prompt, over that prompt's actions.

        Raises:
            ValueError: the rule chose what is no candidate.
        """
        return [self._score(prompt, candidates) for prompt, candidates in zip(prompts, actions, strict=True)]

    def _score(self, prompt: str, actions: Sequence[str]) -> ActionDistribution:
        chosen = self.rule(*split_prompt(prompt), actions)
        if chosen not in actions:
            raise ValueError(f"the rule chose {chosen!r}, which is none of {list(actions)}")
        certain = tuple(float(action == chosen) for action in actions)
        return ActionDistribution(certain, count_tokens(prompt, *actions), count_tokens(chosen))
