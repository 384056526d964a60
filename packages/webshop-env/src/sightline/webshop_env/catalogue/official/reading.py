"""Reads the published WebShop data files: joins them by asin, in one pass and bounded memory.

It knows which records count and in which order; what a record says is the business of the official records.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sightline.webshop_env.catalogue.official.faults import RecordError, SkippedRecords, fail
from sightline.webshop_env.catalogue.official.json_stream import Element, JsonStream, shown
from sightline.webshop_env.catalogue.official.records import parse_product
from sightline.webshop_env.catalogue.official.writing import OfficialFiles, StrPath, write_products
from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.product import Product

__all__ = ["OfficialFiles", "Progress", "StrPath", "iter_products", "read_products", "write_products"]

logger = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes read and the bytes in all."""

_ASIN_LENGTH = 10

_PRODUCTS = "a product file (items_shuffle*.json: a list of objects with `asin` and `name`)"
_ATTRIBUTES = "an attribute file (items_ins_v2*.json: an object of asin -> object with `attributes`)"
_HUMAN = "a human instruction file (items_human_ins.json: an object of asin -> list of instructions)"


def read_products(
    products: StrPath,
    attributes: StrPath | None = None,
    human: StrPath | None = None,
    num_products: int | None = None,
) -> list[Product]:
    """Read the official files by the original's rules, all at once; see `iter_products`."""
    return list(iter_products(products, attributes, human, num_products))


def iter_products(
    products: StrPath,
    attributes: StrPath | None = None,
    human: StrPath | None = None,
    num_products: int | None = None,
    progress: Progress | None = None,
    skipped: SkippedRecords | None = None,
) -> Iterator[Product]:
    """Read the official files by the original's rules, one product at a time.

    Attributes and instructions stay in their files, of which only the places are held: about 32 bytes per asin and
    file. Asins that were met are held, too: about 120 bytes each. The product file is read up to the last record
    wanted, so errors behind it go unseen.

    Args:
        products: the product file, `items_shuffle*.json`.
        attributes: annotated attributes and generated instructions, `items_ins_v2*.json`.
        human: instructions written by people, `items_human_ins.json`.
        num_products: keep this many records from the head of the product file, before any is skipped.
        progress: function called about once per megabyte with the bytes read and those in all, over the three files.
        skipped: takes the records that are wrong, which are left out then; without it the first one is an error.

    Returns:
        Products in file order: without those whose asin is `nan` or too long, and each asin once (the first).

    Raises:
        CatalogueError: a file is missing or says something else than it should; names file, record and field. All but
            a wrong `num_products` are raised by the iterator. Too many skipped records are raised at its end.
    """
    if num_products is not None and num_products < 1:
        raise CatalogueError(f"num_products must be at least 1, not {num_products!r}")
    return _iterate(Path(products), attributes, human, num_products, progress, skipped)


def _iterate(
    path: Path,
    attributes: StrPath | None,
    human: StrPath | None,
    num_products: int | None,
    progress: Progress | None,
    skipped: SkippedRecords | None,
) -> Iterator[Product]:
    reports = _reports(progress, [attributes, human, path])
    seen: set[str] = set()
    with ExitStack() as stack:
        annotations = _AsinTable(stack, attributes, _ATTRIBUTES, reports[0])
        instructions = _AsinTable(stack, human, _HUMAN, reports[1])
        stream = stack.enter_context(JsonStream(path, _PRODUCTS, reports[2]))
        for index, element in enumerate(islice(_elements(stream, path, _PRODUCTS), num_products)):
            try:
                asin = _asin(path, index, element.value)
                if asin == "nan" or len(asin) > _ASIN_LENGTH or asin.upper() in seen:
                    continue
                asin = asin.upper()
                seen.add(asin)
                name = shown(asin)
                product = parse_product(
                    asin,
                    element.value,
                    annotations.get(asin, {}),
                    instructions.get(asin, []),
                    where=f"{path}: record {index} (asin {name})",
                    annotated=f"{attributes}: asin {name}",
                    instructed=f"{human}: asin {name}",
                )
            except RecordError as error:
                if skipped is None:
                    raise
                skipped.add(error)
            else:
                yield product
    if skipped is not None:
        skipped.check()
    if not seen:
        raise CatalogueError(f"{path}: holds no product with a valid asin; expected {_PRODUCTS}")
    for source, table in ((attributes, annotations), (human, instructions)):
        if len(table) and not table.matched:
            logger.warning("%s names none of the products of %s; do they belong together?", source, path)


def _reports(progress: Progress | None, paths: Sequence[StrPath | None]) -> list[Callable[[int], None] | None]:
    """For each of the files, which are read in this order, what takes the bytes read of it."""
    if progress is None:
        return [None for _ in paths]
    sizes = [Path(path).stat().st_size if path is not None and Path(path).is_file() else 0 for path in paths]

    def report(before: int, read: int) -> None:
        progress(before + read, sum(sizes))

    return [partial(report, sum(sizes[:position])) for position in range(len(paths))]


class _AsinTable:
    """The values of an attribute or human instruction file by asin, in any case; the last value of an asin counts.

    The values stay in the file: only hashes of asins, sorted, and where each element is are held.
    """

    def __init__(
        self, stack: ExitStack, source: StrPath | None, expected: str, report: Callable[[int], None] | None
    ) -> None:
        hashes, places = array("q"), array("Q")
        if source is not None:
            path = Path(source)
            self._stream = stack.enter_context(JsonStream(path, expected, report))
            for element in _elements(self._stream, path, expected):
                hashes.append(hash(element.key.upper()))
                places.extend((element.start, element.stop))
        unsorted = np.array(hashes, np.int64)
        self._order = np.argsort(unsorted, kind="stable")
        self._hashes = unsorted[self._order]
        self._places = np.array(places, np.uint64).reshape(-1, 2)
        self.matched = False

    def __len__(self) -> int:
        return len(self._hashes)

    def get(self, asin: str, default: Any) -> Any:
        wanted = hash(asin)
        position = int(np.searchsorted(self._hashes, wanted, side="right")) - 1
        while position >= 0 and self._hashes[position] == wanted:
            start, stop = self._places[self._order[position]].tolist()
            key, value = self._stream.reread(start, stop)
            if key.upper() == asin:
                self.matched = True
                return value
            position -= 1
        return default


def _elements(stream: JsonStream, path: Path, expected: str) -> Iterator[Element]:
    """Return the elements of a file, when its first one shows that it is the file expected."""
    elements = iter(stream)
    first = next(elements, None)
    found = None if first is None else _recognised(first.value, in_list=stream.is_list)
    if found not in (None, expected):
        raise CatalogueError(f"{path}: expected {expected}, but this is {found}; are two files swapped?")
    if stream.is_list != (expected == _PRODUCTS):
        kind = "a list" if stream.is_list else "an object"
        raise CatalogueError(f"{path}: is {kind} that begins with {stream.head}; expected {expected}")
    if first is not None:
        yield first
        yield from elements
    elif stream.is_list:
        raise CatalogueError(f"{path}: the list is empty; expected {expected}")


def _recognised(first: Any, *, in_list: bool) -> str | None:
    """Which of the official files looks like this, judged by its first element; None where none does."""
    if in_list:
        return _PRODUCTS if isinstance(first, dict) and "name" in first else None
    if isinstance(first, list):
        return _HUMAN
    return _ATTRIBUTES if isinstance(first, dict) and first.keys() & {"attributes", "instruction"} else None


def _asin(path: Path, index: int, record: Any) -> str:
    where = f"{path}: record {index}"
    if not isinstance(record, dict):
        fail(where, None, record, f"an object, as in {_PRODUCTS}")
    if "asin" not in record:
        fail(where, "asin", record, "this key in every product", missing=True)
    asin = record["asin"]
    if not isinstance(asin, str) or not asin:
        fail(where, "asin", asin, "a string of 1 to 10 characters")
    return asin
