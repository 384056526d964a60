"""Makes up believable products and requests, so that the shop runs without the published data.

Everything follows from the seed: only `Random` methods whose results are the same on every supported
Python are used, and no set or hash decides an order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from string import ascii_uppercase, capwords, digits

from sightline.webshop_env.catalogue.vocabulary import Attribute, Department, ProductType, departments
from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.product import UNPRICED, HumanInstruction, Product, SyntheticInstruction, price_tag

_TITLE_SHARE = 0.68
"""Chance that a title names an attribute; the others stand on the product's sub pages only."""

_FEWEST_TITLE_WORDS, _MOST_TITLE_WORDS = 8, 16
_OPTION_CHANCE = 0.85
_SYNTHETIC_CHANCE = 0.5
_UNPRICED_CHANCE = 0.04
_RANGE_CHANCE = 0.2

_OPENERS = (
    "i need {}",
    "i am looking for {}",
    "i'm looking for {}",
    "looking for {}",
    "can you find me {}",
    "find me {}",
    "i want {}",
    "i want to buy {}",
    "i would like {}",
    "i'd like to get {}",
    "please show me {}",
    "help me find {}",
    "i am searching for {}",
    "i'm interested in {}",
    "i would like to order {}",
    "get me {}",
)
_OCCASIONS = ("", "", "", "", "", " for my sister", " for my friend", " as a gift", " for my trip", " for my mom")
_OPTION_PHRASES: Mapping[str, tuple[str, ...]] = {
    "color": ("in {}", "in the color {}", "in {} color"),
    "size": ("in size {}", "in a size {}", "size {}"),
    "scent": ("in {} scent", "with a {} scent"),
    "flavor name": ("in {} flavor", "with {} flavor"),
    "style": ("in {} style", "in the {} style"),
    "item package quantity": ("in a pack of {}", "in a {} pack"),
}
_FEATURES: Mapping[str, tuple[str, ...]] = {
    "": ("{name}: {these} {noun} {are} {wording}.", "{name} design: {these} {noun} {are} {wording} and built to last."),
    "for": ("for {name}: {these} {noun} {are} a favorite among our customers.", "a fine choice for {name}."),
    "with": ("with {name}: it makes all the difference.", "finished with {name} and checked by hand."),
    "without": ("made without {name}, as it should be.", "without {name}: {these} {noun} {are} as honest as can be."),
}
_OPENINGS = (
    "Meet the {adjective} {noun} from {brand}.",
    "{brand} presents {detail} at its best.",
    "Your next {adjective} favorite, with {detail}, made by {brand}.",
    "The {brand} {noun} with {detail} can be yours today.",
)


@dataclass(frozen=True, slots=True)
class _Draft:
    """What a product is before it is put into words."""

    department: Department
    kind: ProductType
    noun: str
    brand: str
    adjective: str
    detail: str
    attributes: tuple[Attribute, ...]
    in_title: tuple[Attribute, ...]
    options: Mapping[str, tuple[str, ...]]

    @property
    def hidden(self) -> tuple[Attribute, ...]:
        return tuple(attribute for attribute in self.attributes if attribute not in self.in_title)


def generate_products(count: int, seed: int) -> Iterator[Product]:
    """Make up products of five departments with about four human instructions each, one at a time.

    Args:
        count: number of products; a smaller one gives the head of the same sequence.
        seed: picks one of the possible sequences.

    Returns:
        Products with distinct asins. Half of them also have a synthetic instruction.

    Raises:
        CatalogueError: `count` is less than 1.
    """
    if count < 1:
        raise CatalogueError(f"a catalogue needs at least one product, not {count!r}")
    return islice(_products(seed), count)


def _products(seed: int) -> Iterator[Product]:
    shelves = [(department, kind) for department in departments() for kind in department.types]
    rng = random.Random(f"{seed}:products")
    for asin in _asins(random.Random(f"{seed}:asins")):
        yield _product(asin, *rng.choice(shelves), rng)


def _asins(rng: random.Random) -> Iterator[str]:
    letters = ascii_uppercase + digits
    seen: set[str] = set()
    while True:
        asin = "B0" + "".join([rng.choice(letters) for _ in range(8)])
        if asin not in seen:
            seen.add(asin)
            yield asin


def _product(asin: str, department: Department, kind: ProductType, rng: random.Random) -> Product:
    draft = _draft(department, kind, rng)
    bullets, description = _texts(draft, rng)
    pricing = _pricing(kind, rng)
    return Product(
        asin=asin,
        title=_title(draft, rng),
        description=description,
        bullets=bullets,
        pricing=pricing,
        price_tag=price_tag(pricing),
        category=department.category,
        query=kind.query,
        product_category=kind.path,
        options=draft.options,
        option_images=_option_images(asin, draft.options),
        image=f"https://images.example/{asin}.jpg",
        attributes=tuple(attribute.name for attribute in draft.attributes),
        human=_human_instructions(draft, rng),
        synthetic=_synthetic_instruction(draft, rng) if rng.random() < _SYNTHETIC_CHANCE else None,
    )


def _option_images(asin: str, options: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
    """Return an address per value: published records have them, and they make up a good part of a file."""
    values = dict.fromkeys(value for values in options.values() for value in values)
    return {
        value: f"https://images.example/{asin}/options/{number:02}.300x300.jpg" for number, value in enumerate(values)
    }


def _draft(department: Department, kind: ProductType, rng: random.Random) -> _Draft:
    attributes = tuple(rng.sample(kind.attributes, rng.randint(2, 5)))
    options = {}
    for name, values in kind.options.items():
        if rng.random() < _OPTION_CHANCE:
            count = rng.randint(3, min(len(values), 8 if name == "color" else 6))
            options[name] = tuple(values[i] for i in sorted(rng.sample(range(len(values)), count)))
    noun = kind.names[0] if rng.random() < 0.7 else rng.choice(kind.names)
    brand = rng.choice(department.brands)
    room = _MOST_TITLE_WORDS - _count_words(f"{brand} by {noun}")
    in_title = []
    for attribute in attributes:
        words = _count_words(_linked(attribute))
        if words <= room and rng.random() < _TITLE_SHARE:
            in_title.append(attribute)
            room -= words
    return _Draft(
        department=department,
        kind=kind,
        noun=noun,
        brand=brand,
        adjective=rng.choice(department.adjectives),
        detail=rng.choice(kind.details),
        attributes=attributes,
        in_title=tuple(in_title),
        options=options,
    )


def _title(draft: _Draft, rng: random.Random) -> str:
    plain = [capwords(attribute.name) for attribute in draft.in_title if not attribute.link]
    noun = capwords(draft.noun)
    linked = " ".join(
        f"{link} {' and '.join(capwords(attribute.name) for attribute in linked)}"
        for link, linked in _by_link(draft.in_title)
    )
    match rng.randrange(4):
        case 0:
            parts = [_join(draft.brand, *plain[:2], noun, linked), *plain[2:]]
        case 1:
            parts = [_join(noun, linked, "by", draft.brand), *plain]
        case 2:
            parts = [_join(draft.brand, noun), linked, *plain]
        case _:
            parts = [_join(noun, linked), *plain, draft.brand]
    title = ", ".join(filter(None, parts))
    second = rng.choice((rng.choice(draft.department.specifications), f"{draft.adjective} Choice"))
    spare = (detail for detail in draft.kind.details if detail != draft.detail)
    for position, extra in enumerate((draft.detail, second, *spare)):
        wanted = position < 2 or _count_words(title) < _FEWEST_TITLE_WORDS
        if wanted and _count_words(f"{title} {extra}") <= _MOST_TITLE_WORDS:
            title = f"{title}, {extra}"
    return title


def _texts(draft: _Draft, rng: random.Random) -> tuple[tuple[str, ...], str]:
    """Return bullets and description; each attribute that the title leaves out is in one of them."""
    described = [attribute for attribute in draft.hidden if rng.random() < 0.3]
    listed = [attribute for attribute in draft.hidden if attribute not in described]
    listed += [attribute for attribute in draft.in_title if rng.random() < 0.5]
    bullets = [_feature(attribute, draft, rng) for attribute in listed[:5]]
    described += listed[5:]
    remarks = rng.sample(draft.department.remarks, len(draft.department.remarks))
    bullets += [remarks.pop() for _ in range(rng.randint(3, 5) - len(bullets))]
    rng.shuffle(bullets)
    words = {
        "noun": draft.noun,
        "brand": draft.brand,
        "adjective": draft.adjective.lower(),
        "detail": draft.detail.lower(),
    }
    sentences = [rng.choice(_OPENINGS).format(**words)]
    if described:
        sentences.append(f"Key features: {', '.join(_linked(attribute) for attribute in described)}.")
    sentences += remarks[: rng.randint(0, 2)]
    return tuple(bullets), ("\n\n" if rng.random() < 0.25 else " ").join(sentences)


def _feature(attribute: Attribute, draft: _Draft, rng: random.Random) -> str:
    plural = _is_plural(draft.noun)
    sentence = rng.choice(_FEATURES[attribute.link]).format(
        name=attribute.name,
        wording=attribute.wording,
        noun=draft.noun,
        these="these" if plural else "this",
        are="are" if plural else "is",
    )
    return sentence[0].upper() + sentence[1:]


def _pricing(kind: ProductType, rng: random.Random) -> tuple[float, ...]:
    if rng.random() < _UNPRICED_CHANCE:
        return UNPRICED
    low, high = kind.price
    # The product of two uniform numbers puts most prices near the low end.
    dollars = low + int((high - low) * (rng.random() * rng.random()))
    price = (dollars * 100 + rng.choice((99, 99, 95, 49, 0))) / 100
    if rng.random() >= _RANGE_CHANCE:
        return (price,)
    return price, (round(price * 100) + rng.randint(1, max(2, dollars // 2)) * 100) / 100


def _human_instructions(draft: _Draft, rng: random.Random) -> tuple[HumanInstruction, ...]:
    instructions: dict[str, HumanInstruction] = {}
    wanted = rng.randint(3, 5)
    while len(instructions) < wanted:
        instruction = _human_instruction(draft, rng)
        instructions[instruction.text] = instruction
    return tuple(instructions.values())


def _human_instruction(draft: _Draft, rng: random.Random) -> HumanInstruction:
    count = min(rng.choice((1, 1, 1, 2, 2, 2, 2, 3, 3)), len(draft.attributes))
    attributes = rng.sample(draft.attributes, count)
    groups = rng.sample(list(draft.options), min(rng.choice((0, 0, 1, 1, 2)), len(draft.options)))
    options = [(group, rng.choice(draft.options[group])) for group in groups]
    noun = rng.choice((draft.noun, *draft.kind.names, draft.kind.query))
    uncountable = noun == draft.kind.query or draft.department.category == "grocery"

    request = _described(noun, attributes, uncountable=uncountable, rng=rng)
    wishes = _enumeration([rng.choice(_OPTION_PHRASES[group]).format(value) for group, value in options])
    apart = wishes and rng.random() < 0.4
    text = rng.choice(_OPENERS).format(request if apart else _join(request, wishes)) + rng.choice(_OCCASIONS)
    if apart:
        text += f". {'they' if _is_plural(noun) else 'it'} should be {wishes}"
    if rng.random() < 0.4:
        text += "."
    return HumanInstruction(
        text, tuple(attribute.name for attribute in attributes), tuple(value for _, value in options)
    )


def _described(noun: str, attributes: Sequence[Attribute], *, uncountable: bool, rng: random.Random) -> str:
    """Return a noun phrase that says which attributes the thing has, as a person would."""
    plural = _is_plural(noun)
    plain = [attribute.wording for attribute in attributes if not attribute.link]
    clauses = [
        f"{link} {_enumeration([attribute.wording for attribute in linked])}" for link, linked in _by_link(attributes)
    ]
    if plain and (" to " in plain[0] or rng.random() < 0.5):
        clauses.append(f"that {'are' if plural else 'is'} {_enumeration(plain)}")
        plain = []
    phrase = _join(", ".join(plain), noun)
    if plural:
        article = ""
    elif uncountable:
        article = "some"
    else:
        article = "an" if phrase[0] in "aeiou" and not phrase.startswith("usb") else "a"
    return _join(article, phrase, *clauses)


def _synthetic_instruction(draft: _Draft, rng: random.Random) -> SyntheticInstruction:
    attributes = rng.sample(draft.attributes, rng.randint(1, len(draft.attributes)))
    plain = ", ".join(attribute.name for attribute in attributes if not attribute.link)
    linked = ", ".join(_linked(attribute) for attribute in attributes if attribute.link)
    text = _join("Find me", plain, draft.kind.query, linked)
    return SyntheticInstruction(text, tuple(attribute.name for attribute in attributes))


def _linked(attribute: Attribute) -> str:
    return _join(attribute.link, attribute.name)


def _by_link(attributes: Sequence[Attribute]) -> list[tuple[str, list[Attribute]]]:
    """Return the attributes that a link joins to their noun, grouped by it in order of first use."""
    groups: dict[str, list[Attribute]] = {}
    for attribute in attributes:
        if attribute.link:
            groups.setdefault(attribute.link, []).append(attribute)
    return list(groups.items())


def _enumeration(phrases: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(phrases[:-1]), *phrases[-1:])))


def _join(*parts: str) -> str:
    return " ".join(filter(None, parts))


def _count_words(text: str) -> int:
    return len(text.split())


def _is_plural(noun: str) -> bool:
    return noun.endswith("s") and not noun.endswith("ss")
