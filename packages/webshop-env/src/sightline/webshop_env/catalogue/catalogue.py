"""The catalogue: every product of the shop, found by position or by asin, in memory or in a folder on disk.

Consumers use only the methods of `Catalogue`, never how it stores its products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from sightline.webshop_env.catalogue.products import MemoryProducts, ProductStore
from sightline.webshop_env.product import Headline, Product

if TYPE_CHECKING:
    from sightline.webshop_env.catalogue.official.reading import OfficialFiles, StrPath
    from sightline.webshop_env.catalogue.tables import TableMapping
    from sightline.webshop_env.search.index import SearchIndex

ListedField: TypeAlias = Literal["attributes", "category", "query"]
"""A field by whose values products can be listed."""


class Catalogue:
    """An immutable sequence of products with distinct asins.

    Build one with `from_official`, `from_table`, `generate` or `from_products`, or `open` what
    `write_catalogue` wrote. Two catalogues are equal when their fingerprints are.

    An opened catalogue keeps nothing in memory that grows with the number of products. It can be used from any number
    of threads and after a fork, and is pickled as the path of its folder.
    """

    __slots__ = ("_index", "_store")

    def __init__(self, products: Iterable[Product]) -> None:
        self._store: ProductStore = MemoryProducts(products)
        self._index: SearchIndex | None = None

    @classmethod
    def open(cls, folder: StrPath) -> Catalogue:
        """Open a stored catalogue, in milliseconds whatever its size.

        Sizes of all files and the content of small ones are checked; a damaged record is found when it is read, and
        `verify_catalogue` checks everything.

        Raises:
            CatalogueError: there is none, or one of another version, half written, cut short or damaged; says which
                file and what to do.
        """
        from sightline.webshop_env.catalogue.stored.reading import Store

        return cls._of(Store(Path(folder).resolve()))

    @classmethod
    def _of(cls, store: ProductStore) -> Catalogue:
        catalogue = cls.__new__(cls)
        catalogue._store = store
        catalogue._index = None
        return catalogue

    @classmethod
    def from_official(
        cls,
        products: StrPath,
        attributes: StrPath | None = None,
        human: StrPath | None = None,
        num_products: int | None = None,
    ) -> Catalogue:
        """Read the published data files.

        Args:
            products: `items_shuffle*.json`.
            attributes: `items_ins_v2*.json`; without it products have no annotation and no synthetic goals.
            human: `items_human_ins.json`; without it there are no human goals.
            num_products: keep this many records from the head of the product file.

        Raises:
            CatalogueError: a file is missing or malformed; names file, record and field.
        """
        from sightline.webshop_env.catalogue.official.reading import read_products

        return cls(read_products(products, attributes, human, num_products))

    @classmethod
    def from_table(cls, source: StrPath | Iterable[Mapping[str, Any]], mapping: TableMapping | StrPath) -> Catalogue:
        """Read a CSV or Parquet file, or a Hugging Face data set, by a mapping of its columns.

        Args:
            source: file, folder of a saved data set, or rows, such as an open data set.
            mapping: which columns say what, or the TOML file that tells; see `catalogue.tables.TableMapping`.

        Raises:
            CatalogueError: the table or the mapping is wrong; names row and field.
        """
        from sightline.webshop_env.catalogue.tables import read_table

        return cls(read_table(source, mapping))

    @classmethod
    def generate(cls, products: int = 1000, seed: int = 0, *, long_texts: bool = False) -> Catalogue:
        """Make up a catalogue of believable products and requests; the same arguments give the same catalogue.

        Args:
            products: number of products.
            seed: picks one of the possible catalogues.
            long_texts: give the products long descriptions, features, twenty reviews and up to 200 option values, with
                requests for what only these say; the same products otherwise. Meant for a `Shop` with `long_pages`.

        Raises:
            CatalogueError: `products` is less than 1.
        """
        from sightline.webshop_env.catalogue.generating import generate_products
        from sightline.webshop_env.catalogue.long_texts import lengthen

        made = generate_products(products, seed)
        return cls((lengthen(product, seed) for product in made) if long_texts else made)

    @classmethod
    def from_products(cls, products: Sequence[Product]) -> Catalogue:
        """Make a catalogue of given products, in their order.

        Raises:
            CatalogueError: there are none, or asins are malformed or not distinct.
        """
        return cls(products)

    def __len__(self) -> int:
        return len(self._store.products)

    def __iter__(self) -> Iterator[Product]:
        return iter(self._store.products)

    def __getitem__(self, key: int | str) -> Product:
        if not isinstance(key, str):
            return self._store.products[key]
        try:
            return self._store.product(key)
        except KeyError:
            raise KeyError(f"no product {key[:80]!r} among the {len(self)} of this catalogue") from None

    def headlines(self, asins: Iterable[str]) -> Sequence[Headline | Product]:
        """Return what a results page says of products: these themselves, or as much as need be read from a store.

        Raises:
            KeyError: there is no such product.
            CatalogueError: the files of a stored catalogue are damaged where it should be.
        """
        return self._store.headlines(list(asins))

    def __contains__(self, asin: object) -> bool:
        return asin in self._store.positions

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, Catalogue) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"<Catalogue of {len(self)} products>"

    def __reduce__(self) -> tuple[Callable[..., Catalogue], tuple[ProductStore]]:
        return Catalogue._of, (self._store,)

    @property
    def folder(self) -> Path | None:
        """Where a stored catalogue is; None for one in memory."""
        return self._store.folder

    @property
    def asins(self) -> Sequence[str]:
        """Every asin, in catalogue order."""
        return self._store.asins

    def position(self, asin: str) -> int:
        """Where a product stands in catalogue order.

        Raises:
            KeyError: there is none of this asin.
        """
        return self._store.positions[asin]

    def listing(self, field: ListedField, value: str) -> Sequence[str]:
        """Return the asins, in catalogue order, of the products whose field is, or has, a value.

        Args:
            field: "attributes", "category" or "query".
            value: the whole value, as it is written.

        Raises:
            ValueError: products are not listed by this field.
        """
        if field not in get_args(ListedField):
            raise ValueError(f"products are listed by {', '.join(map(repr, get_args(ListedField)))}, not {field!r}")
        return self._store.listing(f"{field}:{value}")

    def search_index(self) -> SearchIndex:
        """Return the index of all products by their search texts; built or opened at the first call, then kept."""
        if self._index is None:
            self._index = self._store.search_index()
        return self._index

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the content and order of all products.

        In memory it is computed at the first look, some 20 us a product; a `Shop` looks when it is made.
        """
        return self._store.fingerprint

    def write_official(self, folder: StrPath) -> OfficialFiles:
        """Write the three official files, each whole or not at all.

        Args:
            folder: folder, made where it does not exist; files of the same names are replaced.

        Returns:
            Their paths; `from_official` reads them back to an equal catalogue.

        Raises:
            CatalogueError: a product holds what the format cannot express.
        """
        from sightline.webshop_env.catalogue.official.reading import write_products

        return write_products(self._store.products, folder)


def write_catalogue(
    products: Iterable[Product],
    folder: StrPath,
    *,
    replace: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Catalogue:
    """Write products and their search index into a folder, whole or not at all.

    Memory holds some 150 bytes for each product and what the search index needs, never the products. A run that fails
    or is killed leaves nothing under the name of the folder; run it again, and what it left behind is deleted.

    Args:
        products: products in catalogue order; taken one by one.
        folder: folder to be made, parents included.
        replace: take the place of a stored catalogue that is there. Processes that have it open keep what they have.
            See `whole_folder` for what a killed replacement leaves.
        progress: function called now and then, and at the end, with the number of products written so far.

    Returns:
        The catalogue, opened.

    Raises:
        CatalogueError: the folder exists; there are no products; an asin is malformed or not distinct, or a product
            holds what cannot be stored; another process is writing the same folder.
        OSError: it cannot be written there.
    """
    from sightline.webshop_env.catalogue.stored.writing import write_store

    return Catalogue.open(write_store(products, folder, replace=replace, progress=progress))
