"""What a catalogue asks of whatever holds its products, and the products of a catalogue in memory.

The other holder maps files: `catalogue.stored.reading.Store`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.product import Headline, Product, canonical, check_asin, listing_keys

if TYPE_CHECKING:
    from sightline.webshop_env.search.index import SearchIndex


class ProductStore(Protocol):
    """Holds the products of a catalogue; never changes."""

    @property
    def folder(self) -> Path | None:
        """Where the products are stored; None in memory."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the content and order of all products."""
        ...

    @property
    def products(self) -> Sequence[Product]:
        """The products in catalogue order."""
        ...

    @property
    def asins(self) -> Sequence[str]:
        """Every asin in catalogue order."""
        ...

    @property
    def positions(self) -> Mapping[str, int]:
        """Asin -> index into the products."""
        ...

    def product(self, asin: str) -> Product:
        """Find a product; KeyError where there is none, CatalogueError where files are damaged."""
        ...

    def headlines(self, asins: Sequence[str]) -> Sequence[Headline | Product]:
        """Find what a results page says of products; raises what `product` does."""
        ...

    def listing(self, key: str) -> Sequence[str]:
        """Return the asins, in catalogue order, of the products that have a value, given as `field:value`."""
        ...

    def search_index(self) -> SearchIndex:
        """Build or open the index of all products by their search texts."""
        ...


class MemoryProducts:
    """Products in memory.

    Args:
        products: products in catalogue order.

    Raises:
        CatalogueError: there are none, or an asin is malformed or not distinct.
    """

    folder: Path | None = None

    def __init__(self, products: Iterable[Product]) -> None:
        self.products = tuple(products)
        self.positions = {product.asin: position for position, product in enumerate(self.products)}
        self._listings: dict[str, tuple[str, ...]] | None = None
        if not self.products:
            raise CatalogueError("a catalogue needs at least one product")
        for position, product in enumerate(self.products):
            check_asin(product.asin, position)
            if self.positions[product.asin] != position:
                raise CatalogueError(
                    f"products {position} and {self.positions[product.asin]} both have asin {product.asin!r}; "
                    "keep one of them"
                )

    def __reduce__(self) -> tuple[Callable[..., MemoryProducts], tuple[object, ...]]:
        return _restored, (self.products, self.__dict__.get("fingerprint"))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all products; computed at the first look, some 20 us a product."""
        digest = hashlib.sha256()
        for product in self.products:
            digest.update(canonical(product))
        return digest.hexdigest()

    @property
    def asins(self) -> Sequence[str]:
        """Every asin in catalogue order."""
        return tuple(self.positions)

    def product(self, asin: str) -> Product:
        """Find a product; KeyError where there is none."""
        return self.products[self.positions[asin]]

    def headlines(self, asins: Sequence[str]) -> Sequence[Headline | Product]:
        """Find products, of which a results page shows a part."""
        return [self.product(asin) for asin in asins]

    def listing(self, key: str) -> Sequence[str]:
        """Return the asins of the products that have a value; the first call goes through all products."""
        if self._listings is None:
            lists: dict[str, list[str]] = {}
            for product in self.products:
                for each in listing_keys(product):
                    lists.setdefault(each, []).append(product.asin)
            self._listings = {each: tuple(asins) for each, asins in lists.items()}
        return self._listings.get(key, ())

    def search_index(self) -> SearchIndex:
        """Build the index of all products by their search texts."""
        from sightline.webshop_env.search.index import SearchIndex

        return SearchIndex(self.asins, [product.search_text for product in self.products])


def _restored(products: tuple[Product, ...], fingerprint: str | None) -> MemoryProducts:
    restored = MemoryProducts(products)
    if fingerprint is not None:
        restored.__dict__["fingerprint"] = fingerprint
    return restored
