"""Turns one raw record of the published WebShop data files into a product, by every loading rule of the original shop.

Nothing beyond this module sees the keys of a raw record, except the module that writes them. It knows nothing of files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from sightline.webshop_env.catalogue.official.faults import Fault, RecordError, fail, fault
from sightline.webshop_env.product import (
    UNANNOTATED,
    UNPRICED,
    HumanInstruction,
    Product,
    SyntheticInstruction,
    price_tag,
)

Text: TypeAlias = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
Lines: TypeAlias = Annotated[
    list[Text],
    BeforeValidator(lambda value: [] if value is None else [value] if isinstance(value, str) else value),
]
Words: TypeAlias = Annotated[list[str], BeforeValidator(lambda value: [] if value is None else value)]


class _Record(BaseModel):
    # The published records have two dozen keys that the shop drops.
    model_config = ConfigDict(extra="ignore", frozen=True)


class _RawValue(_Record):
    value: str
    image: str | None = None


class _RawProduct(_Record):
    asin: str
    name: str
    query: str
    category: Text
    product_category: Text
    full_description: Text = ""
    small_description: Lines = []
    pricing: Text = ""
    images: Lines = []
    customization_options: Annotated[dict[str, list[_RawValue] | None], BeforeValidator(lambda value: value or {})] = {}


class _RawAnnotation(_Record):
    attributes: list[str] | None = None
    instruction: str | None = None
    instruction_attributes: Words = []


class _RawInstruction(_Record):
    instruction: str
    instruction_attributes: Words = []
    instruction_options: Words = []


_Model = TypeVar("_Model", bound=_Record)


def parse_product(
    asin: str, record: Any, annotation: Any, instructions: Any, *, where: str, annotated: str, instructed: str
) -> Product:
    """Make a product of its raw records.

    Args:
        asin: the product's number as the catalogue spells it.
        record: record of the product file.
        annotation: record of the attribute file; `{}` where it has none.
        instructions: records of the human instruction file; `[]` where it has none.
        where: begins errors about the record, and names file, number and asin.
        annotated: the same for the annotation.
        instructed: the same for the instructions.

    Raises:
        RecordError: a record says something else than it should; names its fields.
    """
    raw = _validated(_RawProduct, record, where)
    notes = _validated(_RawAnnotation, annotation, annotated)
    if not isinstance(instructions, list):
        fail(instructed, None, instructions, "a list of instructions")
    requests = [
        _validated(_RawInstruction, entry, f"{instructed}, instruction {number}")
        for number, entry in enumerate(instructions)
    ]
    pricing = _pricing(raw.pricing, where)
    options, option_images = _options(raw.customization_options)
    return Product(
        asin=asin,
        title=raw.name,
        description=raw.full_description,
        bullets=tuple(raw.small_description),
        pricing=pricing,
        price_tag=price_tag(pricing),
        category=raw.category,
        query=raw.query.lower().strip(),
        product_category=raw.product_category,
        options=options,
        option_images=option_images,
        image=raw.images[0] if raw.images else "",
        attributes=UNANNOTATED if notes.attributes is None else tuple(notes.attributes),
        human=tuple(
            HumanInstruction(entry.instruction, tuple(entry.instruction_attributes), tuple(entry.instruction_options))
            for entry in requests
        ),
        synthetic=None
        if notes.instruction is None
        else SyntheticInstruction(notes.instruction, tuple(notes.instruction_attributes)),
    )


def _pricing(text: str, where: str) -> tuple[float, ...]:
    if not text:
        return UNPRICED
    try:
        prices = tuple(float(re.sub(r"[^\d.]", "", piece)) for piece in text.split("$")[1:][:2])
    except ValueError:
        prices = ()
    if not prices or not all(math.isfinite(price) for price in prices):
        fail(where, "pricing", text, "a price such as '$12.99', a range such as '$5.00 - $9.50', or ''")
    return prices


def _options(
    groups: Mapping[str, list[_RawValue] | None],
) -> tuple[dict[str, tuple[str, ...]], dict[str, str | None]]:
    options: dict[str, tuple[str, ...]] = {}
    images: dict[str, str | None] = {}
    for name, entries in groups.items():
        if entries is None:
            continue
        named = [(entry.value.strip().replace("/", " | ").lower(), entry.image) for entry in entries]
        options[name.lower()] = tuple(value for value, _ in named)
        images.update(named)
    # A group whose lower-cased name comes twice is overwritten; images of its lost values go with it.
    surviving = {value for values in options.values() for value in values}
    return options, {value: image for value, image in images.items() if value in surviving}


def _validated(model: type[_Model], value: Any, where: str) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise RecordError(tuple(_faults(error, where))) from None


def _faults(error: ValidationError, where: str) -> Iterator[Fault]:
    for found in error.errors(include_url=False):
        field = ".".join(str(part) for part in found["loc"]) or None
        missing = found["type"] == "missing"
        expected = "this key" if missing else found["msg"].removeprefix("Input should be ")
        yield fault(where, field, found["input"], expected, missing=missing)
