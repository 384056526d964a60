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
    """A request that a person wrote for one product."""

    text: str
    """The request, as written."""
    attributes: tuple[str, ...]
    """Properties the bought product must have; an instruction without any is no goal."""
    options: tuple[str, ...] = ()
    """Option values to choose, without the names of their groups."""


@dataclass(frozen=True, slots=True)
class SyntheticInstruction:
    """A request that was generated from a product's attributes."""

    text: str
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """One product, after the loading rules of the original shop."""

    asin: str
    """Identifier, at most 10 characters, upper case."""
    title: str
    """Shown on results and item pages."""
    description: str
    """Text of the Description page; may be empty and may hold newlines."""
    bullets: tuple[str, ...]
    """Lines of the Features page, in order."""
    pricing: tuple[float, ...]
    """One price, or the two ends of a range; dollars. `(100.0,)` where the data give none."""
    price_tag: str
    """What pages show, for example `$10.0` or `$5.0 to $9.5`."""
    category: str
    """One of the shop's broad categories."""
    query: str
    """The shop query under which the product was listed; lower case, stripped."""
    product_category: str
    """Path of categories joined by " › "."""
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Group name -> values, both lower case, in page order; values may repeat."""
    option_images: Mapping[str, str | None] = field(default_factory=dict)
    """Value -> image URL or None, over all groups."""
    image: str = ""
    """URL of the main image, or ""."""
    attributes: tuple[str, ...] = UNANNOTATED
    """Annotated properties; `("DUMMY_ATTR",)` when there is no annotation."""
    human: tuple[HumanInstruction, ...] = ()
    """Requests written by people."""
    synthetic: SyntheticInstruction | None = None
    """The generated request, where there is one."""
    reviews: tuple[str, ...] = ()
    """What customers wrote; the published data have none, and search does not look there."""

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
        # Catalogues of earlier versions keep their fingerprints.
        *([product.reviews] if product.reviews else []),
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
    """What an episode asks for."""

    asin: str
    """The product the goal was made from; any product that scores 1 is as good."""
    category: str
    """Of that product, as are query, name and product_category."""
    query: str
    """See `Product`."""
    name: str
    """Title of that product."""
    product_category: str
    """See `Product`."""
    instruction_text: str
    """What the agent reads."""
    attributes: tuple[str, ...]
    """Properties the bought product must have."""
    price_upper: float
    """The highest price allowed, in dollars."""
    goal_options: GoalOptions
    """Option values to choose."""
    weight: float = 1.0
    """Relative probability of being drawn when no goal is named."""


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
