"""The shop as questions, sources and steering: which product page answers a request, and how a category helps.

A source is a chunk of what the shop's pages say about a product, its category the shop's own query for products of
its kind. The module knows the shop and its texts; it knows nothing of embeddings.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from sightline.jepa.data import SteeringTexts
from sightline.retrieval import chunk_text
from sightline.webshop_env import Catalogue, Goal, Product, Shop, build_goals, score_purchase
from sightline.webshop_env.rules import PageKind

COUNTERFACTUAL = "Find me something that is "
"""How a question begins that does not say what kind of product is meant: only steering can tell its answers apart."""

_PAGES = (PageKind.ITEM, PageKind.DESCRIPTION, PageKind.FEATURES)
_TELLING = frozenset({"title", "description", "bullet"})
_MOST_ANSWERS = 12
"""Products that share the attributes of one counterfactual question; more would say little about ranking."""


def shop_texts(*, products: int, instructions: int, seed: int) -> SteeringTexts:
    """Generate a catalogue, and make data of it.

    Two kinds of questions: instructions, both as people put them and as the shop makes them up, answered by the pages
    of their product; and requests for two attributes alone, asked once for each category that has products with both,
    and answered by these. The same words then have other answers under another category. Keywords are the attributes
    asked for. Instructions that another product of the kind would satisfy as well are left out: counting it as wrong
    would be false, and counting it as right would tie most of a category together, which then could not be split.

    Args:
        products: number of products in the catalogue.
        instructions: number of them per product, at most, as people put them, and as many as the shop makes them up.
        seed: seed of the catalogue and its goals.
    """
    catalogue = Catalogue.generate(products=products, seed=seed)
    human, synthetic = (build_goals(catalogue, kind, seed=seed) for kind in ("human", "synthetic"))
    shop = Shop(catalogue, human)
    names = tuple(sorted({product.query for product in catalogue}))
    category = {name: number for number, name in enumerate(names)}
    sources: list[str] = []
    source_category: list[int] = []
    pages: dict[str, range] = {}
    for product in catalogue:
        chunks = [chunk.text for chunk in chunk_text(page_text(shop, product.asin))]
        pages[product.asin] = range(len(sources), len(sources) + len(chunks))
        sources.extend(chunks)
        source_category.extend([category[product.query]] * len(chunks))
    asked = [
        (question, category[name], keywords, [row for asin in asins for row in pages[asin]])
        for question, name, keywords, asins in [
            *_instructions(catalogue, human.goals, instructions),
            *_instructions(catalogue, synthetic.goals, instructions),
            *counterfactuals(list(catalogue), seed),
        ]
    ]
    pairs = [(number, row) for number, (*_, rows) in enumerate(asked) for row in rows]
    return SteeringTexts(
        questions=tuple(question for question, *_ in asked),
        sources=tuple(sources),
        pairs=np.array(pairs, dtype=np.int64),
        question_category=np.array([number for _, number, *_ in asked], dtype=np.int64),
        source_category=np.array(source_category, dtype=np.int64),
        names=names,
        descriptions=tuple(_description(catalogue, name) for name in names),
        keywords=tuple(keywords for _, _, keywords, _ in asked),
    )


def page_text(shop: Shop, asin: str) -> str:
    """Return what the pages of a product say about it, on one line: title, description and features."""
    state = shop.start(0)
    shown = (shop.page(state._replace(kind=kind, asin=asin)) for kind in _PAGES)
    texts = (element.text.strip() for page in shown for element in page.elements if element.name in _TELLING)
    return " ".join(" ".join(texts).split())


Asked = tuple[str, str, str, list[str]]
"""Question, category, keywords, asins of the products that answer it."""


def counterfactuals(products: Sequence[Product], seed: int) -> list[Asked]:
    """Return requests for two attributes, once for each category that has products with both.

    Each product answers at most one request, so that requests do not tie the whole catalogue into one component that
    no split could divide. Rare pairs come first, as they leave the most products for others.

    Args:
        products: products of the catalogue.
        seed: seed of the order among pairs that are equally rare.
    """
    having: dict[tuple[str, ...], list[Product]] = defaultdict(list)
    for product in products:
        for pair in combinations(sorted(product.attributes), 2):
            having[pair].append(product)
    order = sorted(having)
    random.Random(seed).shuffle(order)
    used: set[str] = set()
    asked: list[Asked] = []
    for pair in sorted(order, key=lambda pair: len(having[pair])):
        found = having[pair]
        by_category: dict[str, list[str]] = defaultdict(list)
        for product in found:
            by_category[product.query].append(product.asin)
        asins = {product.asin for product in found}
        if len(by_category) < 2 or len(found) > _MOST_ANSWERS or asins & used:
            continue
        used |= asins
        asked += [
            (COUNTERFACTUAL + " and ".join(pair), name, ", ".join(pair), answers)
            for name, answers in by_category.items()
        ]
    return asked


def _instructions(catalogue: Catalogue, goals: Sequence[Goal], most: int) -> list[Asked]:
    """Return the first goals of every product that no other product of its kind satisfies."""
    of_kind: dict[str, list[Product]] = defaultdict(list)
    for product in catalogue:
        of_kind[product.query].append(product)
    taken: dict[str, int] = defaultdict(int)
    asked: list[Asked] = []
    for goal in goals:
        if taken[goal.asin] < most and not any(
            satisfies(product, goal) for product in of_kind[goal.query] if product.asin != goal.asin
        ):
            taken[goal.asin] += 1
            asked.append((goal.instruction_text, goal.query, ", ".join(goal.attributes), [goal.asin]))
    return asked


def satisfies(product: Product, goal: Goal) -> bool:
    """Return whether the shop's reward is full for buying a product with the options that are asked for, at any price.

    Prices are left out, as the pages' texts do not tell them.
    """
    options = {
        group: value for group, values in product.options.items() for value in values if value in goal.goal_options
    }
    return score_purchase(product, goal, price=0.0, options=options).total >= 1.0


def _description(catalogue: Catalogue, name: str) -> str:
    """Return what a category is: its name, and the places in the shop's tree where its products stand."""
    paths = sorted({catalogue[asin].product_category for asin in catalogue.listing("query", name)})
    return f"{name}. {'; '.join(paths)}"[:1000]
