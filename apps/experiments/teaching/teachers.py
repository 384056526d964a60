"""The teachers of the shop: one that knows what can still be reached, one that knows the student's own values.

Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence

from experiments.teaching.dynamics import ShopDynamics
from sightline.agents.grammar import ShopAction, webshop_grammar
from sightline.teachability import Refusal, StateView, TeacherHint
from sightline.teachability.records import ErrorType
from sightline.webshop_env import ShopState
from sightline.webshop_env.episodes import best_action

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
