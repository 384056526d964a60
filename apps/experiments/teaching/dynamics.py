"""The shop as pure dynamics, and its teachers: all that the experiment adapts of it. Knows nothing of models."""

from __future__ import annotations

from functools import lru_cache

from sightline.agents.grammar import webshop_grammar
from sightline.teachability import StateView, Transition
from sightline.webshop_env import Shop, ShopState, render_rich
from sightline.webshop_env.episodes import snapshot as snapshots


class ShopDynamics:
    """`Dynamics` of a shop.

    Args:
        shop: rules over one catalogue, with a limit of steps.
    """

    def __init__(self, shop: Shop) -> None:
        if shop.step_limit is None:
            raise ValueError("the shop needs a step limit")
        self.shop = shop
        self._view = lru_cache(4096)(self._make_view)

    def start(self, goal: int) -> ShopState:
        """Return the first state of a goal's episodes."""
        return self.shop.start(goal)

    def actions(self, state: ShopState) -> tuple[str, ...]:
        """Return the candidate actions of the page."""
        return self.view(state).actions

    def step(self, state: ShopState, action: str) -> Transition[ShopState]:
        """Take an action."""
        after, outcome = self.shop.act(state, action)
        return Transition(after, outcome.reward, outcome.done)

    def view(self, state: ShopState) -> StateView:
        """Return the page alone, without what was done before: the student reads no history."""
        return self._view(self.timeless(state))

    def timeless(self, state: ShopState) -> ShopState:
        """Return the state without its step count."""
        return state if state.steps == 0 else state._replace(steps=0)

    def steps_left(self, state: ShopState) -> int:
        """Return how many actions can still be taken."""
        return (state.step_limit or 0) - state.steps

    def encode(self, state: ShopState) -> bytes:
        """Return the shop's own snapshot."""
        return snapshots.encode(self.shop, state)

    def decode(self, snapshot: bytes) -> ShopState:
        """Return the state of a snapshot."""
        return snapshots.decode(self.shop, snapshot)[0]

    def searches(self, state: ShopState) -> tuple[str, ...]:
        """Return the words that the student may search for."""
        bar = {"has_search_bar": True, "clickables": []}
        actions = webshop_grammar.candidate_actions(self.shop.goal(state).instruction_text, bar)
        return tuple(action.removeprefix("search[").removesuffix("]") for action in actions)

    def _make_view(self, state: ShopState) -> StateView:
        page = self.shop.page(state)
        instruction = self.shop.goal(state).instruction_text
        actions = webshop_grammar.candidate_actions(instruction, page.available_actions)
        return StateView(
            instruction, webshop_grammar.page_text(render_rich(page), instruction), actions, kind=state.kind
        )
