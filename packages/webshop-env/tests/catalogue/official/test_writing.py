from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sightline.webshop_env.catalogue.generating import generate_products
from sightline.webshop_env.catalogue.official.reading import OfficialFiles, read_products, write_products
from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.product import Product, price_tag

GOLDEN = Path(__file__).resolve().parents[6] / "shared" / "golden"


def product(**changes: Any) -> Product:
    plain: dict[str, Any] = {
        "asin": "B000000001",
        "title": "Mug",
        "description": "",
        "bullets": (),
        "pricing": (5.0,),
        "category": "garden",
        "query": "mugs",
        "product_category": "Home",
    }
    plain |= changes
    plain.setdefault("price_tag", price_tag(plain["pricing"]))
    return Product(**plain)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("options", {"color": ("Red",)}),
        ("options", {"color": ("a/b",)}),
        ("query", " Mugs"),
        ("pricing", (-5.0,)),
        ("pricing", (float("inf"),)),
        ("price_tag", "$6"),
        ("title", "\ud800"),
    ],
)
def test_a_product_that_would_be_read_back_differently_is_not_written(
    tmp_path: Path, field: str, value: object
) -> None:
    with pytest.raises(CatalogueError) as caught:
        write_products([product(**{field: value})], tmp_path)
    assert "product 'B000000001'" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_products([product()], tmp_path)
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_products([product(title="Cup")], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == content
    assert read_products(before.products)[0].title == "Mug"


def test_products_are_written_in_one_pass_over_them(tmp_path: Path) -> None:
    files = write_products(generate_products(20, seed=0), tmp_path)
    assert read_products(files.products, files.attributes, files.human) == list(generate_products(20, seed=0))


def test_an_empty_file_of_each_kind_can_be_written_and_read(tmp_path: Path) -> None:
    files = write_products([product()], tmp_path)
    assert json.loads(files.human.read_text()) == {}
    assert read_products(files.products, files.attributes, files.human) == [product()]


def test_products_that_fail_to_be_made_leave_the_old_files(tmp_path: Path) -> None:
    write_products([product()], tmp_path)
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken() -> Iterator[Product]:
        yield product(title="Cup")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_products(broken(), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == content


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_write_leaves_no_file_that_could_be_read(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from sightline.webshop_env.catalogue.generating import generate_products
from sightline.webshop_env.catalogue.official.reading import write_products
def products():
    yield from generate_products(3, seed=0)
    os.kill(os.getpid(), signal.SIGKILL)
write_products(products(), sys.argv[1])
"""
    run = subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    assert run.returncode == -signal.SIGKILL
    files = OfficialFiles.of(tmp_path)
    assert not any(path.exists() for path in (files.products, files.attributes, files.human))
    assert [path for path in tmp_path.iterdir() if path.suffix == ".json"] == []


@pytest.mark.skipif(not GOLDEN.exists(), reason="the recordings are not beside this repository")
@pytest.mark.parametrize(("folder", "count"), [("webshop", 300), ("webshop-real", 63)])
def test_the_recorded_catalogues_load_and_survive_a_round_trip(tmp_path: Path, folder: str, count: int) -> None:
    recorded = GOLDEN / folder
    products = read_products(
        recorded / "items_shuffle.json", recorded / "items_ins_v2.json", recorded / "items_human_ins.json"
    )
    assert len(products) == count
    files = write_products(products, tmp_path)
    assert read_products(files.products, files.attributes, files.human) == products
