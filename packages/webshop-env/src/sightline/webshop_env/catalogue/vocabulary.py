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
    """A property that a product may have.

    Attributes:
        name: as it is annotated, for example `easy clean`.
        link: word that joins it to a noun, as `for`; "" where it stands before the noun.
        wording: as a sentence would put it, for example `easy to clean`.
    """

    name: str
    link: str
    wording: str


@dataclass(frozen=True, slots=True)
class ProductType:
    """One kind of product and what varies among products of this kind.

    Attributes:
        names: noun phrases for it, the most common first.
        query: the shop query that lists it.
        path: categories from wide to narrow, joined by " › ".
        price: lowest and highest price, in dollars.
        attributes: properties to pick from.
        options: group name -> values to pick from.
        details: phrases that a title may add.
    """

    names: tuple[str, ...]
    query: str
    path: str
    price: tuple[int, int]
    attributes: tuple[Attribute, ...]
    options: Mapping[str, tuple[str, ...]]
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Department:
    """One of the shop's broad categories, with what its product types share.

    Attributes:
        category: its one-word name.
        brands: made-up makers.
        adjectives: praise for titles.
        specifications: what a title may end with, such as a pack size.
        remarks: whole sentences that fit any product.
        types: what is sold.
    """

    category: str
    brands: tuple[str, ...]
    adjectives: tuple[str, ...]
    specifications: tuple[str, ...]
    remarks: tuple[str, ...]
    types: tuple[ProductType, ...]


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
