"""Score a purchase against a goal: a pure function of the product, its price, the chosen options and the goal.

Source: S. Yao et al., "WebShop: Towards Scalable Real-World Web Interaction with Grounded Language Agents", 2022,
section 3, with the published environment's rules for fuzzy matches, colours and product types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.fuzz import token_set_ratio
from rapidfuzz.utils import default_process

from sightline.webshop_env.product import Goal, Product
from sightline.webshop_env.rules.nouns import NounTagger, rule_nouns

# Alphabetical, and the first one *contained* in an option names its colour: "wine red" is red, "standard" is tan.
_COLOUR_WORDS = (
    "alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel camo "
    "caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry cream "
    "crystal dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green grey heather "
    "indigo ivory ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha "
    "multicolor mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow red rose royal "
    "rust sand sapphire seashell silver skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise "
    "violet walnut wheat white wine yellow"
)
COLOURS = tuple(_COLOUR_WORDS.split())

SIMILAR_TITLE = 0.2
"""Title score above which products of another query and category are still of a kind."""

_FUZZY_THRESHOLD = 85
_LATIN_1_SUPPLEMENT = dict.fromkeys(range(128, 256))


@dataclass(frozen=True, slots=True)
class Reward:
    """A purchase's score and its parts; `r_` is a share of what was asked, `w_` its weight in the total."""

    total: float
    """`r_type * (r_att * w_att + r_option * w_option + r_price * w_price)`, in [0, 1]; 1 is success."""
    r_type: float
    """1, 0.5, 0.1 or 0: whether the product is of the right kind at all."""
    r_att: float
    """Share of the goal's attributes that the product has (1 if the goal has none)."""
    w_att: float
    """Weight of the attributes."""
    query_match: bool
    """Whether both products are listed under the same shop query."""
    category_match: bool
    """Whether their category paths share at least two elements."""
    title_score: float
    """Share of the nouns in the goal's title that occur in the product's title."""
    r_option: float | None
    """Share of the goal's options that were chosen; None if the goal has none."""
    w_option: float | None
    """Weight of the options; None if the goal has none."""
    r_price: bool
    """Whether the price is within the goal's limit."""
    w_price: float
    """Weight of the price."""

    def as_info(self) -> dict[str, float | bool]:
        """Return the parts under the original's keys; those of options are absent for a goal without options."""
        info: dict[str, float | bool] = {
            "r_type": self.r_type,
            "r_att": self.r_att,
            "w_att": self.w_att,
            "query_match": self.query_match,
            "category_match": self.category_match,
            "title_score": self.title_score,
        }
        if self.r_option is not None and self.w_option is not None:
            info |= {"r_option": self.r_option, "w_option": self.w_option}
        return info | {"r_price": self.r_price, "w_price": self.w_price}


@dataclass(frozen=True, slots=True)
class ProductMatch:
    """How far a product meets a goal before any option is chosen."""

    goal: Goal
    """Goal that is asked for."""
    r_type: float
    """1, 0.5, 0.1 or 0: whether the product is of the right kind at all."""
    attributes_met: int
    """Number of the goal's attributes that the product has."""
    price_met: bool
    """Whether the price is within the goal's limit."""
    query_match: bool
    """Whether both products are listed under the same shop query."""
    category_match: bool
    """Whether their category paths share at least two elements."""
    title_score: float
    """Share of the nouns in the goal's title that occur in the product's title."""

    def reward(self, options_met: int) -> Reward:
        """Return what buying the product earns when `options_met` of the goal's options are chosen."""
        attributes, options = len(self.goal.attributes), len(self.goal.goal_options)
        wishes = attributes + options + 1
        return Reward(
            total=(self.attributes_met + options_met + self.price_met) / wishes * self.r_type,
            r_type=self.r_type,
            r_att=self.attributes_met / attributes if attributes else 1.0,
            w_att=attributes / wishes,
            query_match=self.query_match,
            category_match=self.category_match,
            title_score=self.title_score,
            r_option=options_met / options if options else None,
            w_option=options / wishes if options else None,
            r_price=self.price_met,
            w_price=1 / wishes,
        )


def match_product(product: Product, goal: Goal, *, price: float, nouns: NounTagger = rule_nouns) -> ProductMatch:
    """Compare a product with a goal; arguments as those of `score_purchase`."""
    query_match = product.query == goal.query
    category_match = len(_path(product.product_category) & _path(goal.product_category)) >= 2
    title_score = _title_score(product.title, goal.name, nouns)
    return ProductMatch(
        goal=goal,
        r_type=type_factor(title_score, similar=query_match or category_match or title_score > SIMILAR_TITLE),
        attributes_met=_count_attributes(product, goal.attributes),
        price_met=price <= goal.price_upper,
        query_match=query_match,
        category_match=category_match,
        title_score=title_score,
    )


def score_purchase(
    product: Product, goal: Goal, *, price: float, options: Mapping[str, str], nouns: NounTagger = rule_nouns
) -> Reward:
    """Score buying `product` when `goal` was asked for.

    Args:
        product: product that was bought.
        goal: goal that was asked for.
        price: the product's price in force, in dollars.
        options: the choices made, group name -> value.
        nouns: finds the nouns of a title; pure and hashable, since results are cached.

    Returns:
        `total = r_type * (attributes met + options met + price met) / (attributes + options + 1)` with its parts.
    """
    return match_product(product, goal, price=price, nouns=nouns).reward(len(matched_options(goal, options.values())))


def type_factor(title_score: float, *, similar: bool) -> float:
    """Return how far a product is of the right kind: 1, 0.5, 0.1 or 0.

    Args:
        title_score: share of the nouns in the goal's title that occur in the product's title.
        similar: whether query, category or enough of the title agree.
    """
    if title_score == 0:
        return 0.0
    if title_score < 0.1:
        return 0.1
    return 1.0 if similar else 0.5


def _title_score(title: str, goal_title: str, nouns: NounTagger) -> float:
    wanted = _cached_nouns(goal_title, nouns)
    if not wanted:
        return 0.2
    # Repeats count below the line but not above it, as in the original.
    return len(set(wanted).intersection(_cached_nouns(title, nouns))) / len(wanted)


def _count_attributes(product: Product, wanted: tuple[str, ...]) -> int:
    texts = (product.title.lower(), " ".join(product.bullets).lower(), product.description.lower())
    return sum(
        any(_similar(attribute, own) for own in product.attributes) or any(attribute in text for text in texts)
        for attribute in wanted
    )


def matched_options(goal: Goal, values: Iterable[str]) -> frozenset[int]:
    """Return which of the goal's options, by position, chosen values stand for."""
    # A synthetic goal's options are compared as (name, value) pairs, whose text holds the name as well.
    wanted = goal.goal_options.items() if isinstance(goal.goal_options, Mapping) else goal.goal_options
    choices = [_colour_or_text(value) for value in values]
    return frozenset(
        position
        for position, option in enumerate(wanted)
        if any(_similar(choice, _colour_or_text(option)) for choice in choices)
    )


@lru_cache(maxsize=1 << 12)
def _cached_nouns(title: str, nouns: NounTagger) -> tuple[str, ...]:
    return tuple(nouns(title))


@lru_cache(maxsize=1 << 12)
def _path(product_category: str) -> frozenset[str]:
    return frozenset(part.strip() for part in product_category.split("›"))


@lru_cache(maxsize=1 << 12)
def _colour_or_text(option: str | tuple[str, str]) -> str:
    """Reduce an option to the first colour in it: as a substring of a value, but as a whole element of a pair."""
    return next((colour for colour in COLOURS if colour in option), str(option))


@lru_cache(maxsize=1 << 12)
def _clean(text: str) -> str:
    return default_process(text.translate(_LATIN_1_SUPPLEMENT))


def _similar(first: str, second: str) -> bool:
    """Tell whether the token-set ratio, rounded to an integer, is over 85; a text without any word equals nothing."""
    ratio = token_set_ratio(_clean(first), _clean(second), score_cutoff=_FUZZY_THRESHOLD)
    return round(ratio) > _FUZZY_THRESHOLD
