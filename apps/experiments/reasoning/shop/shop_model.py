"""The shop itself as a world to plan in: states are `ShopState`s, and a step is a call of pure rules.

The same pages, actions and rewards as `EnvironmentWorld` over `WebShopEnv`, without snapshots and several times faster.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from sightline.agents.grammar import Purchase, product_text, read_prices, webshop_grammar, webshop_purchases
from sightline.agents.planning import Choice, TextWorld, Transition
from sightline.webshop_env import Shop, ShopState, render_rich, rule_action
from sightline.webshop_env.rules import Page, PageKind, Role

_DETAILS = (PageKind.DESCRIPTION, PageKind.FEATURES, PageKind.ATTRIBUTES)


class ShopWorld:
    """See the module; a `TextWorld`.

    Args:
        shop: its rules, catalogue and goals.
        withhold: pay 0 for everything, as `WithheldReward` does.
    """

    def __init__(self, shop: Shop, *, withhold: bool) -> None:
        self.shop, self._withhold = shop, withhold
        self.steps = 0

        self._details: dict[str, str] = {}

    def start(self, goal: int, *, step_limit: int, seed: int = 0) -> ShopState:
        """Return the first state of an episode."""
        return self.shop.start(goal, seed)._replace(step_limit=step_limit)

    def page(self, state: ShopState) -> Page:
        """Return the page that a state shows."""
        return self.shop.page(state)

    def instruction(self, state: ShopState) -> str:
        """Return what was asked for."""
        return self.shop.goal(state).instruction_text

    def actions(self, state: ShopState) -> tuple[str, ...]:
        """See `TextWorld.actions`."""
        if state.done or state.truncated:
            return ()
        return webshop_grammar.candidate_actions(self.instruction(state), self.page(state).available_actions)

    def step(self, state: ShopState, action: str) -> Transition:
        """See `TextWorld.step`."""
        self.steps += 1
        after, outcome = self.shop.act(state, action)
        return Transition(after, 0.0 if self._withhold else outcome.reward, after.done or after.truncated)

    def key(self, state: ShopState) -> Hashable:
        """Return the state."""
        return state

    def purchase(self, state: ShopState, action: str) -> Purchase | None:
        """See `TextWorld.purchase`; reads the item's further pages once, and counts that as steps."""
        if not webshop_purchases.buys(action) or state.asin is None:
            return None
        if state.asin not in self._details:
            labels = {label.lower() for label in self.page(state).targets}
            kinds = [kind for kind in _DETAILS if kind.lower() in labels]
            self.steps += len(kinds)
            pages = [self.page(state._replace(kind=kind)) for kind in kinds]
            self._details[state.asin] = "\n".join(map(render_rich, pages))
        groups: dict[str, list[str]] = {}
        title, prices = "", (float("nan"), float("nan"))
        for element in self.page(state).elements:
            if element.role is Role.OPTION:
                groups.setdefault(element.name, []).append(element.text)
            elif element.name == "title":
                title = element.text
            elif element.name == "price":
                prices = read_prices(element.text)
        chosen = frozenset(element.text for element in self.page(state).elements if _is_chosen(element))
        offered = tuple(map(tuple, groups.values()))
        instruction = self.instruction(state)
        details = product_text(self._details[state.asin], instruction)
        return Purchase(instruction, title, details, prices, offered, chosen)


def _is_chosen(element: Any) -> bool:
    return element.role is Role.OPTION and element.marked


class RulePolicy:
    """The printed rule as a policy: half of the probability on what it would do, the rest on all actions alike.

    Args:
        shop: whose pages it reads; of a goal it reads the instruction alone.
    """

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def decide(self, world: TextWorld, states: Sequence[ShopState]) -> list[Choice]:
        """See `Policy.decide`."""
        return [self._choose(state, world.actions(state)) for state in states]

    def _choose(self, state: ShopState, actions: tuple[str, ...]) -> Choice:
        wanted = rule_action(self._shop.goal(state).instruction_text, self._shop.page(state))
        # The rule's own search is none of the proposals; the first of these has all telling words too.
        index = actions.index(wanted) if wanted in actions else 0
        probabilities = [0.5 / len(actions)] * len(actions)
        probabilities[index] += 0.5
        return Choice(probabilities, index)
