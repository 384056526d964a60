"""How instructions become goals: which goals a catalogue offers, as rows of numbers, and the goal of each row.

A row is small and a goal is made from it and its product at any time, so that millions of goals need not be kept. This
module knows nothing of drawing or storing goals.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableSequence, Sequence
from math import fsum, prod
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from sightline.webshop_env.errors import GoalError
from sightline.webshop_env.product import UNPRICED, Goal, GoalOptions, Product

GoalKind: TypeAlias = Literal["human", "synthetic"]

_NO_CAP: Final = 1_000_000.0
_CAPS: Final = tuple(float(cap) for cap in range(10, 1000, 10))
_CAPS_CONSIDERED: Final = 4
_MOST_GOALS: Final = (1 << 31) - 1
_ORDER_SEED: Final = 233
"""The original shuffles every goal list with this seed, so that a number names the same goal everywhere."""


class GoalRow(NamedTuple):
    """What tells one goal of a catalogue from the others."""

    position: int
    """Of the product in the catalogue."""
    number: int
    """Of the instruction among the product's human ones, or of the combination of option values."""
    cap: float
    """The highest price allowed, in dollars; 1,000,000 for no limit."""
    weight: float
    """Relative probability of being drawn."""


def price_in_force(product: Product, rng: random.Random) -> float:
    """Return the product's price in dollars; drawn uniformly, by one random number, where it has a range."""
    pricing = product.pricing
    if not pricing:
        return UNPRICED[0]
    return pricing[0] if len(pricing) == 1 else rng.uniform(pricing[0], pricing[1])


def goal_rows(
    products: Iterable[Product], kind: GoalKind, prices: Sequence[float], rng: random.Random
) -> Iterator[GoalRow]:
    """Return the goals of a kind in catalogue order.

    Args:
        products: the catalogue; gone through twice for synthetic goals.
        kind: whose instructions.
        prices: prices in force, by position.
        rng: draws the price caps.

    Raises:
        GoalError: there are more than 2,147,483,647.
    """
    return (_human_rows if kind == "human" else _synthetic_rows)(products, prices, rng)


def no_goals(count: int, kind: GoalKind) -> GoalError:
    """Return what to raise for a catalogue of `count` products that has no row of a kind."""
    return GoalError(
        f"none of the {count} products has a {kind} instruction that names attributes; "
        "load the instruction file with the catalogue, or ask for goals of the other kind"
    )


def shuffle_goals(goals: MutableSequence[Any]) -> None:
    """Put goals that are in catalogue order, or their rows or numbers, into the order that gives goals their index."""
    random.Random(_ORDER_SEED).shuffle(goals)


def make_goal(product: Product, kind: GoalKind, row: GoalRow) -> Goal:
    """Return the goal of a row.

    Args:
        product: the row's.
        kind: kind of the goals that the row belongs to.
        row: row, one of `goal_rows`.
    """
    options: GoalOptions
    if kind == "human":
        instruction = product.human[row.number]
        text, attributes, options = instruction.text.strip("."), instruction.attributes, instruction.options
    else:
        text, attributes, options = _synthetic_request(product, row.number)
    return Goal(
        asin=product.asin,
        category=product.category,
        query=product.query,
        name=product.title,
        product_category=product.product_category,
        instruction_text=text if row.cap == _NO_CAP else f"{text}, and price lower than {row.cap:.2f} dollars",
        attributes=attributes,
        price_upper=row.cap,
        goal_options=options,
        weight=row.weight,
    )


def _human_rows(products: Iterable[Product], prices: Sequence[float], rng: random.Random) -> Iterator[GoalRow]:
    for position, product in enumerate(products):
        for number, instruction in enumerate(product.human):
            # Skipped before its cap is drawn: the stream of random numbers must not notice it.
            if instruction.attributes:
                yield GoalRow(position, number, _draw_cap(prices[position], rng), 1.0)


def _synthetic_rows(products: Iterable[Product], prices: Sequence[float], rng: random.Random) -> Iterator[GoalRow]:
    sharing: Counter[str] = Counter()
    total = 0
    for product in products:
        combinations = _combinations(product)
        total += combinations
        for attribute in _requested(product):
            sharing[attribute] += combinations
    if total > _MOST_GOALS:
        raise GoalError(f"the options of the products combine to {total:,} goals; at most {_MOST_GOALS:,} can be kept")
    for position, product in enumerate(products):
        if attributes := _requested(product):
            cap = _draw_cap(prices[position], rng)
            combinations = _combinations(product)
            weight = _rarity(attributes, sharing) if combinations else 0.0
            for number in range(combinations):
                yield GoalRow(position, number, cap, weight)


def _requested(product: Product) -> tuple[str, ...]:
    return () if product.synthetic is None else product.synthetic.attributes


def _combinations(product: Product) -> int:
    """How many synthetic goals a product gives."""
    return prod(len(values) for values in product.options.values()) if _requested(product) else 0


def _synthetic_request(product: Product, number: int) -> tuple[str, tuple[str, ...], Mapping[str, str]]:
    """Text, attributes and options; the number counts the combinations like an odometer over the sorted names."""
    if product.synthetic is None or number >= _combinations(product):
        raise IndexError(f"product {product.asin!r} has no combination {number} of options")
    values: list[tuple[str, str]] = []
    for name in sorted(product.options, reverse=True):
        number, digit = divmod(number, len(product.options[name]))
        values.append((name, product.options[name][digit]))
    options = dict(reversed(values))
    chosen = ", and ".join(f"{name}: {value}" for name, value in options.items())
    instruction = product.synthetic
    return f"{instruction.text} with {chosen}" if options else instruction.text, instruction.attributes, options


def _rarity(attributes: tuple[str, ...], sharing: Mapping[str, int]) -> float:
    # `sum` adds floats differently from Python 3.12 on, and a seed must give the same goals everywhere.
    return fsum(1 / sharing[attribute] for attribute in attributes) / len(attributes)


def _draw_cap(price: float, rng: random.Random) -> float:
    first = bisect_right(_CAPS, price)
    candidates = _CAPS[first : first + _CAPS_CONSIDERED]
    return max(rng.sample(candidates, 2)) if len(candidates) >= 2 else _NO_CAP
