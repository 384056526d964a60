from __future__ import annotations

import pytest

from sightline.webshop_env import Catalogue, Goal, Product, Shop
from sightline.webshop_env.goals import GoalSet, HeldGoals


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """A lamp with options, a mug whose values need care, and eleven plain chairs."""
    lamp = Product(
        asin="B0LAMP",
        title="Desk Lamp <Pro>",
        description="A lamp.\nIt shines & shines.",
        bullets=("dimmable", "", "steel"),
        pricing=(10.0, 20.0),
        price_tag="$10.0 to $20.0",
        category="electronics",
        query="desk lamp",
        product_category="Home › Lamps",
        options={"color": ("red", "blue", "café"), "size": ("small", "blue")},
        attributes=("dimmable", "steel"),
    )
    mug = Product(
        asin="B0MUG",
        title="Mug",
        description="",
        bullets=("  ",),
        pricing=(),
        price_tag="$100.0",
        category="kitchen",
        query="mug",
        product_category="Home › Mugs",
        options={"shape": ("description", "buy now", "search", "next >", 'wide "w"', "[odd]")},
        attributes=("ceramic",),
    )
    chairs = [
        Product(
            asin=f"B0CHAIR{number:02}",
            title=f"Chair Number {number}",
            description="Sit down.",
            bullets=("wood",),
            pricing=(50.0,),
            price_tag="$50.0",
            category="furniture",
            query="chair",
            product_category="Home › Chairs",
            attributes=("wood",),
        )
        for number in range(11)
    ]
    return Catalogue.from_products([lamp, mug, *chairs])


@pytest.fixture(scope="session")
def goals(catalogue: Catalogue) -> GoalSet:
    """Goal 0 asks for the lamp in red and small, goal 1 for the mug, goal 2 for a chair."""

    def goal(asin: str, text: str, attributes: tuple[str, ...], options: dict[str, str], cap: float) -> Goal:
        product = catalogue[asin]
        return Goal(
            asin=asin,
            category=product.category,
            query=product.query,
            name=product.title,
            product_category=product.product_category,
            instruction_text=f"{text}, and price lower than {cap:.2f} dollars",
            attributes=attributes,
            price_upper=cap,
            goal_options=options,
        )

    prices = {product.asin: sum(product.pricing) / 2 or 100.0 for product in catalogue}
    lamp = goal(
        "B0LAMP", "find me a dimmable desk lamp in red, small", ("dimmable",), {"color": "red", "size": "small"}, 40
    )
    mug = goal("B0MUG", "find me a ceramic mug", ("ceramic",), {}, 120)
    chair = goal("B0CHAIR07", "i need a wood chair number 7", ("wood",), {}, 60)
    return GoalSet(HeldGoals((lamp, mug, chair)), prices, "synthetic", 0)


@pytest.fixture(scope="session")
def shop(catalogue: Catalogue, goals: GoalSet) -> Shop:
    return Shop(catalogue, goals, show_attributes=True)
