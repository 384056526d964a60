"""The teachers of the shop.

One knows what can still be reached, one knows the student's own values, and a chat model sees the page alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from experiments.teaching.settings import MeasureSettings, StudentSettings
from experiments.teaching.student import open_policy
from experiments.teaching.world import ShopDynamics
from sightline.agents.chat import ChatConfig
from sightline.agents.grammar import ShopAction, webshop_grammar
from sightline.teachability import Refusal, StateView, Teacher, TeacherHint, ValueGraph
from sightline.teachability.records import ErrorType
from sightline.teachability.supervision import PromptedTeacher
from sightline.webshop_env import ShopState
from sightline.webshop_env.episodes import best_action

BEST_PROMPTS = 120
"""Most answers of the student for the values of a page's actions, where nothing else is said."""

_REASONS: dict[str, tuple[str, ErrorType]] = {
    ShopAction.SEARCH: ("these words find products that can be what is asked for", "planning_error"),
    ShopAction.CLICK_PRODUCT: ("this product can be what is asked for", "attribute_confusion"),
    ShopAction.CLICK_OPTION: ("the task asks for this choice", "affordance_miss"),
    ShopAction.CLICK_BUY: ("all that is asked for has been chosen", "planning_error"),
    ShopAction.CLICK_NEXT: ("what is asked for stands on a later page", "exploration_failure"),
    ShopAction.CLICK_PREVIOUS: ("what is asked for is not on this page", "exploration_failure"),
    ShopAction.CLICK_BACK: ("this search cannot find what is asked for", "exploration_failure"),
    ShopAction.CLICK_SUBPAGE: ("what is asked for is described there", "affordance_miss"),
}


def hint_for(action: str, *, teacher: str = "") -> TeacherHint:
    """Return a hint that gives the reason of the action's kind."""
    reason, mistake = _REASONS[webshop_grammar.action_type(action)]
    return TeacherHint(action=action, rationale=reason, error_type=mistake, confidence="high", teacher=teacher)


class GoalTeacher:
    """Knows the goal: takes an action that leaves the best reward within reach, in the fewest steps.

    Args:
        dynamics: the shop.
    """

    name = "knows the goal"

    def __init__(self, dynamics: ShopDynamics) -> None:
        self._dynamics = dynamics
        self.fingerprint = f"best reachable, {dynamics.shop.identity['catalogue']}"

    def advise(
        self, views: Sequence[StateView], states: Sequence[ShopState], *, nonce: int = 0
    ) -> list[TeacherHint | Refusal]:
        """Return the best action with the reason of its kind, or a refusal where nothing can be bought any more."""
        hints: list[TeacherHint | Refusal] = []
        for state in states:
            action = self._best(state)
            if action is None:
                hints.append(Refusal(reason="no purchase can be made in the steps that are left"))
                continue
            hints.append(hint_for(action, teacher=self.name))
        return hints

    def act(self, states: Sequence[ShopState]) -> list[str]:
        """Return the best action; where nothing can be bought, the first that the page offers."""
        return [self._best(state) or self._dynamics.actions(state)[0] for state in states]

    def _best(self, state: ShopState) -> str | None:
        return best_action(self._dynamics.shop, state, searches=self._dynamics.searches(state))


class BestTeacher:
    """Knows nothing of the goal: takes the action that the student itself would certainly do most with.

    Args:
        dynamics: the shop.
        policy: the student.
        max_prompts: most answers of the student for the values of a page's actions.
    """

    name = "the student's own best"

    def __init__(self, dynamics: ShopDynamics, policy: Any, *, max_prompts: int) -> None:
        self._dynamics, self._policy, self._max_prompts = dynamics, policy, max_prompts
        self.fingerprint = f"best of its own, {policy.fingerprint}, {max_prompts}"

    def advise(
        self, views: Sequence[StateView], states: Sequence[ShopState], *, nonce: int = 0
    ) -> list[TeacherHint | Refusal]:
        """Return the action whose value has the highest lower end, with the reason of its kind."""
        return [hint_for(action, teacher=self.name) for action in self.act(states)]

    def act(self, states: Sequence[ShopState]) -> list[str]:
        """Return the action whose value has the highest lower end; the first of several."""
        return [self._best(state) for state in states]

    def _best(self, state: ShopState) -> str:
        values = ValueGraph(self._dynamics, self._policy, max_prompts=self._max_prompts).action_values(state)
        return max(values, key=lambda action: values[action].low)


def open_teacher(settings: StudentSettings, dynamics: ShopDynamics) -> Teacher[ShopState]:
    """Return the teacher that the settings ask for."""
    if settings.teacher == "goal":
        return GoalTeacher(dynamics)
    if settings.teacher == "best":
        prompts = settings.max_prompts if isinstance(settings, MeasureSettings) else BEST_PROMPTS
        return BestTeacher(dynamics, open_policy(settings), max_prompts=prompts)
    assert settings.chat is not None  # the settings have checked it
    return PromptedTeacher(
        ChatQuestion(settings.chat), name=settings.chat.model, fingerprint=settings.chat.model_dump_json()
    )


class ChatQuestion:
    """Asks a chat model one question at a time.

    Args:
        config: where and how.
    """

    def __init__(self, config: ChatConfig) -> None:
        self._config = config

    def __call__(self, prompt: str, nonce: int) -> str:
        """Return the model's answer."""
        return asyncio.run(self._ask(prompt, nonce))

    async def _ask(self, prompt: str, nonce: int) -> str:
        from sightline.agents.chat import ChatClient

        client = ChatClient(self._config, os.environ.get("OPENAI_API_KEY"), cache=None, ledger=None)
        try:
            temperature = {} if self._config.temperature is None else {"temperature": self._config.temperature}
            asked = prompt if not nonce else f"{prompt}\n\nYour last answer could not be used. Name one of the actions."
            answer = await client.answer(
                {
                    "model": self._config.model,
                    "messages": [{"role": "user", "content": asked}],
                    **temperature,
                    **self._config.parameters,
                }
            )
        finally:
            await client.close()
        return answer.text
