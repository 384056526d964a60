"""A data card: what the texts, options, prices and goals of a catalogue are like, beside those of another one.

Made-up products look real one by one; the card shows where they do not as a whole. It reads every product once, and
compares a sample of goals with every product.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from sightline.webshop_env.product import UNPRICED
from sightline.webshop_env.rules.reward import match_product, matched_options

if TYPE_CHECKING:
    from sightline.webshop_env.catalogue.catalogue import Catalogue
    from sightline.webshop_env.goals.goals import GoalSet
    from sightline.webshop_env.product import Product

VOCABULARY_WORDS: Final = 50_000
"""Words in which vocabularies are counted: a longer text holds more words, so that only equal lengths compare."""

_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Spread:
    """How a number is spread over products or goals; zeros where there are none."""

    low: float
    """5 % of the values lie below it."""
    median: float
    """Half of the values lie below it."""
    high: float
    """95 % of the values lie below it."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some values."""
        return cls(*np.percentile(values, (5, 50, 95)).tolist()) if len(values) else cls(0.0, 0.0, 0.0)

    def __str__(self) -> str:
        return f"{self.median:,.4g} ({self.low:,.4g} to {self.high:,.4g})"


@dataclass(frozen=True)
class CatalogueFacts:
    """What the card says of one catalogue."""

    products: int
    """Number of products."""
    categories: int
    """Number of categories."""
    queries: int
    """Number of queries under which products are listed."""
    words: tuple[Spread, Spread, Spread]
    """Words of title, description and bullets."""
    vocabulary: int | None
    """Distinct words among the first 50,000 of products in random order; None where there are fewer."""
    options: tuple[float, Spread, Spread]
    """Part of the products with options, from 0 to 1; then option groups of those, and values of a group."""
    prices: tuple[Spread, float, float]
    """Lowest price in dollars of products that have one, the part that has none, and the part with a range."""
    annotated: tuple[float, Spread]
    """Part of the products with annotated attributes, and their number."""
    goals: tuple[int, Spread, Spread, Spread]
    """Number of goals, words of an instruction, attributes and options asked for."""
    right_products: Spread
    """Products that offer all that a goal asks for, over a sample of goals."""
    several_right: float
    """Part of the sampled goals with more than one such product."""
    sampled: int
    """Number of goals in the sample."""


def describe(catalogue: Catalogue, goals: GoalSet, *, sample: int = 200, seed: int = 0) -> CatalogueFacts:
    """Return the facts of a catalogue.

    Args:
        catalogue: products to describe.
        goals: goals of the catalogue.
        sample: number of goals that are compared with every product.
        seed: seed of the sample and of the order in which words are counted.
    """
    rng = random.Random(seed)
    products = list(catalogue)
    drawn = rng.sample(range(len(goals)), min(sample, len(goals)))
    right = [_right_products(products, goals, number) for number in drawn]
    listed = [goals.goals[number] for number in (drawn if len(goals) > 100_000 else range(len(goals)))]
    with_options = [product for product in products if product.options]
    # The official files' loader gives 100 dollars to products without a price.
    priced = [product.pricing for product in products if product.pricing not in ((), UNPRICED)]
    notes = [product.attributes for product in products if product.attributes and product.attributes != ("DUMMY_ATTR",)]
    return CatalogueFacts(
        products=len(products),
        categories=len({product.category for product in products}),
        queries=len({product.query for product in products}),
        words=(
            Spread.of([_count(product.title) for product in products]),
            Spread.of([_count(product.description) for product in products]),
            Spread.of([_count(" ".join(product.bullets)) for product in products]),
        ),
        vocabulary=_vocabulary(rng.sample(products, len(products))),
        options=(
            len(with_options) / len(products),
            Spread.of([len(product.options) for product in with_options]),
            Spread.of([len(values) for product in with_options for values in product.options.values()]),
        ),
        prices=(
            Spread.of([min(pricing) for pricing in priced]),
            1 - len(priced) / len(products),
            sum(len(pricing) > 1 for pricing in priced) / len(products),
        ),
        annotated=(len(notes) / len(products), Spread.of(list(map(len, notes)))),
        goals=(
            len(goals),
            Spread.of([_count(goal.instruction_text) for goal in listed]),
            Spread.of([len(goal.attributes) for goal in listed]),
            Spread.of([len(goal.goal_options) for goal in listed]),
        ),
        right_products=Spread.of(right),
        several_right=sum(count > 1 for count in right) / len(right) if right else 0.0,
        sampled=len(right),
    )


def write_card(facts: Sequence[tuple[str, CatalogueFacts]]) -> str:
    """Return the card as Markdown: a row for each fact, a column for each named catalogue.

    Args:
        facts: names and facts, the catalogue of the card first.
    """
    rows = [_rows(each) for _, each in facts]
    names = " | ".join(name.replace("|", "\\|") for name, _ in facts)
    lines = ["# Catalogue card", "", f"| | {names} |", "|---" * (len(facts) + 1) + "|"]
    lines += [f"| {label} | {' | '.join(row[label] for row in rows)} |" for label in rows[0]]
    lines += [
        "",
        "Spreads are medians, with the values below which 5 % and 95 % lie in parentheses. A right product is of the",
        "goal's kind, within its price, and offers each attribute and option that is asked for. Vocabularies are",
        f"counted in the first {VOCABULARY_WORDS:,} words of products in random order.",
        "",
    ]
    return "\n".join(lines)


def _rows(facts: CatalogueFacts) -> dict[str, str]:
    title, description, bullets = facts.words
    with_options, groups, values = facts.options
    price, unpriced, ranges = facts.prices
    annotated, attributes = facts.annotated
    goals, instruction, wished, options = facts.goals
    return {
        "products": f"{facts.products:,}",
        "categories, queries": f"{facts.categories:,}, {facts.queries:,}",
        "words of a title": str(title),
        "words of a description": str(description),
        "words of the bullets": str(bullets),
        "vocabulary": "fewer words" if facts.vocabulary is None else f"{facts.vocabulary:,}",
        "products with options": f"{with_options:.1%}",
        "option groups of those": str(groups),
        "values of a group": str(values),
        "lowest price, dollars": str(price),
        "without a price (or 100 dollars), with a range": f"{unpriced:.1%}, {ranges:.1%}",
        "products with attributes": f"{annotated:.1%}",
        "attributes of those": str(attributes),
        "goals": f"{goals:,}",
        "words of an instruction": str(instruction),
        "attributes asked for": str(wished),
        "options asked for": str(options),
        f"right products of a goal ({facts.sampled:,} goals)": str(facts.right_products),
        "goals with several right products": f"{facts.several_right:.1%}",
    }


def _right_products(products: Iterable[Product], goals: GoalSet, number: int) -> int:
    goal = goals.goals[number]
    count = 0
    for product in products:
        match = match_product(product, goal, price=goals.prices[product.asin])
        if match.r_type == 1.0 and match.price_met and match.attributes_met == len(goal.attributes):
            offered = [value for values in product.options.values() for value in values]
            count += len(matched_options(goal, offered)) == len(goal.goal_options)
    return count


def _count(text: str) -> int:
    return len(_WORD.findall(text))


def _vocabulary(products: Sequence[Product]) -> int | None:
    words: list[str] = []
    for product in products:
        text = f"{product.title} {product.description} {' '.join(product.bullets)}"
        words += _WORD.findall(text.lower())
        if len(words) >= VOCABULARY_WORDS:
            return len(set(words[:VOCABULARY_WORDS]))
    return None
