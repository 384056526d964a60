from __future__ import annotations

import json
from pathlib import Path

import pytest

from sightline.webshop_env import Catalogue, CatalogueError, Shop, build_goals
from sightline.webshop_env.catalogue import write_catalogue
from sightline.webshop_env.episodes import Generated, Official, Stored, open_shop, write_shop


def shop_over(catalogue: Catalogue) -> Shop:
    return Shop(catalogue, build_goals(catalogue, "human", 5), step_limit=9, show_attributes=True)


@pytest.mark.parametrize("kind", ["generated", "official", "stored"])
def test_the_shop_that_a_file_describes_is_the_one_that_was_written_down(tmp_path: Path, kind: str) -> None:
    catalogue = Catalogue.generate(40, seed=3)
    source: Generated | Official | Stored = Generated(products=40, seed=3)
    if kind == "official":
        files = catalogue.write_official(tmp_path / "files")
        source = Official(products=files.products, attributes=files.attributes, human=files.human)
    elif kind == "stored":
        catalogue = write_catalogue(catalogue, tmp_path / "stored")
        source = Stored(folder=tmp_path / "stored")
    shop = shop_over(catalogue)
    write_shop(tmp_path / "shop.json", shop, source)
    again = open_shop(tmp_path / "shop.json")
    assert again.identity == shop.identity
    assert (again.step_limit, again.show_attributes) == (9, True)
    assert again.goals.prices == shop.goals.prices


def test_a_shop_of_long_pages_and_texts_is_opened_as_one(tmp_path: Path) -> None:
    catalogue = Catalogue.generate(5, seed=3, long_texts=True)
    shop = Shop(catalogue, build_goals(catalogue, "human", 5), long_pages=True)
    write_shop(tmp_path / "shop.json", shop, Generated(products=5, seed=3, long_texts=True))
    again = open_shop(tmp_path / "shop.json")
    assert (again.identity, again.page_size) == (shop.identity, 50)


def test_relative_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = Catalogue.generate(5).write_official("files")
    catalogue = Catalogue.from_official(files.products)
    with pytest.raises(CatalogueError):
        Catalogue.from_official("elsewhere.json")
    shop = Shop(Catalogue.generate(5), build_goals(Catalogue.generate(5), "human", 0))
    write_shop(Path("shop.json"), shop, Official(products=Path("files/items_shuffle.json")))
    assert json.loads(Path("shop.json").read_text())["source"]["products"] == str(tmp_path / "files/items_shuffle.json")
    assert len(catalogue) == 5


def test_products_that_have_changed_since_are_refused(tmp_path: Path) -> None:
    catalogue = Catalogue.generate(20, seed=1)
    write_shop(tmp_path / "shop.json", shop_over(catalogue), Generated(products=20, seed=2))
    with pytest.raises(CatalogueError, match="the products are others than when it was written"):
        open_shop(tmp_path / "shop.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"shop\.json cannot be read: No such file"),
        ("", "field 'content' is wrong"),
        ("[]", "field 'content' is wrong"),
        ('{"schema_version": 2}', "field 'schema_version' is wrong"),
        (" " * 70_000, "too large"),
    ],
)
def test_what_is_no_such_file_is_explained(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "shop.json").write_text(content)
    with pytest.raises(CatalogueError, match=message):
        open_shop(tmp_path / "shop.json")


def test_the_format_of_version_1_stays_readable(tmp_path: Path) -> None:
    catalogue = Catalogue.generate(3, seed=0)
    (tmp_path / "shop.json").write_text(
        '{"schema_version": 1, "source": {"kind": "generated", "products": 3, "seed": 0}, "fingerprint": '
        f'"{catalogue.fingerprint}", "goals": "human", "goals_seed": 4, "step_limit": 15, "show_attributes": false}}'
    )
    assert open_shop(tmp_path / "shop.json").goals.seed == 4
