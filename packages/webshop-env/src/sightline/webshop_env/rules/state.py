"""Where an episode stands: one small immutable record, and what an action brings.

This module knows nothing of products, pages or rules; `rules.shop` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sightline.webshop_env.rules.reward import Reward


class PageKind(StrEnum):
    """Which page is shown; the values of sub pages are the labels of the buttons that open them."""

    INDEX = "index"
    RESULTS = "search_results"
    ITEM = "item_page"
    DESCRIPTION = "Description"
    FEATURES = "Features"
    REVIEWS = "Reviews"
    ATTRIBUTES = "Attributes"
    DONE = "done"


SUB_PAGES = (PageKind.DESCRIPTION, PageKind.FEATURES, PageKind.REVIEWS, PageKind.ATTRIBUTES)
"""The pages that an item page leads to, in the order of their buttons."""


class ShopState(NamedTuple):
    """Everything an episode needs to go on, and nothing else: equal states have equal futures.

    A named tuple, because states are made and hashed at every step, and tuples do both several times as fast.
    """

    goal: int
    """Index into the shop's goals."""
    seed: int = 0
    """Seed of the random results of the query `<r>`."""
    kind: PageKind = PageKind.INDEX
    """The page that is shown."""
    query: str = ""
    """The words last searched for, lower case; "" before the first search."""
    number: int = 1
    """Number of the results page, from 1."""
    asin: str | None = None
    """The product that is shown or was bought."""
    options: tuple[tuple[str, str], ...] = ()
    """Chosen (group, value) pairs, in the order in which their groups were first chosen."""
    visited: frozenset[str] = frozenset()
    """Products opened since the index page was last shown."""
    draws: int = 0
    """How often random results were drawn."""
    steps: int = 0
    """Actions taken, invalid ones included."""
    step_limit: int | None = None
    """Number of steps after which the episode is truncated; None for no limit."""
    done: bool = False
    """Whether something has been bought."""
    reward: float = 0.0
    """What the last purchase earned, from 0 to 1."""

    @property
    def truncated(self) -> bool:
        """Whether the step limit was reached without a purchase."""
        return self.step_limit is not None and self.steps >= self.step_limit and not self.done


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one action brought."""

    reward: float = 0.0
    """From 0 to 1; 0.0 for everything but a purchase."""
    done: bool = False
    """Whether the action was a purchase."""
    valid: bool = True
    """Whether the page offered the action; an invalid one changes nothing but the step count."""
    parts: Reward | None = None
    """How the reward of a purchase came about."""
