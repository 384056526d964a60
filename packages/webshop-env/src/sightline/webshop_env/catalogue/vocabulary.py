"""The words that made-up catalogues are put together from: a typed view of the table in `vocabulary.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

_LINKS = ("for", "with", "without")


@dataclass(frozen=True, slots=True)
class Attribute:
    """A property that a product may have."""

    name: str
    """As it is annotated, for example `easy clean`."""
    link: str
    """Word that joins it to a noun, as `for`; "" where it stands before the noun."""
    wording: str
    """As a sentence would put it, for example `easy to clean`."""


@dataclass(frozen=True, slots=True)
class ProductType:
    """One kind of product and what varies among products of this kind."""

    names: tuple[str, ...]
    """Noun phrases for it, the most common first."""
    query: str
    """The shop query that lists it."""
    path: str
    """Categories from wide to narrow, joined by " › "."""
    price: tuple[int, int]
    """Lowest and highest price, in dollars."""
    attributes: tuple[Attribute, ...]
    """Properties to pick from."""
    options: Mapping[str, tuple[str, ...]]
    """Group name -> values to pick from."""
    details: tuple[str, ...]
    """Phrases that a title may add."""


@dataclass(frozen=True, slots=True)
class Department:
    """One of the shop's broad categories, with what its product types share."""

    category: str
    """Its one-word name."""
    brands: tuple[str, ...]
    """Made-up makers."""
    adjectives: tuple[str, ...]
    """Praise for titles."""
    specifications: tuple[str, ...]
    """What a title may end with, such as a pack size."""
    remarks: tuple[str, ...]
    """Whole sentences that fit any product."""
    types: tuple[ProductType, ...]
    """What is sold."""


@cache
def departments() -> tuple[Department, ...]:
    """Return the shop's five departments, read once."""
    file = resources.files("sightline.webshop_env.catalogue").joinpath("vocabulary.toml")
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    return tuple(
        Department(
            category=entry["category"],
            brands=_list(entry["brands"]),
            adjectives=_list(entry["adjectives"]),
            specifications=_list(entry["specifications"]),
            remarks=tuple(entry["remarks"]),
            types=tuple(_type(row, table["groups"], table["wording"]) for row in entry["types"]),
        )
        for entry in table["departments"]
    )


def _type(row: Mapping[str, Any], shared_groups: Mapping[str, str], wording: Mapping[str, str]) -> ProductType:
    groups = (shared_groups.get(part.strip(), part.strip()).partition(": ") for part in row["options"].split(";"))
    low, high = row["price"]
    return ProductType(
        names=_list(row["names"]),
        query=row["query"],
        path=row["path"],
        price=(low, high),
        attributes=tuple(_attribute(text, wording) for text in _list(row["attributes"])),
        options={name: _list(values) for name, _, values in groups},
        details=_list(row["details"]),
    )


def _attribute(text: str, wording: Mapping[str, str]) -> Attribute:
    link, _, name = text.partition(" ")
    if link not in _LINKS:
        link, name = "", text
    return Attribute(name, link, wording.get(name, name))


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))
