from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from sightline.webshop_env import Catalogue, CatalogueError
from sightline.webshop_env.catalogue import write_catalogue
from sightline.webshop_env.catalogue.generating import generate_products
from sightline.webshop_env.catalogue.long_texts import MOST_VALUES, REVIEWS, lengthen
from sightline.webshop_env.catalogue.vocabulary import departments
from sightline.webshop_env.product import Product

WORDING = {
    attribute.name: attribute.wording
    for department in departments()
    for kind in department.types
    for attribute in kind.attributes
}


@pytest.fixture(scope="module")
def short() -> list[Product]:
    return list(islice(generate_products(300, seed=3), 300))


@pytest.fixture(scope="module")
def long(short: list[Product]) -> list[Product]:
    return [lengthen(product, 3) for product in short]


def told(product: Product) -> list[str]:
    return [text.lower() for text in (*product.description.split("\n\n"), *product.bullets, *product.reviews)]


def test_a_long_product_is_the_same_thing_at_the_same_price(short: list[Product], long: list[Product]) -> None:
    for before, after in zip(short, long, strict=True):
        assert (before.asin, before.title, before.pricing, before.attributes) == (
            after.asin,
            after.title,
            after.pricing,
            after.attributes,
        )
        assert before.options.keys() == after.options.keys()


def test_every_attribute_stands_in_one_text_in_the_words_of_requests(long: list[Product]) -> None:
    for product in long:
        for attribute in product.attributes:
            assert sum(WORDING[attribute].lower() in text for text in told(product)) >= 1
        assert len(product.reviews) == len(set(product.reviews)) == REVIEWS


def test_requests_often_ask_for_what_no_title_says(long: list[Product]) -> None:
    requests = [(product, request) for product in long for request in product.human]
    hidden = [
        any(attribute not in product.title.lower() for attribute in request.attributes) for product, request in requests
    ]
    assert sum(hidden) > 0.6 * len(hidden)
    for product, request in requests:
        assert all(WORDING[attribute] in request.text for attribute in request.attributes)
        values = {value for group in product.options.values() for value in group}
        assert set(request.options) <= values


def test_search_does_not_find_what_stands_in_features_and_reviews_alone(long: list[Product]) -> None:
    for product in long:
        for text in (*product.bullets[1:], *product.reviews):
            assert text.lower() not in product.search_text
        assert not any(WORDING[attribute].lower() in product.bullets[0].lower() for attribute in product.attributes)


def test_option_groups_are_long_but_bounded(long: list[Product]) -> None:
    sizes = [len(values) for product in long for values in product.options.values()]
    assert max(sizes) == MOST_VALUES
    assert all(len(set(values)) == len(values) for product in long for values in product.options.values())


def test_a_seed_gives_the_same_catalogue_and_short_ones_stay_as_they_are() -> None:
    assert Catalogue.generate(20, 5, long_texts=True) == Catalogue.generate(20, 5, long_texts=True)
    assert Catalogue.generate(20, 5, long_texts=True) != Catalogue.generate(20, 5)
    reviewed = lengthen(Catalogue.generate(1, 5)[0], 5)
    assert Catalogue([reviewed]) != Catalogue([lengthen(Catalogue.generate(1, 5)[0], 6)])


def test_reviews_can_be_stored_but_the_official_format_has_no_place_for_them(tmp_path: Path) -> None:
    catalogue = Catalogue.generate(5, long_texts=True)
    assert list(write_catalogue(catalogue, tmp_path / "stored")) == list(catalogue)
    with pytest.raises(CatalogueError, match="reviews"):
        catalogue.write_official(tmp_path / "official")
