"""What the shop sells: the immutable records that every other module passes around.

This module knows nothing of files, pages or rewards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from sightline.webshop_env.errors import CatalogueError

UNPRICED = (100.0,)
"""Pricing of a product whose data name no price."""

UNANNOTATED = ("DUMMY_ATTR",)
"""Attributes of a product that nobody has annotated."""


def price_tag(pricing: tuple[float, ...]) -> str:
    """Return what pages show for one price or the two ends of a range, as `$10.0` or `$5.0 to $9.5`."""
    return " to ".join(f"${price}" for price in pricing)


@dataclass(frozen=True, slots=True)
class HumanInstruction:
    """A request that a person wrote for one product.

    Attributes:
        text: the request, as written.
        attributes: properties the bought product must have; an instruction without any is no goal.
        options: option values to choose, without the names of their groups.
    """

    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SyntheticInstruction:
    """A request that was generated from a product's attributes."""

    text: str
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """One product, after the loading rules of the original shop.

    Attributes:
        asin: identifier, at most 10 characters, upper case.
        title: shown on results and item pages.
        description: text of the Description page; may be empty and may hold newlines.
        bullets: lines of the Features page, in order.
        pricing: one price, or the two ends of a range; dollars. `(100.0,)` where the data give none.
        price_tag: what pages show, for example `$10.0` or `$5.0 to $9.5`.
        category: one of the shop's broad categories.
        query: the shop query under which the product was listed; lower case, stripped.
        product_category: path of categories joined by " › ".
        options: group name -> values, both lower case, in page order; values may repeat.
        option_images: value -> image URL or None, over all groups.
        image: URL of the main image, or "".
        attributes: annotated properties; `("DUMMY_ATTR",)` when there is no annotation.
        human: requests written by people.
        synthetic: the generated request, where there is one.
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    pricing: tuple[float, ...]
    price_tag: str
    category: str
    query: str
    product_category: str
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    option_images: Mapping[str, str | None] = field(default_factory=dict)
    image: str = ""
    attributes: tuple[str, ...] = UNANNOTATED
    human: tuple[HumanInstruction, ...] = ()
    synthetic: SyntheticInstruction | None = None

    @property
    def search_text(self) -> str:
        """The text under which search finds the product: title, description, first bullet and options, lower case."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        first_bullet = self.bullets[0] if self.bullets else ""
        return f"{self.title} {self.description} {first_bullet} {options}".lower()


_encode: Final = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` makes an encoder at every call


def canonical(product: Product) -> bytes:
    """One line of ASCII JSON that differs wherever two products do; the input of a catalogue's fingerprint."""
    content = (
        product.asin,
        product.title,
        product.description,
        product.bullets,
        # 5 and 5.0 are equal prices, and files keep only the latter.
        tuple(map(float, product.pricing)),
        product.price_tag,
        product.category,
        product.query,
        product.product_category,
        list(product.options.items()),
        sorted(product.option_images.items()),
        product.image,
        product.attributes,
        [(entry.text, entry.attributes, entry.options) for entry in product.human],
        product.synthetic and (product.synthetic.text, product.synthetic.attributes),
    )
    return _encode(content).encode("ascii") + b"\n"


@dataclass(frozen=True, slots=True)
class Headline:
    """What a results page says of a product; the fields are those of `Product`."""

    asin: str
    title: str
    price_tag: str


GoalOptions: TypeAlias = tuple[str, ...] | Mapping[str, str]
"""Option values of a human goal, or group name -> value of a synthetic one."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What an episode asks for.

    Attributes:
        asin: the product the goal was made from; any product that scores 1 is as good.
        category: of that product, as are query, name and product_category.
        query: see `Product`.
        name: title of that product.
        product_category: see `Product`.
        instruction_text: what the agent reads.
        attributes: properties the bought product must have.
        price_upper: the highest price allowed, in dollars.
        goal_options: option values to choose.
        weight: relative probability of being drawn when no goal is named.
    """

    asin: str
    category: str
    query: str
    name: str
    product_category: str
    instruction_text: str
    attributes: tuple[str, ...]
    price_upper: float
    goal_options: GoalOptions
    weight: float = 1.0


def check_asin(asin: str, position: int) -> None:
    """Refuse what is no asin.

    Raises:
        CatalogueError: names the position.
    """
    if not 1 <= len(asin) <= 10 or asin != asin.upper():
        raise CatalogueError(f"product {position} has asin {asin[:80]!r}; expected 1 to 10 characters, upper case")


def listing_keys(product: Product) -> Iterator[str]:
    """Return the `field:value` under which a catalogue lists a product, each once."""
    for attribute in dict.fromkeys(product.attributes):
        yield f"attributes:{attribute}"
    yield f"category:{product.category}"
    yield f"query:{product.query}"
