"""Write a catalogue folder in one pass over its products, and check one byte by byte; `reading` reads it.

Records are MessagePack, by msgspec, in one flat file with offsets. To find one of 20,000 by asin and decode it took
13 us in 40 MiB with a CRC-32 checked, against 11 us in 67 MiB without one in LMDB, which must not be used across a
fork; 20 us in 89 MiB in SQLite, and 27 us (binary column) or 139 us (field by field) in Arrow IPC. So no library repays
what it lacks: a checksum for each record, order by position, safety in forked workers (`benchmarks/storage.py`).
"""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from sightline.webshop_env.catalogue.stored.reading import (
    RECORDS,
    SEARCH,
    VALUES,
    StoredProducts,
    StoreManifest,
    checksum,
    read_store_manifest,
)
from sightline.webshop_env.catalogue.stored.sealed_folder import check_digests, seal, whole_folder
from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.product import Product, canonical, check_asin, listing_keys
from sightline.webshop_env.search.building import IndexBuilder

if TYPE_CHECKING:
    from sightline.webshop_env.catalogue.official.reading import StrPath

logger = logging.getLogger(__name__)

_REPORT_EVERY: Final = 1000


def write_store(
    products: Iterable[Product],
    folder: StrPath,
    *,
    replace: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write a stored catalogue; arguments and errors are those of `write_catalogue`.

    Returns:
        The folder, made absolute; `Catalogue.open` opens it.
    """
    target = Path(folder).resolve()
    if replace and target.exists():
        _check_replaceable(target)
    try:
        with whole_folder(target, replace=replace) as temporary:
            _write_files(products, temporary, progress)
    except FileExistsError:
        raise CatalogueError(
            f"{target} exists already; choose another folder, or replace it: replace=True, or --replace in a terminal"
        ) from None
    logger.info("wrote the catalogue %s", target)
    return target


def verify_store(folder: Path) -> None:
    """Compare every byte of a stored catalogue and its search index with what was written.

    Raises:
        CatalogueError: names the first file that is damaged, cut short or missing.
    """
    manifest = read_store_manifest(folder)
    check_digests(folder, manifest)
    digest = hashlib.sha256()
    for product in StoredProducts(folder, manifest.products):
        digest.update(canonical(product))
    if digest.hexdigest() != manifest.fingerprint:
        raise CatalogueError(f"{folder / RECORDS}: holds other products than the manifest's fingerprint says")


def _check_replaceable(target: Path) -> None:
    """Only what this module wrote may be deleted."""
    try:
        read_store_manifest(target)
    except CatalogueError as error:
        raise CatalogueError(f"{error}; it will not be replaced: delete it yourself if that is meant") from None


def _write_files(products: Iterable[Product], folder: Path, progress: Callable[[int], None] | None) -> None:
    names: list[bytes] = []
    offsets = array("Q", [0])
    lists = _Lists()
    digest = hashlib.sha256()
    index = IndexBuilder(folder / SEARCH)
    pack = _packer()
    with (folder / RECORDS).open("wb") as file:
        for position, product in enumerate(products):
            content = pack(position, product)
            file.write(checksum(content, position) + content)
            offsets.append(file.tell())
            names.append(product.asin.encode())
            digest.update(canonical(product))
            lists.add(product)
            index.add(product.asin, product.search_text)
            if progress is not None and len(names) % _REPORT_EVERY == 0:
                progress(len(names))
    if not names:
        raise CatalogueError("a catalogue needs at least one product")
    if progress is not None:
        progress(len(names))
    _save(folder, "offsets", np.array(offsets, dtype=np.uint64))
    ranks = _write_names(folder, names)
    lists.write(folder, ranks)
    index.finish()
    seal(folder, StoreManifest, {"products": len(names), "fingerprint": digest.hexdigest()})


def _packer() -> Callable[[int, Product], bytes]:
    encode = msgspec.msgpack.Encoder().encode
    decode = msgspec.msgpack.Decoder(Product).decode
    but_reviews = [field.name for field in fields(Product) if field.name != "reviews"]

    def pack(position: int, product: Product) -> bytes:
        check_asin(product.asin, position)
        if "\0" in product.asin:
            raise CatalogueError(f"product {position} has asin {product.asin!r}; a NUL cannot be stored")
        try:
            # Without reviews, as almost every product is, a record is what earlier versions wrote and read.
            content = encode(product if product.reviews else {name: getattr(product, name) for name in but_reviews})
            decode(content)  # else a field of a wrong type would be noticed only by whoever reads it
        except (UnicodeEncodeError, TypeError, OverflowError, msgspec.MsgspecError) as error:
            raise CatalogueError(f"product {position} (asin {product.asin!r}) cannot be stored: {error}") from None
        return content

    return pack


def _write_names(folder: Path, asins: list[bytes]) -> npt.NDArray[np.int32]:
    """Write the sorted asins and their order; returns the rank of each position."""
    names = np.array(asins, dtype=np.bytes_)
    positions = np.argsort(names, kind="stable").astype(np.int32)
    names = names[positions]
    repeated = np.flatnonzero(names[1:] == names[:-1])
    if len(repeated):
        first, second = positions[repeated[0]], positions[repeated[0] + 1]
        raise CatalogueError(
            f"products {first} and {second} both have asin {names[repeated[0]].decode()!r}; keep one of them"
        )
    ranks = np.empty_like(positions)
    ranks[positions] = np.arange(len(positions), dtype=np.int32)
    for name, column in (("asins", names), ("positions", positions), ("ranks", ranks)):
        _save(folder, name, column)
    return ranks


class _Lists:
    """Which products have which listed values; holds the distinct values and eight bytes for each time one occurs."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._values = array("i")
        self._positions = array("i")
        self._count = 0

    def add(self, product: Product) -> None:
        numbers = [self._numbers.setdefault(key, len(self._numbers)) for key in listing_keys(product)]
        self._values.extend(numbers)
        self._positions.extend([self._count] * len(numbers))
        self._count += 1

    def write(self, folder: Path, ranks: npt.NDArray[np.int32]) -> None:
        keys = sorted((key.encode(), number) for key, number in self._numbers.items())
        place = np.empty(len(keys), dtype=np.int32)
        place[[number for _, number in keys]] = np.arange(len(keys), dtype=np.int32)
        values = place[np.frombuffer(self._values, dtype=np.int32)]
        # Stable, so that each list stays in catalogue order.
        order = np.argsort(values, kind="stable")
        _save(folder, "lists", ranks[np.frombuffer(self._positions, dtype=np.int32)[order]])
        _save(folder, "list_starts", _starts(np.bincount(values, minlength=len(keys))).astype(np.int64))
        _save(folder, "value_offsets", _starts(np.array([len(key) for key, _ in keys])).astype(np.uint64))
        with (folder / VALUES).open("wb") as file:
            file.writelines(key for key, _ in keys)


def _starts(lengths: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate(([0], np.cumsum(lengths)))


def _save(folder: Path, name: str, column: npt.NDArray[Any]) -> None:
    np.save(folder / f"{name}.npy", column, allow_pickle=False)
