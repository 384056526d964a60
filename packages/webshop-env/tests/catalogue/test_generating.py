from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from statistics import mean

import pytest

from sightline.webshop_env import Catalogue
from sightline.webshop_env.catalogue.generating import generate_products
from sightline.webshop_env.catalogue.vocabulary import departments
from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.product import UNPRICED, Product, price_tag


@pytest.fixture(scope="module")
def products() -> list[Product]:
    return list(generate_products(1000, seed=0))


def texts(product: Product) -> list[str]:
    return [text.lower() for text in (product.title, product.description, *product.bullets)]


def test_the_same_arguments_give_the_same_products_in_another_process() -> None:
    code = "from sightline.webshop_env import Catalogue; print(Catalogue.generate(40, seed=9).fingerprint)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == Catalogue.generate(40, seed=9).fingerprint


def test_the_catalogue_of_a_seed_never_changes_unnoticed() -> None:
    # Measured results name catalogues by seed: whoever changes these fingerprints makes them void.
    catalogue = Catalogue.generate(100, seed=0)
    assert catalogue.fingerprint == "fd6ebe21caa06024f663abaaad2f466d18a07c7732fcf94321d3eb0bab9eb892"
    # What agents read, and models were trained on, is what is left without the addresses of option images.
    bare = Catalogue.from_products([replace(p, option_images=dict.fromkeys(p.option_images)) for p in catalogue])
    assert bare.fingerprint == "5123ab5a8102b86c9d1b7f689d30f7073a86fd080b3c112d10b22204dceca481"


def test_a_smaller_catalogue_is_the_head_of_a_larger_one() -> None:
    assert list(generate_products(30, seed=2)) == list(generate_products(80, seed=2))[:30]


def test_products_are_made_when_they_are_asked_for() -> None:
    products = generate_products(10**12, seed=2)
    assert list(islice(products, 30)) == list(generate_products(30, seed=2))


def test_every_option_value_has_an_image_of_its_own(products: list[Product]) -> None:
    images = [image for product in products for image in product.option_images.values()]
    assert len(set(images)) == len(images) > 5000
    for product in products:
        assert set(product.option_images) == {value for values in product.options.values() for value in values}
        assert all(f"/{product.asin}/" in str(image) for image in product.option_images.values())


def test_another_seed_gives_other_products() -> None:
    assert not {p.asin for p in generate_products(50, seed=0)} & {p.asin for p in generate_products(50, seed=1)}


def test_a_catalogue_without_products_is_refused() -> None:
    with pytest.raises(CatalogueError, match="at least one product, not 0"):
        generate_products(0, seed=0)


def test_asins_are_distinct_and_look_like_those_of_a_shop(products: list[Product]) -> None:
    assert len({product.asin for product in products}) == 1000
    assert all(re.fullmatch("B0[A-Z0-9]{8}", product.asin) for product in products)


def test_five_categories_hold_sixty_kinds_of_similar_products(products: list[Product]) -> None:
    assert set(Counter(product.category for product in products)) == {
        "beauty",
        "electronics",
        "fashion",
        "garden",
        "grocery",
    }
    kinds = Counter(product.query for product in products)
    assert len(kinds) == 60
    assert min(kinds.values()) >= 5


def test_titles_are_short_and_name_most_attributes_but_not_all(products: list[Product]) -> None:
    words = [len(product.title.split()) for product in products]
    assert min(words) >= 8
    assert max(words) <= 16
    assert mean(len(product.title) for product in products) <= 90
    named = [name in product.title.lower() for product in products for name in product.attributes]
    assert 0.6 <= mean(named) <= 0.7


def test_every_attribute_stands_somewhere_on_the_pages(products: list[Product]) -> None:
    for product in products:
        assert 2 <= len(set(product.attributes)) == len(product.attributes) <= 5
        assert all(any(name in text for text in texts(product)) for name in product.attributes)


def test_pages_have_the_shape_of_real_ones(products: list[Product]) -> None:
    assert {len(product.bullets) for product in products} == {3, 4, 5}
    assert {len(product.options) for product in products} == {0, 1, 2, 3}
    assert any("\n\n" in product.description for product in products)
    assert all(" › " in product.product_category for product in products)
    for product in products:
        assert 1 <= len(re.findall(r"[.?](?:\s|$)", product.description)) <= 5
        for name, values in product.options.items():
            assert 3 <= len(set(values)) == len(values) <= 8
            assert (name, *values) == tuple(text.lower().strip() for text in (name, *values))


def test_prices_are_single_or_ranges_or_missing(products: list[Product]) -> None:
    assert 0.15 <= mean(len(product.pricing) == 2 for product in products) <= 0.25
    assert 0 < mean(product.pricing == UNPRICED for product in products) <= 0.1
    bounds = {kind.query: kind.price for department in departments() for kind in department.types}
    for product in products:
        assert product.price_tag == price_tag(product.pricing)
        assert all(round(price, 2) == price for price in product.pricing)
        assert list(product.pricing) == sorted(set(product.pricing))
        if product.pricing != UNPRICED:
            low, high = bounds[product.query]
            assert low <= product.pricing[0] <= high + 1


def test_there_are_about_four_human_instructions_a_product(products: list[Product]) -> None:
    assert 3800 <= sum(len(product.human) for product in products) <= 4200
    assert all(len({entry.text for entry in product.human}) == len(product.human) for product in products)


def test_a_human_instruction_names_what_it_asks_for_and_not_the_product_itself(products: list[Product]) -> None:
    kinds = {kind.query: kind for department in departments() for kind in department.types}
    brands = [brand for department in departments() for brand in department.brands]
    for product in products:
        kind = kinds[product.query]
        wording = {attribute.name: attribute.wording for attribute in kind.attributes}
        values = {value for group in product.options.values() for value in group}
        for entry in product.human:
            assert 1 <= len(entry.attributes) <= 3
            assert set(entry.attributes) <= set(product.attributes)
            assert all(wording[name] in entry.text for name in entry.attributes)
            assert len(entry.options) <= 2
            assert set(entry.options) <= values
            assert all(value in entry.text for value in entry.options)
            assert any(noun in entry.text for noun in (*kind.names, kind.query))
            assert product.asin.lower() not in entry.text
            assert not any(re.search(rf"\b{re.escape(brand.lower())}\b", entry.text) for brand in brands)


def test_about_half_of_the_products_have_a_synthetic_instruction(products: list[Product]) -> None:
    instructed = [product for product in products if product.synthetic]
    assert 0.45 <= len(instructed) / len(products) <= 0.55
    for product in instructed:
        assert product.synthetic is not None
        assert product.query in product.synthetic.text
        assert set(product.synthetic.attributes) <= set(product.attributes)
        assert all(name in product.synthetic.text for name in product.synthetic.attributes)


def test_instructions_vary_in_tone(products: list[Product]) -> None:
    openings = Counter(" ".join(entry.text.split()[:2]) for product in products for entry in product.human)
    assert len(openings) >= 10
    assert max(openings.values()) < 0.2 * openings.total()
