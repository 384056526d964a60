"""Goals: what episodes ask for, made from a catalogue's instructions, and the prices in force.

One stream of random numbers gives the prices, then the price caps; both are functions of catalogue, kind and seed.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from itertools import product as cartesian_product
from math import fsum, prod
from typing import Literal, TypeAlias, get_args

from sightline.webshop_env.catalogue import Catalogue
from sightline.webshop_env.errors import GoalError
from sightline.webshop_env.product import UNPRICED, Goal, GoalOptions, Product

GoalKind: TypeAlias = Literal["human", "synthetic"]

_NO_CAP = 1_000_000.0
_CAPS = tuple(float(cap) for cap in range(10, 1000, 10))
_CAPS_CONSIDERED = 4
_ORDER_SEED = 233
"""The original shuffles every goal list with this seed, so that a number names the same goal everywhere."""

_SPLITS = {"test": (0, 500), "dev": (500, 1500), "train": (1500, None)}


@dataclass(frozen=True)
class GoalSet:
    """Goals in their final order, with the prices they were made under.

    Attributes:
        goals: an integer session of the shop is an index into these.
        prices: asin -> price in force, in dollars, for every product of the catalogue.
        kind: whose instructions the goals come from.
        seed: of prices and price caps.
    """

    goals: tuple[Goal, ...]
    prices: Mapping[str, float]
    kind: GoalKind
    seed: int

    def __len__(self) -> int:
        return len(self.goals)

    @cached_property
    def cumulative_weights(self) -> tuple[float, ...]:
        """Running sum of the goals' weights."""
        return tuple(accumulate(goal.weight for goal in self.goals))


def build_goals(catalogue: Catalogue, kind: GoalKind, seed: int) -> GoalSet:
    """Makes every goal that a catalogue offers.

    Args:
        catalogue: whose products and instructions.
        kind: ``human`` for requests written by people, ``synthetic`` for generated ones.
        seed: of prices (see :func:`draw_prices`) and price caps.

    Raises:
        GoalError: an unknown kind, or the catalogue has no instruction of this kind.
    """
    if kind not in get_args(GoalKind):
        raise GoalError(f"no goals of kind {kind!r}; kinds are {', '.join(map(repr, get_args(GoalKind)))}")
    rng = random.Random(seed)
    prices = draw_prices(catalogue, rng)
    goals = list((_human_goals if kind == "human" else _synthetic_goals)(catalogue, prices, rng))
    if not goals:
        raise GoalError(
            f"none of the {len(catalogue)} products has a {kind} instruction that names attributes; "
            "load the instruction file with the catalogue, or ask for goals of the other kind"
        )
    random.Random(_ORDER_SEED).shuffle(goals)
    return GoalSet(tuple(goals), prices, kind, seed)


def draw_prices(catalogue: Catalogue, rng: random.Random) -> dict[str, float]:
    """Fixes the price in force of every product, in catalogue order.

    Args:
        catalogue: the products.
        rng: advanced once per price range, which is drawn from uniformly.

    Returns:
        asin -> dollars.
    """
    return {product.asin: _price(product.pricing, rng) for product in catalogue}


def draw_goal(goals: GoalSet, rng: random.Random) -> int:
    """Draws the index of a goal with probability proportional to its weight."""
    return rng.choices(range(len(goals)), cum_weights=goals.cumulative_weights)[0]


def filter_goals(goals: GoalSet, keep: Callable[[int, Goal], bool]) -> GoalSet:
    """Keeps the goals for which ``keep(index, goal)`` is true, in their order."""
    return replace(goals, goals=tuple(goal for index, goal in enumerate(goals.goals) if keep(index, goal)))


def limit_goals(goals: GoalSet, count: int, rng: random.Random) -> GoalSet:
    """Cuts a goal list down by weighted sampling without replacement; the goals kept stay in their order.

    The sample is that of drawing goals one after the other, each time by weight among those left: the smallest of
    exponential variates of rate ``weight`` (Efraimidis and Spirakis, 2006).

    Args:
        goals: what to sample from; returned as it is where it holds no more than ``count``.
        count: how many to keep.
        rng: advanced once per goal.

    Raises:
        GoalError: ``count`` is less than 1.
    """
    if count < 1:
        raise GoalError(f"a goal list needs at least one goal, not {count!r}")
    if count >= len(goals):
        return goals
    arrivals = [rng.expovariate(1.0) / goal.weight for goal in goals.goals]
    kept = set(sorted(range(len(goals)), key=arrivals.__getitem__)[:count])
    return filter_goals(goals, lambda index, _: index in kept)


def split_indices(name: str, count: int) -> range:
    """Indices of a named split, by the convention of the literature for human goals.

    Args:
        name: ``test`` (the first 500 goals), ``dev`` (the next 1,000) or ``train`` (the rest).
        count: how many goals there are.

    Raises:
        GoalError: an unknown name, or the split is empty because there are too few goals.
    """
    if name not in _SPLITS:
        raise GoalError(f"no split {name!r}; splits are {', '.join(map(repr, _SPLITS))}")
    start, stop = _SPLITS[name]
    if start >= count:
        raise GoalError(f"split {name!r} is empty: it begins at goal {start}, and there are only {count}")
    return range(start, count if stop is None else min(stop, count))


def _price(pricing: tuple[float, ...], rng: random.Random) -> float:
    if not pricing:
        return UNPRICED[0]
    return pricing[0] if len(pricing) == 1 else rng.uniform(pricing[0], pricing[1])


def _human_goals(catalogue: Catalogue, prices: Mapping[str, float], rng: random.Random) -> Iterator[Goal]:
    for product in catalogue:
        for instruction in product.human:
            # Skipped before its cap is drawn: the stream of random numbers must not notice it.
            if instruction.attributes:
                yield _goal(
                    product,
                    text=instruction.text.strip("."),
                    attributes=instruction.attributes,
                    options=instruction.options,
                    cap=_draw_cap(prices[product.asin], rng),
                )


def _synthetic_goals(catalogue: Catalogue, prices: Mapping[str, float], rng: random.Random) -> Iterator[Goal]:
    instructed = [
        (product, product.synthetic)
        for product in catalogue
        if product.synthetic is not None and product.synthetic.attributes
    ]
    sharing: Counter[str] = Counter()
    for product, instruction in instructed:
        combinations = prod(len(values) for values in product.options.values())
        for attribute in instruction.attributes:
            sharing[attribute] += combinations
    for product, instruction in instructed:
        cap = _draw_cap(prices[product.asin], rng)
        names = sorted(product.options)
        for values in cartesian_product(*(product.options[name] for name in names)):
            options = dict(zip(names, values, strict=True))
            chosen = ", and ".join(f"{name}: {value}" for name, value in options.items())
            yield _goal(
                product,
                text=f"{instruction.text} with {chosen}" if options else instruction.text,
                attributes=instruction.attributes,
                options=options,
                cap=cap,
                weight=_rarity(instruction.attributes, sharing),
            )


def _rarity(attributes: tuple[str, ...], sharing: Mapping[str, int]) -> float:
    # `sum` adds floats differently from Python 3.12 on, and a seed must give the same goals everywhere.
    return fsum(1 / sharing[attribute] for attribute in attributes) / len(attributes)


def _draw_cap(price: float, rng: random.Random) -> float | None:
    first = bisect_right(_CAPS, price)
    candidates = _CAPS[first : first + _CAPS_CONSIDERED]
    return max(rng.sample(candidates, 2)) if len(candidates) >= 2 else None


def _goal(
    product: Product,
    *,
    text: str,
    attributes: tuple[str, ...],
    options: GoalOptions,
    cap: float | None,
    weight: float = 1.0,
) -> Goal:
    return Goal(
        asin=product.asin,
        category=product.category,
        query=product.query,
        name=product.title,
        product_category=product.product_category,
        instruction_text=text if cap is None else f"{text}, and price lower than {cap:.2f} dollars",
        attributes=attributes,
        price_upper=_NO_CAP if cap is None else cap,
        goal_options=options,
        weight=weight,
    )
