"""Reads, checks and writes the published WebShop data files.

Every loading rule of the original shop is applied here, so nothing beyond this module sees a raw record. It knows
nothing of goals, prices in force or pages.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.files import write_atomically
from sightline.webshop_env.product import (
    UNANNOTATED,
    UNPRICED,
    HumanInstruction,
    Product,
    SyntheticInstruction,
    price_tag,
)

logger = logging.getLogger(__name__)

StrPath: TypeAlias = str | os.PathLike[str]

_ASIN_LENGTH = 10
_SHOWN = 80
"""Characters of a wrong value that an error repeats."""

_PRODUCTS = "a product file (items_shuffle*.json: a list of objects with `asin` and `name`)"
_ATTRIBUTES = "an attribute file (items_ins_v2*.json: an object of asin -> object with `attributes`)"
_HUMAN = "a human instruction file (items_human_ins.json: an object of asin -> list of instructions)"


@dataclass(frozen=True, slots=True)
class OfficialFiles:
    """Where the three files of one catalogue are."""

    products: Path
    attributes: Path
    human: Path


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


def read_products(
    products: StrPath,
    attributes: StrPath | None = None,
    human: StrPath | None = None,
    num_products: int | None = None,
) -> list[Product]:
    """Reads the official files by the original's rules.

    Args:
        products: the product file, ``items_shuffle*.json``.
        attributes: annotated attributes and generated instructions, ``items_ins_v2*.json``.
        human: instructions written by people, ``items_human_ins.json``.
        num_products: keep this many records from the head of the product file, before any is skipped.

    Returns:
        Products in file order: without those whose asin is ``nan`` or too long, and each asin once (the first).

    Raises:
        CatalogueError: a file is missing or says something else than it should; names file, record and field.
    """
    if num_products is not None and num_products < 1:
        raise CatalogueError(f"num_products must be at least 1, not {num_products!r}")
    path = Path(products)
    records = _read_json(path, _PRODUCTS, list)
    annotations = {} if attributes is None else _read_by_asin(Path(attributes), _ATTRIBUTES)
    instructions = {} if human is None else _read_by_asin(Path(human), _HUMAN)
    kept: dict[str, Product] = {}
    for index, record in enumerate(records[:num_products]):
        asin = _asin(path, index, record)
        if asin == "nan" or len(asin) > _ASIN_LENGTH or asin.upper() in kept:
            continue
        asin = asin.upper()
        where = f"{path}: record {index} (asin {_bounded(asin)})"
        raw = _validated(_RawProduct, record, where)
        annotation = _validated(_RawAnnotation, annotations.get(asin, {}), f"{attributes}: asin {_bounded(asin)}")
        requests = _raw_instructions(instructions.get(asin, []), f"{human}: asin {_bounded(asin)}")
        kept[asin] = _product(asin, raw, annotation, requests, where)
    if not kept:
        raise CatalogueError(f"{path}: holds no product with a valid asin; expected {_PRODUCTS}")
    for source, by_asin in ((attributes, annotations), (human, instructions)):
        if by_asin and kept.keys().isdisjoint(by_asin):
            logger.warning("%s names none of the products of %s; do they belong together?", source, path)
    return list(kept.values())


def write_products(products: Sequence[Product], folder: StrPath) -> OfficialFiles:
    """Writes products as official files; each file appears whole or not at all.

    Args:
        products: what to write, in file order.
        folder: made where it does not exist; files of the same names are replaced.

    Returns:
        The paths, which :func:`read_products` reads back to equal products.

    Raises:
        CatalogueError: a product holds what the format cannot express, so it would be read back differently.
    """
    folder = Path(folder)
    for product in products:
        _check_expressible(product)
    folder.mkdir(parents=True, exist_ok=True)
    files = OfficialFiles(folder / "items_shuffle.json", folder / "items_ins_v2.json", folder / "items_human_ins.json")
    annotations = (f"{_dump(product.asin)}: {_dump(_annotation_record(product))}" for product in products)
    instructions = (f"{_dump(product.asin)}: {_dump(_human_records(product))}" for product in products if product.human)
    write_atomically(files.products, _brackets("[]", (_dump(_product_record(product)) for product in products)))
    write_atomically(files.attributes, _brackets("{}", annotations))
    write_atomically(files.human, _brackets("{}", instructions))
    return files


def _product(
    asin: str, raw: _RawProduct, annotation: _RawAnnotation, instructions: list[_RawInstruction], where: str
) -> Product:
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
        attributes=UNANNOTATED if annotation.attributes is None else tuple(annotation.attributes),
        human=tuple(
            HumanInstruction(entry.instruction, tuple(entry.instruction_attributes), tuple(entry.instruction_options))
            for entry in instructions
        ),
        synthetic=None
        if annotation.instruction is None
        else SyntheticInstruction(annotation.instruction, tuple(annotation.instruction_attributes)),
    )


def _pricing(text: str, where: str) -> tuple[float, ...]:
    if not text:
        return UNPRICED
    try:
        prices = tuple(float(re.sub(r"[^\d.]", "", piece)) for piece in text.split("$")[1:][:2])
    except ValueError:
        prices = ()
    if not prices or not all(math.isfinite(price) for price in prices):
        _fail(where, "pricing", text, "a price such as '$12.99', a range such as '$5.00 - $9.50', or ''")
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


def _asin(path: Path, index: int, record: Any) -> str:
    where = f"{path}: record {index}"
    if not isinstance(record, dict):
        _fail(where, None, record, f"an object, as in {_PRODUCTS}")
    if "asin" not in record:
        _fail(where, "asin", record, "this key in every product", missing=True)
    asin = record["asin"]
    if not isinstance(asin, str) or not asin:
        _fail(where, "asin", asin, "a string of 1 to 10 characters")
    return asin


def _raw_instructions(value: Any, where: str) -> list[_RawInstruction]:
    if not isinstance(value, list):
        _fail(where, None, value, "a list of instructions")
    return [_validated(_RawInstruction, entry, f"{where}, instruction {i}") for i, entry in enumerate(value)]


def _validated(model: type[_Model], value: Any, where: str) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        missing = first["type"] == "missing"
        expected = "this key" if missing else first["msg"].removeprefix("Input should be ")
        _fail(where, field, first["input"], expected, missing=missing)


def _fail(where: str, field: str | None, met: object, expected: str, *, missing: bool = False) -> NoReturn:
    place = where if field is None else f"{where}, field {field!r}"
    found = f"is missing from {_bounded(met)}" if missing else f"is {_bounded(met)}"
    raise CatalogueError(f"{place}: {found}; expected {expected}") from None


def _bounded(value: object) -> str:
    shown = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."


def _read_by_asin(path: Path, expected: str) -> dict[str, Any]:
    return {asin.upper(): value for asin, value in _read_json(path, expected, dict).items()}


_Container = TypeVar("_Container", list, dict)


def _read_json(path: Path, expected: str, container: type[_Container]) -> _Container:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise CatalogueError(f"{path}: no such file; expected {expected}") from None
    except OSError as error:
        raise CatalogueError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from error
    except UnicodeDecodeError as error:
        raise CatalogueError(
            f"{path}: is not UTF-8 at byte {error.start} ({error.object[error.start : error.start + 8]!r}); "
            f"expected {expected}"
        ) from None
    if not text.strip():
        raise CatalogueError(f"{path}: the file is empty; expected {expected}")
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        # A failed download often leaves a web page or a pointer file under the right name: show how it begins.
        raise CatalogueError(
            f"{path}: is not JSON ({error}); it begins with {_bounded(text[:_SHOWN])}; expected {expected}"
        ) from None
    if re.search(r"\\u[dD][89a-fA-F]", text):
        _check_encodable(_dump(data), str(path))
    found = _recognised(data)
    if found not in (None, expected):
        raise CatalogueError(f"{path}: expected {expected}, but this is {found}; are two files swapped?")
    if not isinstance(data, container):
        _fail(str(path), None, data, expected)
    if data == []:
        raise CatalogueError(f"{path}: the list is empty; expected {expected}")
    return data


def _check_encodable(text: str, where: str) -> None:
    """Refuses half of a surrogate pair, which JSON can escape but neither a file nor a page can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - 20) : error.end + 20]
        raise CatalogueError(f"{where}: holds half of a surrogate pair, in {around!r}; remove it") from None


def _recognised(data: Any) -> str | None:
    """Which of the official files this looks like, judged by its first record; None where it looks like none."""
    if isinstance(data, list):
        return _PRODUCTS if data and isinstance(data[0], dict) and "name" in data[0] else None
    first = next(iter(data.values()), None) if isinstance(data, dict) else None
    if isinstance(first, list):
        return _HUMAN
    return _ATTRIBUTES if isinstance(first, dict) and first.keys() & {"attributes", "instruction"} else None


def _product_record(product: Product) -> dict[str, object]:
    images = product.option_images
    return {
        "asin": product.asin,
        "name": product.title,
        "full_description": product.description,
        "small_description": list(product.bullets),
        "pricing": "" if product.pricing == UNPRICED else " - ".join(map(_price_text, product.pricing)),
        "images": [product.image] if product.image else [],
        "product_category": product.product_category,
        "category": product.category,
        "query": product.query,
        "customization_options": {
            name: [{"value": _raw_value(value), "image": images.get(value)} for value in values]
            for name, values in product.options.items()
        },
    }


def _price_text(price: float) -> str:
    # Positional notation, because readers keep only digits and dots.
    return f"${Decimal(repr(price)):f}"


def _raw_value(value: str) -> str:
    # Readers strip a value before they turn "/" into " | ", so only a slash can give it outer spaces.
    if value.startswith(" | "):
        value = f"/{value[3:]}"
    return f"{value[:-3]}/" if value.endswith(" | ") else value


def _annotation_record(product: Product) -> dict[str, object]:
    record: dict[str, object] = {}
    if product.attributes != UNANNOTATED:
        record["attributes"] = list(product.attributes)
    if product.synthetic is not None:
        record["instruction"] = product.synthetic.text
        record["instruction_attributes"] = list(product.synthetic.attributes)
    return record


def _human_records(product: Product) -> list[dict[str, object]]:
    return [
        {
            "asin": product.asin,
            "instruction": entry.text,
            "instruction_attributes": list(entry.attributes),
            "instruction_options": list(entry.options),
        }
        for entry in product.human
    ]


def _check_expressible(product: Product) -> None:
    where = f"product {_bounded(product.asin)}"
    records = _product_record(product), _annotation_record(product), _human_records(product)
    _check_encodable(_dump(records), where)
    raw = _validated(_RawProduct, records[0], where)
    annotation = _validated(_RawAnnotation, records[1], where)
    instructions = _raw_instructions(records[2], where)
    read = _product(raw.asin.upper(), raw, annotation, instructions, where)
    for field in fields(Product):
        met, back = getattr(product, field.name), getattr(read, field.name)
        if met != back:
            _fail(
                where, field.name, met, f"a value that the official format keeps; this is read back as {_bounded(back)}"
            )


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _brackets(pair: str, items: Iterable[str]) -> Iterator[str]:
    yield pair[0]
    separator = "\n"
    for item in items:
        yield separator + item
        separator = ",\n"
    yield f"\n{pair[1]}\n"
