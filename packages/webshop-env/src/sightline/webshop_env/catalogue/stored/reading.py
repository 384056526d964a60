"""Reads a catalogue folder through the memory map; `store` writes it.

Nothing proportional to the catalogue is read at opening or kept afterwards, so any number of processes share the pages
of one folder. The maps are read-only and nothing is changed after opening: safe in threads and after a fork. Products
are numbered by position in the catalogue and ranked by asin.

==================== =========================================================================================
`records.bin`      for each product, CRC-32 of the rest (little endian, begun from the position) and MessagePack
`offsets.npy`      [N + 1] uint64, where each record begins and the last ends
`asins.npy`        [N] byte strings, UTF-8, ascending
`positions.npy`    [N] int32, rank -> position
`ranks.npy`        [N] int32, position -> rank
`values.bin`       the listed values, as UTF-8 `field:value`, ascending, without separators
`value_offsets.npy` [V + 1] uint64, where each begins and the last ends
`list_starts.npy`  [V + 1] int64, where the list of each value begins and the last ends
`lists.npy`        int32, ranks of the products that have a value, in catalogue order
`search/`          the search index
==================== =========================================================================================
"""

from __future__ import annotations

import mmap
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar, overload

import msgspec
import numpy as np
import numpy.typing as npt
from pydantic import Field

from sightline.webshop_env.catalogue.stored.sealed_folder import MANIFEST, Digest, Manifest, map_array, read_manifest
from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.product import Headline, Product

if TYPE_CHECKING:
    from sightline.webshop_env.search.index import SearchIndex

RECORDS: Final = "records.bin"
VALUES: Final = "values.bin"
SEARCH: Final = "search"
CRC_BYTES: Final = 4

_Found = TypeVar("_Found", Product, Headline)


class StoreManifest(Manifest):
    """The manifest of a catalogue folder."""

    format = "sightline-webshop-catalogue"
    schema_version = 1

    products: Annotated[int, Field(ge=1, lt=1 << 31)]
    """Number of products."""
    fingerprint: Digest
    """That of the catalogue in memory."""


class StoredProducts(Sequence[Product]):
    """The products of a catalogue folder, each decoded when asked for.

    Args:
        folder: the catalogue's.
        count: how many products it has.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._path = folder / RECORDS
        self._records = _map_bytes(self._path)
        # A view of the map that gives Python's own integers, in a third of the time.
        self._offsets = map_array(folder / "offsets.npy", np.uint64, (count + 1,)).data
        self._decode = msgspec.msgpack.Decoder(Product).decode
        self._decode_headline = msgspec.msgpack.Decoder(Headline).decode

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Product: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Product, ...]: ...
    def __getitem__(self, index: int | slice) -> Product | tuple[Product, ...]:
        if isinstance(index, slice):
            return tuple(self[position] for position in range(len(self))[index])
        return self._decode(self._content(range(len(self))[index]))

    def headline(self, position: int) -> Headline:
        """Return what a results page says of a product; decoding the rest would take twice as long."""
        return self._decode_headline(self._content(position))

    def _content(self, position: int) -> bytes:
        record = self._records[self._offsets[position] : self._offsets[position + 1]]
        content = record[CRC_BYTES:]
        if record[:CRC_BYTES] != checksum(content, position):
            raise CatalogueError(f"{self._path}: the record of product {position} is damaged; {_AGAIN}")
        return content


class StoredAsins(Sequence[str]):
    """Some asins of a catalogue folder in some order, decoded when asked for; slices are views.

    Args:
        names: [N] UTF-8 byte strings, ascending.
        ranks: [M] int32, indices into them.
    """

    def __init__(self, names: npt.NDArray[np.bytes_], ranks: npt.NDArray[np.int32]) -> None:
        self._names = names
        self._ranks = ranks

    def __len__(self) -> int:
        return len(self._ranks)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> StoredAsins: ...
    def __getitem__(self, index: int | slice) -> str | StoredAsins:
        if isinstance(index, slice):
            return StoredAsins(self._names, self._ranks[index])
        return self._names.item(self._ranks[index]).decode()

    def __contains__(self, asin: object) -> bool:
        rank = find_name(self._names, asin) if isinstance(asin, str) else None
        return rank is not None and bool((self._ranks == rank).any())

    def __repr__(self) -> str:
        return f"<{len(self)} asins>"


class StoredPositions(Mapping[str, int]):
    """asin -> position in the catalogue, by binary search.

    Args:
        names: [N] UTF-8 byte strings, ascending.
        positions: [N] int32, position by rank.
        asins: in catalogue order.
    """

    def __init__(self, names: npt.NDArray[np.bytes_], positions: npt.NDArray[np.int32], asins: Sequence[str]) -> None:
        self._names = names
        self._positions = positions
        self._asins = asins

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._asins)

    def __getitem__(self, asin: str) -> int:
        rank = find_name(self._names, asin) if isinstance(asin, str) else None
        if rank is None:
            raise KeyError(asin)
        return int(self._positions[rank])

    def of_all(self, asins: Sequence[str]) -> list[int]:
        """Return the positions of asins, by one binary search of NumPy's, which costs more to begin than to do.

        Raises:
            KeyError: there is no product of one of them.
        """
        names = [asin.encode("utf-8", "surrogatepass") for asin in asins]
        ranks = self._names.searchsorted(np.array(names, dtype=self._names.dtype))
        ranks = np.minimum(ranks, len(self._names) - 1)
        if self._names[ranks].tolist() != names:
            return [self[asin] for asin in asins]
        return self._positions[ranks].tolist()


class Store:
    """An opened catalogue folder.

    Attributes:
        folder: where it is.
        fingerprint: of the catalogue.
        products: in catalogue order.
        asins: in catalogue order.
        positions: asin -> index into the two.
    """

    def __init__(self, folder: Path) -> None:
        """Map the files of `folder`.

        Raises:
            CatalogueError: it is no catalogue, of another version, cut short or damaged; says which file and what to
                do.
        """
        manifest = read_store_manifest(folder)
        count = manifest.products
        self.folder = folder
        self.fingerprint = manifest.fingerprint
        self.products = StoredProducts(folder, count)
        self._names = map_array(folder / "asins.npy", np.bytes_, (count,))
        self.asins = StoredAsins(self._names, map_array(folder / "ranks.npy", np.int32, (count,)))
        self.positions = StoredPositions(
            self._names, map_array(folder / "positions.npy", np.int32, (count,)), self.asins
        )
        self._values = _map_bytes(folder / VALUES)
        self._value_offsets = map_array(folder / "value_offsets.npy", np.uint64)
        self._list_starts = map_array(folder / "list_starts.npy", np.int64, self._value_offsets.shape)
        self._lists = map_array(folder / "lists.npy", np.int32)

    def __reduce__(self) -> tuple[Callable[..., Store], tuple[Path, str]]:
        return _reopen, (self.folder, self.fingerprint)

    def search_index(self) -> SearchIndex:
        """Open the search index."""
        from sightline.webshop_env.search.index import SearchIndex

        return SearchIndex.open(self.folder / SEARCH)

    def product(self, asin: str) -> Product:
        """Find a product.

        Raises:
            KeyError: there is none of this asin.
            CatalogueError: the files are damaged where it should be.
        """
        return self._read(asin, self.positions[asin], self.products.__getitem__)

    def headlines(self, asins: Sequence[str]) -> list[Headline]:
        """Find what a results page says of products; raises what `product` does."""
        positions = self.positions.of_all(asins)
        return [self._read(asin, at, self.products.headline) for asin, at in zip(asins, positions, strict=True)]

    def _read(self, asin: str, position: int, read: Callable[[int], _Found]) -> _Found:
        try:
            found = read(position)
        except CatalogueError as error:
            raise CatalogueError(f"{error} (asin {asin!r})") from None
        except IndexError:
            found = None
        if found is None or found.asin != asin:
            raise CatalogueError(f"{self.folder / 'positions.npy'}: is damaged where it places {asin!r}; {_AGAIN}")
        return found

    def listing(self, key: str) -> Sequence[str]:
        """Return the asins, in catalogue order, of the products that have a value, given as `field:value`."""
        wanted = key.encode("utf-8", "surrogatepass")
        count = len(self._list_starts) - 1
        number = bisect_left(range(count), wanted, key=self._value)
        if number == count or self._value(number) != wanted:
            return ()
        return StoredAsins(self._names, self._lists[self._list_starts[number] : self._list_starts[number + 1]])

    def _value(self, number: int) -> bytes:
        return self._values[int(self._value_offsets[number]) : int(self._value_offsets[number + 1])]


def _reopen(folder: Path, fingerprint: str) -> Store:
    store = Store(folder)
    if store.fingerprint != fingerprint:
        raise CatalogueError(f"{folder} holds another catalogue than when this was pickled; it has been replaced since")
    return store


def read_store_manifest(folder: Path) -> StoreManifest:
    """Read the manifest of a catalogue folder and check that its files have their sizes.

    Raises:
        CatalogueError: the folder is no catalogue, or one that this version cannot read; says what to do.
    """
    if (folder / MANIFEST).is_file():
        return read_manifest(folder, StoreManifest)
    former = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and former.exists():
        raise CatalogueError(f"{folder} is missing: a replacement was interrupted; rename {former} to it")
    found = "is no folder" if not folder.is_dir() else f"has no {MANIFEST}"
    raise CatalogueError(
        f"{folder} is no stored catalogue, because it {found}; make one with `sightline-webshop import` or "
        "`write_catalogue`, again if that was interrupted"
    )


def checksum(content: bytes, position: int) -> bytes:
    """Return the CRC-32 that precedes a product's record; it tells a record from its neighbours."""
    return zlib.crc32(content, position).to_bytes(CRC_BYTES, "little")


def find_name(names: npt.NDArray[np.bytes_], asin: str) -> int | None:
    """Rank of an asin among sorted names [N], or None."""
    name = asin.encode("utf-8", "surrogatepass")
    if len(name) > names.dtype.itemsize:
        return None
    rank = int(names.searchsorted(np.array(name, dtype=names.dtype)))
    return rank if rank < len(names) and names.item(rank) == name else None


def _map_bytes(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path}: cannot be read: {error}") from None


_AGAIN: Final = "`sightline-webshop verify` checks all files; import the catalogue again"
