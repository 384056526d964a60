"""The rules of the shop, as pure functions of an immutable state.

Nothing here reads a file, a clock or a global random generator; equal states and actions have equal outcomes. The
caches only remember what would be computed again.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

from sightline.webshop_env.errors import GoalError
from sightline.webshop_env.rules import pages
from sightline.webshop_env.rules.nouns import NounTagger, rule_nouns
from sightline.webshop_env.rules.reward import Reward, score_purchase
from sightline.webshop_env.rules.state import SUB_PAGES, Outcome, PageKind, ShopState

if TYPE_CHECKING:
    from sightline.webshop_env.catalogue.catalogue import Catalogue
    from sightline.webshop_env.goals.goals import GoalSet
    from sightline.webshop_env.product import Goal, Product
    from sightline.webshop_env.search.index import SearchIndex

PAGE_SIZE: Final = 10
"""Products on a results page; long pages list all that a search finds."""
RESULT_LIMIT: Final = 50
MAX_ACTION_LENGTH: Final = 10_000
"""Characters; longer actions are invalid, so that states and snapshots stay small."""

_NAVIGATION: Final = {label.lower(): label for label in (pages.BACK, pages.PREVIOUS, pages.BUY)}
_SUB_PAGES: Final = {page.lower(): page for page in SUB_PAGES}
RESERVED: Final = frozenset({pages.SEARCH.lower(), *_NAVIGATION, *_SUB_PAGES})
"""Labels with a meaning of their own on an item page: an option value of such a name cannot be chosen."""

_SEARCH: Final = pages.SEARCH.lower()
_BACK: Final = pages.BACK.lower()
_NEXT: Final = pages.NEXT.lower()
_PREVIOUS: Final = pages.PREVIOUS.lower()
_BUY: Final = pages.BUY.lower()

_LISTED: Final = 4096
"""Products whose place on results pages is remembered: more than whole pages, since searches find the same ones."""

_NOTHING: Final = Outcome()
_INVALID: Final = Outcome(valid=False)

Changes = dict[str, Any]


def parse_action(action: str) -> tuple[str, str] | None:
    """Split `name[argument]` into the name and the lower-case argument, or return None.

    The name reaches to the last "[" that leaves an argument, the argument to the last "]" of the first line; what
    follows is ignored.

    >>> parse_action("click[< Prev]")
    ('click', '< prev')
    """
    if len(action) > MAX_ACTION_LENGTH:
        return None
    line = action.partition("\n")[0]
    end = line.rfind("]")
    start = line.rfind("[", 0, max(end - 1, 0))
    if start < 1:
        return None
    argument = line[start + 1 : end].lower()
    # Lone surrogates are no text: no page holds them and no file can.
    if not argument.isascii() and any("\ud800" <= character <= "\udfff" for character in argument):
        return None
    return line[:start], argument


class Shop:
    """A catalogue with its goals, and the rules by which an episode moves through its pages.

    A shop holds no episode, so any number of environments and threads can share one.

    Args:
        catalogue: the products.
        goals: what episodes can ask for, with the prices in force.
        index: finds products by words; the catalogue's own when None.
        nouns: finds the nouns of a title, for the reward.
        show_attributes: whether item pages offer the page of attributes.
        step_limit: number of steps after which an episode is truncated; None for no limit.
        long_pages: whether a results page lists 50 products in place of 10, and an item page holds description,
            features and reviews itself, as shops of today do.

    Attributes:
        page_size: products on a results page.
        identity: what a snapshot's numbers and names refer to, the catalogue and the goals. Taking the fingerprint of
            a catalogue in memory is a part of making its shop, so that no snapshot pays for it.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        goals: GoalSet,
        *,
        index: SearchIndex | None = None,
        nouns: NounTagger = rule_nouns,
        show_attributes: bool = False,
        step_limit: int | None = None,
        long_pages: bool = False,
    ) -> None:
        if step_limit is not None and step_limit < 1:
            raise ValueError(f"step_limit must be at least 1 or None, not {step_limit!r}")
        self.catalogue = catalogue
        self.goals = goals
        self.index = catalogue.search_index() if index is None else index
        self.nouns = nouns
        self.show_attributes = show_attributes
        self.step_limit = step_limit
        self.long_pages = long_pages
        self.page_size = RESULT_LIMIT if long_pages else PAGE_SIZE
        self._instruction = lru_cache(256)(self._make_instruction)
        self._hits = lru_cache(1024)(self._make_hits)
        self._listed: dict[str, pages.Fragment] = {}
        self._item = lru_cache(1024)(self._make_item)
        self._sub = lru_cache(1024)(self._make_sub)
        self._find = lru_cache(1024)(self._find_uncached)
        self._product = lru_cache(256)(catalogue.__getitem__)
        self.identity = {
            "catalogue": catalogue.fingerprint[:32],
            "goals": f"{goals.kind}, seed {goals.seed}, {len(goals)} of them",
        }

    def __reduce__(self) -> tuple[Callable[..., Shop], tuple[()]]:
        make = partial(
            Shop,
            self.catalogue,
            self.goals,
            index=self.index,
            nouns=self.nouns,
            show_attributes=self.show_attributes,
            step_limit=self.step_limit,
            long_pages=self.long_pages,
        )
        return make, ()

    def product(self, asin: str) -> Product:
        """Return a product of the catalogue; one that was asked for of late is not read again.

        Raises:
            KeyError: there is none of this asin.
        """
        return self._product(asin)

    def goal(self, state: ShopState) -> Goal:
        """Return what the episode asks for."""
        return self.goals.goals[state.goal]

    def start(self, goal_index: int, seed: int = 0) -> ShopState:
        """Open an episode on the index page.

        Args:
            goal_index: position in the goals.
            seed: seed of the random results of the query `<r>`.

        Raises:
            GoalError: if there is no such goal.
        """
        goal_index = operator.index(goal_index)
        count = len(self.goals.goals)
        if not 0 <= goal_index < count:
            there = f"goals are numbered 0 to {count - 1}" if count else "the catalogue yields no goals of this kind"
            raise GoalError(f"there is no goal {goal_index!r}: {there}")
        return ShopState(goal=goal_index, seed=seed, step_limit=self.step_limit)

    def act(self, state: ShopState, action: str, page: pages.Page | None = None) -> tuple[ShopState, Outcome]:
        """Take one action.

        Args:
            state: state of the episode; searching and buying go on working after a purchase.
            action: `search[words]` or `click[label]`.
            page: page that the state shows, from a caller that has it at hand; it is not made again then.

        Returns:
            The next state and what the action brought. An invalid action changes nothing but the step count.
        """
        outcome = _NOTHING
        changes: Changes = {}
        match parse_action(action):
            case ("search", words):
                changes = self._open_results(state, words, 1)
            case ("click", label) if label != _SEARCH and label in (
                targets := (self.page(state) if page is None else page).targets
            ):
                if label == _BUY:
                    changes, outcome = self._buy(state)
                else:
                    changes = self._click(state, label, targets)
            case _:
                outcome = _INVALID
        return state._replace(steps=state.steps + 1, **changes), outcome

    def hits(self, state: ShopState) -> Sequence[str]:
        """Return the asins that the state's query finds, best first, over all result pages."""
        return self._find(state.query, *_drawn(state))

    def search(self, query: str, k: int = RESULT_LIMIT) -> list[tuple[str, float]]:
        """Find products by words, without the special queries of the search bar.

        Returns:
            Up to k pairs of asin and BM25 score, best first.
        """
        return self.index.search(query, k)

    def _open_results(self, state: ShopState, query: str, number: int) -> Changes:
        # Random results are drawn again whenever a results page is opened.
        draws = state.draws + (query.partition(" ")[0] == "<r>")
        opened = {"kind": PageKind.RESULTS, "query": query, "number": number, "draws": draws}
        return opened | {"asin": None, "options": ()}

    def _click(self, state: ShopState, label: str, targets: Mapping[str, pages.Element]) -> Changes:
        """Follow a label that the page offers. Names come first, so that an option "description" cannot be chosen."""
        on_results = state.kind is PageKind.RESULTS
        if label == _BACK:
            cleared = {"query": "", "number": 1, "asin": None, "options": (), "visited": frozenset()}
            return {"kind": PageKind.INDEX} | cleared
        if on_results and label == _NEXT:
            return self._open_results(state, state.query, state.number + 1)
        if label == _PREVIOUS:
            if on_results:
                return self._open_results(state, state.query, state.number - 1)
            if state.kind is PageKind.ITEM:
                return self._open_results(state, state.query, state.number)
            return {"kind": PageKind.ITEM}
        if label in _SUB_PAGES:
            return {"kind": _SUB_PAGES[label]}
        target = targets[label]
        if on_results:
            return {"kind": PageKind.ITEM, "asin": target.text, "visited": state.visited | {target.text}}
        return {"options": tuple((dict(state.options) | {target.name: label}).items())}

    def _buy(self, state: ShopState) -> tuple[Changes, Outcome]:
        parts = self._score(state)
        changes = {"kind": PageKind.DONE, "done": True, "reward": parts.total}
        return changes, Outcome(reward=parts.total, done=True, parts=parts)

    def _score(self, state: ShopState) -> Reward:
        product = self.product(str(state.asin))
        price = self.goals.prices[product.asin]
        return score_purchase(product, self.goal(state), price=price, options=dict(state.options), nouns=self.nouns)

    def page(self, state: ShopState) -> pages.Page:
        """Return what the state shows."""
        kind = state.kind
        if kind is PageKind.DONE:
            return pages.done_page(state)
        instruction = self._instruction(state.goal, kind is PageKind.INDEX)
        if kind is PageKind.INDEX:
            return pages.index_page(instruction)
        if kind is PageKind.RESULTS:
            total, hits = self._hits(state.query, state.number, *_drawn(state))
            return pages.results_page(instruction, state.number, total, hits, state.visited)
        asin = str(state.asin)
        if kind is not PageKind.ITEM:
            return pages.product_page(kind, instruction, self._sub(asin, kind))
        item = self._item(asin)
        if not state.options and '"' not in state.query:
            return pages.product_page(kind, instruction, item)
        return pages.product_page(kind, instruction, item, pages.clicked_values(state.query, state.options, item))

    def _make_instruction(self, goal: int, on_index: bool) -> pages.Fragment:
        return pages.instruction_fragment(self.goals.goals[goal], on_index)

    def _make_hits(self, query: str, number: int, seed: int, draws: int) -> tuple[int, pages.Fragment]:
        """How many products a query finds, and those of one results page."""
        asins = self._find(query, seed, draws)
        shown = asins[self.page_size * (number - 1) : self.page_size * number]
        found = {asin: self._listed.get(asin) for asin in shown}
        missing = [asin for asin, fragment in found.items() if fragment is None]
        if len(self._listed) > _LISTED:
            self._listed.clear()
        for asin, headline in zip(missing, self.catalogue.headlines(missing), strict=True):
            self._listed[asin] = found[asin] = pages.hit_fragment(headline)
        return len(asins), pages.Fragment.of_links(fragment for fragment in found.values() if fragment is not None)

    def _make_item(self, asin: str) -> pages.Fragment:
        return pages.item_fragment(self.product(asin), self.show_attributes, long=self.long_pages)

    def _make_sub(self, asin: str, kind: PageKind) -> pages.Fragment:
        return pages.sub_fragment(self.product(asin), kind)

    def _find_uncached(self, query: str, seed: int, draws: int) -> Sequence[str]:
        """Return the asins for a query; a first word in angle brackets asks for something other than words."""
        first, _, rest = query.partition(" ")
        rest = rest.strip()
        match first:
            case "<r>":
                asins = self.catalogue.asins
                return tuple(random.Random(f"{seed}:{draws}").sample(asins, min(RESULT_LIMIT, len(asins))))
            case "<a>":
                return self.catalogue.listing("attributes", rest)
            case "<c>":
                return self.catalogue.listing("category", rest.partition(" ")[0])
            case "<q>":
                return self.catalogue.listing("query", rest)
        return tuple(asin for asin, _ in self.index.search(query, RESULT_LIMIT))


def _drawn(state: ShopState) -> tuple[int, int]:
    """Return what besides the query decides what it finds: seed and number of draws for random results, else zeros."""
    return (state.seed, state.draws) if state.query.partition(" ")[0] == "<r>" else (0, 0)
