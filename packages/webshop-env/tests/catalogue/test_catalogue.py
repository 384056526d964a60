from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.product import HumanInstruction, Product, SyntheticInstruction


@pytest.fixture(scope="module")
def made_up() -> Catalogue:
    return Catalogue.generate(20, seed=3)


def test_a_product_is_found_by_position_and_by_asin(made_up: Catalogue) -> None:
    products = list(made_up)
    assert len(made_up) == len(products) == 20
    for position, product in enumerate(products):
        assert made_up[position] is made_up[product.asin] is product
        assert product.asin in made_up
    assert made_up[-1] is products[-1]
    assert made_up.asins == tuple(product.asin for product in products)


def test_what_is_not_there_is_not_found(made_up: Catalogue) -> None:
    assert "B0MISSING" not in made_up
    with pytest.raises(KeyError, match="no product 'B0MISSING' among the 20"):
        made_up["B0MISSING"]
    with pytest.raises(IndexError):
        made_up[20]


def test_a_catalogue_without_products_is_refused() -> None:
    with pytest.raises(CatalogueError, match="at least one product"):
        Catalogue.from_products([])


def test_a_repeated_asin_is_refused(made_up: Catalogue) -> None:
    with pytest.raises(CatalogueError, match="products 0 and 2 both have asin"):
        Catalogue.from_products([made_up[0], made_up[1], made_up[0]])


@pytest.mark.parametrize("asin", ["", "B0123456789", "b012345678"])
def test_a_malformed_asin_is_refused(made_up: Catalogue, asin: str) -> None:
    with pytest.raises(CatalogueError, match="1 to 10 characters, upper case"):
        Catalogue.from_products([replace(made_up[0], asin=asin)])


CHANGES: dict[str, object] = {
    "asin": "B0CHANGED",
    "title": "changed",
    "description": "changed",
    "bullets": ("changed",),
    "pricing": (1.0, 2.0),
    "price_tag": "$1",
    "category": "changed",
    "query": "changed",
    "product_category": "changed",
    "options": {"size": ("changed",)},
    "option_images": {"changed": "x.jpg"},
    "image": "changed",
    "attributes": ("changed",),
    "human": (HumanInstruction("changed", ("a",), ("b",)),),
    "synthetic": SyntheticInstruction("changed", ("a",)),
    "reviews": ("changed",),
}


@pytest.mark.parametrize("field", [field.name for field in fields(Product)])
def test_the_fingerprint_notices_a_change_of_any_field(made_up: Catalogue, field: str) -> None:
    changed = Catalogue.from_products([*list(made_up)[:-1], replace(made_up[-1], **{field: CHANGES[field]})])
    assert changed.fingerprint != made_up.fingerprint
    assert changed != made_up


def test_the_fingerprint_notices_order_of_products_and_of_options(made_up: Catalogue) -> None:
    assert Catalogue.from_products(list(made_up)[::-1]).fingerprint != made_up.fingerprint
    one = replace(made_up[0], options={"a": ("x",), "b": ("y",)})
    other = replace(made_up[0], options={"b": ("y",), "a": ("x",)})
    assert Catalogue.from_products([one]) != Catalogue.from_products([other])


def test_equal_prices_have_the_same_fingerprint_whether_whole_numbers_or_not(made_up: Catalogue) -> None:
    whole, fraction = (Catalogue.from_products([replace(made_up[0], pricing=(price,))]) for price in (5, 5.0))
    assert whole == fraction


def test_a_listing_holds_the_products_with_the_value_in_catalogue_order(made_up: Catalogue) -> None:
    for product in made_up:
        same_query = tuple(other.asin for other in made_up if other.query == product.query)
        assert made_up.listing("query", product.query) == same_query
        for attribute in product.attributes:
            sharing = tuple(other.asin for other in made_up if attribute in other.attributes)
            assert made_up.listing("attributes", attribute) == sharing
    assert made_up.listing("category", "nothing of the kind") == ()
    with pytest.raises(ValueError, match="'attributes', 'category', 'query', not 'title'"):
        made_up.listing("title", "x")  # ty: ignore[invalid-argument-type]


def test_a_value_that_a_product_repeats_lists_it_once(made_up: Catalogue) -> None:
    twice = Catalogue.from_products([replace(made_up[0], attributes=("blue", "blue"))])
    assert twice.listing("attributes", "blue") == (made_up[0].asin,)


def test_the_search_index_is_made_once(made_up: Catalogue) -> None:
    assert made_up.search_index() is made_up.search_index()
    assert made_up.search_index().search(made_up[7].title, 1)[0][0] == made_up[7].asin


def test_equal_content_is_an_equal_catalogue(made_up: Catalogue) -> None:
    again = Catalogue.from_products(list(made_up))
    assert again == made_up
    assert hash(again) == hash(made_up)
    assert len(made_up.fingerprint) == 64
    assert made_up != "catalogue"


@settings(max_examples=15, deadline=None)
@given(products=st.integers(1, 30), seed=st.integers())
def test_a_made_up_catalogue_survives_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, products: int, seed: int
) -> None:
    catalogue = Catalogue.generate(products, seed)
    files = catalogue.write_official(tmp_path_factory.mktemp("files"))
    assert Catalogue.from_official(files.products, files.attributes, files.human) == catalogue


def test_the_cut_keeps_the_head_of_the_file(made_up: Catalogue, tmp_path: Path) -> None:
    files = made_up.write_official(tmp_path / "new" / "folder")
    cut = Catalogue.from_official(files.products, files.attributes, files.human, num_products=7)
    assert cut == Catalogue.from_products(list(made_up)[:7])


def test_a_catalogue_is_made_without_importing_pydantic() -> None:
    code = (
        "import sys; from sightline.webshop_env.catalogue.catalogue import Catalogue; Catalogue.generate(3);"
        "sys.exit('pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
