"""The best reward that each action leaves within reach, computed from the rules instead of tried out.

What counts as reachable: the products of every results page of the proposed searches, which are made on the index
page; those on the results pages of the present query, up to its fiftieth product or, of random results, on the page
that is shown or comes back; every choice of options that clicks can make; and the steps that are left. Within this the
values are exact.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from sightline.webshop_env.episodes.request_words import proposed_searches
from sightline.webshop_env.rules import pages
from sightline.webshop_env.rules.pages import Role
from sightline.webshop_env.rules.reward import ProductMatch, match_product, matched_options
from sightline.webshop_env.rules.shop import RESERVED, RESULT_LIMIT, Shop, parse_action
from sightline.webshop_env.rules.state import SUB_PAGES, PageKind, ShopState

_PREVIOUS: Final = f"click[{pages.PREVIOUS.lower()}]"


class Reachable(NamedTuple):
    """What an action leaves within reach."""

    reward: float
    """Best reward of a purchase, from 0 to 1; 0.0 where none can be made."""
    steps: int | None
    """Fewest steps to a purchase with that reward, the action itself included; None where none can be made."""


class _Offer(NamedTuple):
    steps: int
    reward: float


_Offers = tuple[_Offer, ...]
"""Purchases with more steps earning more: what a budget of steps can buy is the last one that it pays for."""


def reachable_rewards(shop: Shop, state: ShopState, searches: Iterable[str] | None = None) -> dict[str, Reachable]:
    """Return the best reward that is still within reach after each action.

    Args:
        shop: shop in which the episode takes place.
        state: state of the episode.
        searches: words that may be searched for on the index page; those of `proposed_searches` when None.

    Returns:
        Action, spelt as `Shop.act` takes it -> what it leaves within reach, for every action that the page offers and,
        on the index page, for the searches. Empty after the purchase and when no steps are left.
    """
    left = _steps_left(state)
    if state.done or left == 0:
        return {}
    world = _world(shop, state.goal, searches)
    page = shop.page(state)
    actions = [f"click[{label}]" for label in page.targets if parse_action(f"click[{label}]") == ("click", label)]
    if state.kind is PageKind.INDEX:
        actions = [f"search[{query}]" for query in world.searches] + [
            action for action in actions if action != f"click[{pages.SEARCH.lower()}]"
        ]
    found = {}
    for action in actions:
        after, outcome = shop.act(state, action, page)
        if outcome.done:
            found[action] = Reachable(outcome.reward, 1)
        elif outcome.valid:
            found[action] = _best(_later(world.offers(after), 1), left)
    return found


def reachable_reward(shop: Shop, state: ShopState, searches: Iterable[str] | None = None) -> Reachable:
    """Return the best reward that is still within reach; arguments as those of `reachable_rewards`."""
    left = _steps_left(state)
    if state.done or left == 0:
        return Reachable(0.0, None)
    return _best(_world(shop, state.goal, searches).offers(state), left)


def best_action(shop: Shop, state: ShopState, *, seed: int = 0, searches: Iterable[str] | None = None) -> str | None:
    """Return an action that leaves the best reward within reach, in the fewest steps; one of several at random.

    Any product that earns the best reward is as good as the one that the goal was made from.

    Args:
        shop: shop in which the episode takes place.
        state: state of the episode.
        seed: seed of the choice among equally good actions, which is the same for the same state.
        searches: searches as for `reachable_rewards`.

    Returns:
        The action; None after the purchase, and where no purchase can be made in the steps that are left.
    """
    values = reachable_rewards(shop, state, searches)
    within = {action: value for action, value in values.items() if value.steps is not None}
    if not within:
        return None
    reward, steps = max((value.reward, -(value.steps or 0)) for value in within.values())
    best = sorted(action for action, value in within.items() if value == (reward, -steps))
    return random.Random(f"{seed}:{state.goal}:{state.steps}:{state.asin}:{state.query}").choice(best)


def expert_action(shop: Shop, state: ShopState, *, seed: int = 0, searches: Iterable[str] | None = None) -> str:
    """Return what an expert does who knows the goal: `best_action`, or anything where nothing can be bought any more.

    Args:
        shop: shop in which the episode takes place.
        state: state of the episode, which is not over.
        seed: seed of the choice among equally good actions.
        searches: searches as for `reachable_rewards`.
    """
    action = best_action(shop, state, seed=seed, searches=searches)
    return action or next(iter(reachable_rewards(shop, state, searches)), f"click[{pages.BACK.lower()}]")


def goal_difficulty(shop: Shop, goal: int) -> float:
    """Return how unlikely a best purchase is for who opens a random product of the first page and knows the options.

    Args:
        shop: shop in which the goal is asked for.
        goal: index of the goal.

    Returns:
        1 minus the share of the products on the first page of the first proposed search that lead to the best
        reachable reward without going back; 1 where there are none.
    """
    start = shop.start(goal)
    world = _world(shop, goal, None)
    if not world.searches:
        return 1.0
    results = shop.act(start, f"search[{world.searches[0]}]")[0]
    best = reachable_reward(shop, start).reward
    shown = shop.hits(results)[: shop.page_size]
    right = sum(world.opened(asin)[-1].reward == best for asin in shown)
    return 1.0 - right / len(shown) if shown and best > 0 else 1.0


def _steps_left(state: ShopState) -> int | None:
    return None if state.step_limit is None else max(0, state.step_limit - state.steps)


def _world(shop: Shop, goal: int, searches: Iterable[str] | None) -> _World:
    return _cached_world(shop, goal, None if searches is None else tuple(dict.fromkeys(searches)))


@lru_cache(maxsize=256)
def _cached_world(shop: Shop, goal: int, searches: tuple[str, ...] | None) -> _World:
    text = shop.goals.goals[goal].instruction_text
    return _World(shop, goal, proposed_searches(text) if searches is None else searches)


class _World:
    """What one goal makes of a shop: offers by page, each computed once."""

    def __init__(self, shop: Shop, goal: int, searches: tuple[str, ...]) -> None:
        self.searches = searches
        self._shop = shop
        self._goal = shop.goals.goals[goal]
        self._matches: dict[str, ProductMatch] = {}
        self._plain: dict[str, _Offers] = {}
        self._pages: dict[tuple[str, int], _Offers] = {}
        self._choices_of: dict[str, Mapping[str, tuple[str, int]]] = {}
        start = ShopState(goal=goal)
        results = (shop.act(start, f"search[{query}]")[0] for query in searches)
        self._index = _merged(_later(self._turning(state), 1) for state in results)

    def offers(self, state: ShopState) -> _Offers:
        """Return the purchases that can be made from a state, by steps."""
        if state.kind is PageKind.INDEX:
            return self._index
        if state.kind is PageKind.RESULTS:
            return _merged((self._turning(state), _later(self._index, 1)))
        if state.kind in SUB_PAGES:
            item = self._shop.act(state, _PREVIOUS)[0]
            return _merged((_later(self.offers(item), 1), _later(self._index, 1)))
        if state.kind is not PageKind.ITEM:
            return ()
        back = self._shop.act(state, _PREVIOUS)[0]
        others = (_later(self._turning(back), 1), _later(self._index, 1))
        return _merged((self._purchases(state), *others))

    def _turning(self, state: ShopState) -> _Offers:
        """Return the offers of the products on the results pages that turning leads to from a results page."""
        if state.query.partition(" ")[0] == "<r>":
            # The next page is drawn anew: only what is shown can be counted on.
            return self._page(state)
        key = state.query, state.number
        if key not in self._pages:
            last = RESULT_LIMIT // self._shop.page_size  # all that a search by words has
            turns = ((abs(number - state.number), number) for number in {*range(1, last + 1), state.number})
            self._pages[key] = _merged(
                _later(self._page(state._replace(number=number)), turned) for turned, number in turns
            )
        return self._pages[key]

    def _page(self, state: ShopState) -> _Offers:
        """Return the offers of the products that one results page lists."""
        size = self._shop.page_size
        shown = self._shop.hits(state)[size * (state.number - 1) : size * state.number]
        labels = [asin for asin in shown if parse_action(f"click[{asin.lower()}]") == ("click", asin.lower())]
        return _merged(_later(self.opened(asin), 1) for asin in labels)

    def opened(self, asin: str) -> _Offers:
        """Return the offers of a product from its item page, before any option is chosen."""
        if asin not in self._plain:
            self._plain[asin] = self._purchases(ShopState(goal=0, kind=PageKind.ITEM, asin=asin))
        return self._plain[asin]

    def _purchases(self, state: ShopState) -> _Offers:
        """Return the offers of the product that an item page shows: options may be chosen, then it is bought."""
        asin = str(state.asin)
        if asin not in self._matches:
            self._matches[asin] = match_product(
                self._shop.product(asin), self._goal, price=self._shop.goals.prices[asin], nouns=self._shop.nouns
            )
        match = self._matches[asin]
        clicks_by_mask = self._clicks(state)
        best: dict[int, int] = {}
        for mask, clicks in clicks_by_mask.items():
            met = mask.bit_count()
            best[met] = min(clicks, best.get(met, clicks))
        return _merged((_Offer(clicks + 1, match.reward(met).total),) for met, clicks in best.items())

    def _clicks(self, state: ShopState) -> dict[int, int]:
        """Return the fewest clicks that choose each set of the goal's options, as bit masks."""
        chosen = dict(state.options)
        groups: dict[str, set[int]] = {}
        for value, (group, mask) in self._choices(state).items():
            if chosen.get(group) != value:
                groups.setdefault(group, set()).add(mask)
        kept = {group: self._mask(value) for group, value in chosen.items()}
        reached = {0: 0}
        for group in {**kept, **groups}:
            options = [(kept.get(group, 0), 0), *((mask, 1) for mask in groups.get(group, ()))]
            grown: dict[int, int] = {}
            for mask, clicks in reached.items():
                for more, cost in options:
                    total = clicks + cost
                    grown[mask | more] = min(total, grown.get(mask | more, total))
            reached = grown
        return reached

    def _choices(self, state: ShopState) -> Mapping[str, tuple[str, int]]:
        """Return value -> (group, options of the goal that it stands for) for the values that a click can choose."""
        asin = str(state.asin)
        if asin not in self._choices_of:
            targets = self._shop.page(ShopState(goal=0, kind=PageKind.ITEM, asin=asin)).targets
            self._choices_of[asin] = {
                value: (element.name, self._mask(value))
                for value, element in targets.items()
                if element.role is Role.OPTION
                and value not in RESERVED
                and parse_action(f"click[{value}]") == ("click", value)
            }
        return self._choices_of[asin]

    def _mask(self, value: str) -> int:
        return sum(1 << position for position in matched_options(self._goal, [value]))


def _later(offers: _Offers, steps: int) -> _Offers:
    return tuple(_Offer(offer.steps + steps, offer.reward) for offer in offers) if steps else offers


def _merged(many: Iterable[_Offers]) -> _Offers:
    """Return the offers that no other one beats: fewer steps, or more reward than all with fewer."""
    kept: list[_Offer] = []
    for offer in sorted((offer for offers in many for offer in offers), key=lambda offer: (offer.steps, -offer.reward)):
        if not kept or offer.reward > kept[-1].reward:
            kept.append(offer)
    return tuple(kept)


def _best(offers: _Offers, left: int | None) -> Reachable:
    within = [offer for offer in offers if left is None or offer.steps <= left]
    return Reachable(within[-1].reward, within[-1].steps) if within else Reachable(0.0, None)
