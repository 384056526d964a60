"""Makes made-up products long: descriptions, features and twenty reviews, and up to 200 values in an option group.

What a title leaves out stands in exactly one of these texts, in the words in which requests ask for it, so that whoever
wants the right product must read on. A pure function of a product and a seed; short products stay what they are.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any, Final

from sightline.webshop_env.catalogue.vocabulary import Attribute, Department, ProductType, departments
from sightline.webshop_env.product import HumanInstruction, Product

REVIEWS: Final = 20
"""Reviews of every product."""
MOST_VALUES: Final = 200
"""Most values of an option group."""

_LONG_GROUP_SHARE = 0.75
_HIDDEN_FIRST = 0.8
"""Chance that a request asks first for what the title leaves out, where it leaves out anything."""
_OPENERS = ("i need {}", "i am looking for {}", "find me {}", "i want {}", "get me {}", "show me {}")


def lengthen(product: Product, seed: int) -> Product:
    """Return a made-up product with long texts, twenty reviews, long option groups and requests that need reading.

    Args:
        product: product that `generate_products` made.
        seed: seed of the texts.
    """
    rng = random.Random(f"{seed}:{product.asin}:long")
    department, kind = _shelves()[product.query, product.product_category]
    own = [attribute for attribute in kind.attributes if attribute.name in product.attributes]
    noun = _noun(product, kind)
    hidden = [attribute for attribute in own if not _stands_in(attribute, product.title)]
    bullets, description, reviews = _texts(own, noun, department, rng)
    options = {name: _variants(name, values, kind, rng) for name, values in product.options.items()}
    requests: dict[str, HumanInstruction] = {}
    while len(requests) < max(len(product.human), 1):
        request = _request(noun, own, hidden, options, rng)
        requests[request.text] = request
    return replace(
        product,
        description=description,
        bullets=bullets,
        reviews=reviews,
        options=options,
        option_images=dict.fromkeys(value for values in options.values() for value in values),
        human=tuple(requests.values()),
    )


@cache
def _sentences() -> Mapping[str, Any]:
    file = resources.files("sightline.webshop_env.catalogue").joinpath("long_texts.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


@cache
def _shelves() -> Mapping[tuple[str, str], tuple[Department, ProductType]]:
    return {(kind.query, kind.path): (department, kind) for department in departments() for kind in department.types}


def _noun(product: Product, kind: ProductType) -> str:
    """Return the name under which the title sells the product."""
    named = [name for name in kind.names if name in product.title.lower()]
    return max(named, key=len, default=kind.names[0])


def _stands_in(attribute: Attribute, title: str) -> bool:
    return attribute.name in title.lower()


def _texts(
    attributes: Sequence[Attribute], noun: str, department: Department, rng: random.Random
) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Return bullets, description and reviews; each attribute stands in one of them."""
    places = [rng.choice(("bullets", "description", "reviews", "reviews")) for _ in attributes]
    of = {
        place: [attribute for attribute, own in zip(attributes, places, strict=True) if own == place]
        for place in ("bullets", "description", "reviews")
    }
    remarks = rng.sample(department.remarks, len(department.remarks))
    # The first line is found by search, so it says nothing that only a reader should find.
    bullets = [_say(attribute, "stated", noun, rng) for attribute in of["bullets"]] + remarks[1:4]
    rng.shuffle(bullets)
    telling = [text.format(noun=noun, are=_are(noun)) for text in rng.sample(_sentences()["telling"], 4)]
    described = [_say(attribute, "stated", noun, rng) for attribute in of["description"]]
    paragraphs = [" ".join([*telling[:2], *described]), " ".join(telling[2:])]
    reviews = [_say(attribute, "reviewed", noun, rng) for attribute in of["reviews"]]
    count = REVIEWS - len(reviews)
    reviews += [text.format(noun=noun) for text in rng.sample(_sentences()["remarks"], count)]
    rng.shuffle(reviews)
    return (remarks[0], *bullets), "\n\n".join(paragraphs), tuple(reviews)


def _say(attribute: Attribute, how: str, noun: str, rng: random.Random) -> str:
    many = _are(noun) == "are"
    return rng.choice(_sentences()[how][attribute.link]).format(
        wording=attribute.wording,
        noun=noun,
        are=_are(noun),
        These="These" if many else "This",
        It="They" if many else "It",
    )


def _variants(name: str, values: tuple[str, ...], kind: ProductType, rng: random.Random) -> tuple[str, ...]:
    """Return an option group as it is or, by chance, with every value of the kind in several variants."""
    known = _sentences()["variants"]
    if name not in known or rng.random() >= _LONG_GROUP_SHARE:
        return values
    every = known[name].split(", ")
    variants = rng.sample(every, rng.randint(3, len(every)))
    return tuple(f"{value} | {variant}" for value in kind.options[name] for variant in variants)[:MOST_VALUES]


def _request(
    noun: str,
    attributes: Sequence[Attribute],
    hidden: Sequence[Attribute],
    options: Mapping[str, tuple[str, ...]],
    rng: random.Random,
) -> HumanInstruction:
    count = min(rng.choice((1, 2, 2, 2, 3)), len(attributes))
    wanted = rng.sample(attributes, count)
    if hidden and not set(wanted) & set(hidden) and rng.random() < _HIDDEN_FIRST:
        wanted[0] = rng.choice(hidden)
    chosen = [
        rng.choice(options[group]) for group in rng.sample(list(options), min(rng.choice((0, 1, 1, 2)), len(options)))
    ]
    plain = [attribute.wording for attribute in wanted if not attribute.link]
    clauses = [f"that {_are(noun)} {' and '.join(plain)}"] if plain else []
    clauses += [f"{attribute.link} {attribute.wording}" for attribute in wanted if attribute.link]
    clauses += [f"in {' and '.join(chosen)}"] if chosen else []
    text = rng.choice(_OPENERS).format(" ".join([noun, *clauses]))
    return HumanInstruction(text, tuple(attribute.name for attribute in wanted), tuple(chosen))


def _are(noun: str) -> str:
    return "are" if noun.endswith("s") and not noun.endswith("ss") else "is"
