from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from sightline.webshop_env import Catalogue, CatalogueError, Shop, build_goals
from sightline.webshop_env.catalogue import products as module
from sightline.webshop_env.catalogue.catalogue import write_catalogue
from sightline.webshop_env.catalogue.products import MemoryProducts, ProductStore
from sightline.webshop_env.catalogue.stored.reading import Store
from sightline.webshop_env.episodes.snapshot import encode


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProductStore, ProductStore]:
    catalogue = Catalogue.generate(40, seed=3)
    folder = write_catalogue(catalogue, tmp_path_factory.mktemp("products") / "catalogue").folder
    assert folder is not None
    return MemoryProducts(catalogue), Store(folder)


def test_products_in_memory_and_in_files_answer_alike(stores: tuple[ProductStore, ProductStore]) -> None:
    memory, stored = stores
    assert memory.fingerprint == stored.fingerprint
    assert list(memory.products) == list(stored.products)
    assert list(memory.asins) == list(stored.asins)
    for position, asin in enumerate(memory.asins):
        assert memory.positions[asin] == stored.positions[asin] == position
        assert memory.product(asin) == stored.product(asin)
    keys = {key for product in memory.products for key in module.listing_keys(product)} | {"query:nothing"}
    assert all(list(memory.listing(key)) == list(stored.listing(key)) for key in keys)
    heads = zip(memory.headlines(memory.asins), stored.headlines(stored.asins), strict=True)
    assert all((a.asin, a.title, a.price_tag) == (b.asin, b.title, b.price_tag) for a, b in heads)
    assert memory.search_index().search("desk lamp") == stored.search_index().search("desk lamp")
    for store in stores:
        with pytest.raises(KeyError):
            store.product("B0NOTHERE")


def test_both_stay_themselves_when_pickled(stores: tuple[ProductStore, ProductStore]) -> None:
    for store in stores:
        again = pickle.loads(pickle.dumps(store))  # noqa: S301  (our own bytes)
        assert type(again) is type(store)
        assert (again.fingerprint, again.folder) == (store.fingerprint, store.folder)
        assert list(again.products) == list(store.products)


def test_a_pickled_catalogue_in_memory_does_not_take_its_fingerprint_again(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue.generate(5)
    fingerprint = catalogue.fingerprint
    content = pickle.dumps(catalogue)
    monkeypatch.delattr(module, "canonical")
    assert pickle.loads(content).fingerprint == fingerprint  # noqa: S301


def test_no_snapshot_pays_for_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue.generate(5)
    shop = Shop(catalogue, build_goals(catalogue, "human", 0))
    monkeypatch.delattr(module, "canonical")
    assert encode(shop, shop.start(0))


def test_a_folder_that_was_replaced_is_not_taken_for_the_pickled_one(tmp_path: Path) -> None:
    stored = write_catalogue(Catalogue.generate(5), tmp_path / "catalogue")
    content = pickle.dumps(stored)
    write_catalogue(Catalogue.generate(6), tmp_path / "catalogue", replace=True)
    with pytest.raises(CatalogueError, match="another catalogue than when this was pickled"):
        pickle.loads(content)  # noqa: S301
