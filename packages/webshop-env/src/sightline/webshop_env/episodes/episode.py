"""One episode at a time: the loop that every adapter drives, each in the words of its trainer.

An episode holds where it stands; the shop's rules do everything else. Nothing here knows of trainers or files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sightline.webshop_env.episodes.snapshot import decode, encode
from sightline.webshop_env.errors import WebShopError
from sightline.webshop_env.rules.action_text import action_error, repair_action

if TYPE_CHECKING:
    from sightline.webshop_env.rules.pages import Page
    from sightline.webshop_env.rules.shop import Shop
    from sightline.webshop_env.rules.state import Outcome, ShopState


class EpisodeError(WebShopError, RuntimeError, ValueError):
    """There is no episode to act in: none was begun, or it is over."""


class Turn(NamedTuple):
    """What one action brought."""

    state: ShopState
    """Where the episode stands now."""
    outcome: Outcome
    """Reward, purchase, and whether the page took the action."""
    action: str
    """Action that was taken, after repairs."""
    error: str | None
    """Why the page did not take it, and what it would have taken; None where it did."""
    repairs: tuple[str, ...]
    """What a lenient episode repaired, in words."""

    @property
    def ended(self) -> bool:
        """Whether the episode is over now, by this purchase or by the step limit."""
        return self.outcome.done or self.state.truncated


class Episode:
    """An episode of a shop; `begin` opens another one in its place.

    Args:
        shop: shop in which it takes place; its `step_limit`, where it has one, ends the episode without a purchase.
        lenient: take an action that is only badly wrapped for the action in it.
        goes_on: take actions after the end, as the original does, instead of refusing them.
    """

    def __init__(self, shop: Shop, *, lenient: bool = False, goes_on: bool = False) -> None:
        self.shop = shop
        self._lenient = lenient
        self._goes_on = goes_on
        self._state: ShopState | None = None
        self._page: Page | None = None
        self._instruction: str | None = None

    @property
    def state(self) -> ShopState:
        """Where it stands.

        Raises:
            EpisodeError: none was begun.
        """
        if self._state is None:
            raise EpisodeError("there is no episode yet: reset opens one")
        return self._state

    @property
    def page(self) -> Page:
        """The page that is shown."""
        if self._page is None:
            self._page = self.shop.page(self.state)
        return self._page

    @property
    def begun(self) -> bool:
        """Whether there is an episode."""
        return self._state is not None

    @property
    def ended(self) -> bool:
        """Whether something was bought or the step limit reached."""
        return self.state.done or self.state.truncated

    @property
    def instruction(self) -> str:
        """What is asked for."""
        if self._instruction is None:
            self._instruction = self.shop.goal(self.state).instruction_text
        return self._instruction

    def begin(self, goal: int, seed: int = 0) -> Page:
        """Open an episode and return its first page.

        Args:
            goal: index into the shop's goals.
            seed: seed of the random results of the query `<r>`.

        Raises:
            GoalError: there is no such goal.
        """
        return self.move(self.shop.start(goal, seed))

    def move(self, state: ShopState) -> Page:
        """Go on from a state of this shop, and return its page."""
        self._state, self._page, self._instruction = state, None, None
        return self.page

    def act(self, action: str) -> Turn:
        """Take an action; an invalid one changes nothing but the step count.

        Raises:
            EpisodeError: there is no episode, or it is over.
        """
        state, page = self.state, self._page or self.page
        if not self._goes_on and (state.done or state.truncated):
            how = "ended with a purchase" if state.done else f"was cut off after {state.step_limit} steps"
            raise EpisodeError(f"the episode is over: it {how}")
        repairs: tuple[str, ...] = ()
        if self._lenient:
            action, repairs = repair_action(page, action)
        state, outcome = self.shop.act(state, action, page)
        error = None if outcome.valid else action_error(page, action)
        self._state, self._page = state, None
        return Turn(state, outcome, action, error, repairs)

    def snapshot(self) -> bytes:
        """Write the episode down."""
        return encode(self.shop, self.state)

    def restore(self, snapshot: bytes) -> Page:
        """Go back to where a snapshot was taken, and return its page.

        Raises:
            SnapshotError: it cannot be restored here; the episode stays as it was.
        """
        return self.move(decode(self.shop, snapshot)[0])
