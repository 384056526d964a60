"""Writes products as the published WebShop data files, in one pass over them.

It knows which products the format cannot express; the rules of reading are those of the official records.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, TypeAlias

from sightline.webshop_env.catalogue.official.faults import fail
from sightline.webshop_env.catalogue.official.json_stream import check_encodable, shown
from sightline.webshop_env.catalogue.official.records import parse_product
from sightline.webshop_env.files import atomic_files
from sightline.webshop_env.product import UNANNOTATED, UNPRICED, Product

StrPath: TypeAlias = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class OfficialFiles:
    """Where the three files of one catalogue are."""

    products: Path
    attributes: Path
    human: Path

    @classmethod
    def of(cls, folder: StrPath) -> OfficialFiles:
        """Where `write_products` puts them in a folder."""
        folder = Path(folder)
        return cls(folder / "items_shuffle.json", folder / "items_ins_v2.json", folder / "items_human_ins.json")


def write_products(products: Iterable[Product], folder: StrPath) -> OfficialFiles:
    """Write products as official files; each file appears whole or not at all.

    Args:
        products: products to write, in file order; gone through once, and never held together.
        folder: folder, made where it does not exist; files of the same names are replaced.

    Returns:
        The paths, which `read_products` reads back to equal products.

    Raises:
        CatalogueError: a product holds what the format cannot express, so it would be read back differently.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    files = OfficialFiles.of(folder)
    with atomic_files(files.products, files.attributes, files.human) as (listed, annotated, instructed):
        writers = _Container(listed, "[]"), _Container(annotated, "{}"), _Container(instructed, "{}")
        for product in products:
            for writer, element in zip(writers, _elements(product), strict=True):
                if element:
                    writer.add(element)
        for writer in writers:
            writer.close()
    return files


class _Container:
    """A JSON list or object, an element a line."""

    def __init__(self, file: BinaryIO, brackets: str) -> None:
        self._file = file
        self._separator, self._end = "\n", f"\n{brackets[1]}\n"
        file.write(brackets[0].encode())

    def add(self, element: str) -> None:
        self._file.write((self._separator + element).encode())
        self._separator = ",\n"

    def close(self) -> None:
        self._file.write(self._end.encode())


def _elements(product: Product) -> tuple[str, str, str]:
    """Return what a product adds to each file, or "", when it is certain that it is read back as it is."""
    where = f"product {shown(product.asin)}"
    record, annotation, requests = _product_record(product), _annotation_record(product), _human_records(product)
    name = f"{_dump(product.asin)}: "
    elements = _dump(record), name + _dump(annotation), name + _dump(requests) if requests else ""
    check_encodable("".join(elements), where)
    read = parse_product(
        product.asin.upper(), record, annotation, requests, where=where, annotated=where, instructed=where
    )
    for field in fields(Product):
        met, back = getattr(product, field.name), getattr(read, field.name)
        if met != back:
            expected = f"a value that the official format keeps; this is read back as {shown(back)}"
            fail(where, field.name, met, expected)
    return elements


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


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
