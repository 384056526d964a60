"""The catalogue: every product of the shop, found by position or by asin.

Consumers use only the methods of :class:`Catalogue`, never how it stores its products.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.product import Product

if TYPE_CHECKING:
    from sightline.webshop_env.official import OfficialFiles, StrPath


class Catalogue:
    """An immutable sequence of products with distinct asins.

    Build one with :meth:`from_official`, :meth:`generate` or :meth:`from_products`. Two catalogues are equal when
    their fingerprints are.
    """

    __slots__ = ("_fingerprint", "_positions", "_products")

    def __init__(self, products: Sequence[Product]) -> None:
        self._products = tuple(products)
        self._positions = {product.asin: position for position, product in enumerate(self._products)}
        self._fingerprint: str | None = None
        if not self._products:
            raise CatalogueError("a catalogue needs at least one product")
        for position, product in enumerate(self._products):
            if not 1 <= len(product.asin) <= 10 or product.asin != product.asin.upper():
                raise CatalogueError(
                    f"product {position} has asin {product.asin[:80]!r}; expected 1 to 10 characters, upper case"
                )
            if self._positions[product.asin] != position:
                raise CatalogueError(
                    f"products {position} and {self._positions[product.asin]} both have asin {product.asin!r}; "
                    "keep one of them"
                )

    @classmethod
    def from_official(
        cls,
        products: StrPath,
        attributes: StrPath | None = None,
        human: StrPath | None = None,
        num_products: int | None = None,
    ) -> Catalogue:
        """Reads the published data files.

        Args:
            products: ``items_shuffle*.json``.
            attributes: ``items_ins_v2*.json``; without it products have no annotation and no synthetic goals.
            human: ``items_human_ins.json``; without it there are no human goals.
            num_products: keep this many records from the head of the product file.

        Raises:
            CatalogueError: a file is missing or malformed; names file, record and field.
        """
        from sightline.webshop_env.official import read_products

        return cls(read_products(products, attributes, human, num_products))

    @classmethod
    def generate(cls, products: int = 1000, seed: int = 0) -> Catalogue:
        """Makes up a catalogue of believable products and requests; the same arguments give the same catalogue.

        Args:
            products: how many.
            seed: picks one of the possible catalogues.

        Raises:
            CatalogueError: ``products`` is less than 1.
        """
        from sightline.webshop_env.generate import generate_products

        return cls(generate_products(products, seed))

    @classmethod
    def from_products(cls, products: Sequence[Product]) -> Catalogue:
        """Makes a catalogue of given products, in their order.

        Raises:
            CatalogueError: there are none, or asins are malformed or not distinct.
        """
        return cls(products)

    def __len__(self) -> int:
        return len(self._products)

    def __iter__(self) -> Iterator[Product]:
        return iter(self._products)

    def __getitem__(self, key: int | str) -> Product:
        if not isinstance(key, str):
            return self._products[key]
        try:
            return self._products[self._positions[key]]
        except KeyError:
            raise KeyError(f"no product {key[:80]!r} among the {len(self)} of this catalogue") from None

    def __contains__(self, asin: object) -> bool:
        return asin in self._positions

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, Catalogue) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"<Catalogue of {len(self)} products>"

    @property
    def asins(self) -> tuple[str, ...]:
        """Every asin, in catalogue order."""
        return tuple(self._positions)

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the content and order of all products; computed at the first call."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for product in self._products:
                digest.update(_canonical(product))
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def write_official(self, folder: StrPath) -> OfficialFiles:
        """Writes the three official files, each whole or not at all.

        Args:
            folder: made where it does not exist; files of the same names are replaced.

        Returns:
            Their paths; :meth:`from_official` reads them back to an equal catalogue.

        Raises:
            CatalogueError: a product holds what the format cannot express.
        """
        from sightline.webshop_env.official import write_products

        return write_products(self._products, folder)


def _canonical(product: Product) -> bytes:
    """One line of ASCII JSON that differs wherever two products do."""
    content = (
        product.asin,
        product.title,
        product.description,
        product.bullets,
        product.pricing,
        product.price_tag,
        product.category,
        product.query,
        product.product_category,
        list(product.options.items()),
        sorted(product.option_images.items()),
        product.image,
        product.attributes,
        [(entry.text, entry.attributes, entry.options) for entry in product.human],
        product.synthetic and (product.synthetic.text, product.synthetic.attributes),
    )
    return json.dumps(content, separators=(",", ":")).encode("ascii") + b"\n"
