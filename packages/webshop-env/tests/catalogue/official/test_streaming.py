from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.webshop_env.catalogue.generating import generate_products
from sightline.webshop_env.catalogue.official import json_stream
from sightline.webshop_env.catalogue.official import reading as official
from sightline.webshop_env.catalogue.official.reading import OfficialFiles, iter_products, read_products, write_products
from sightline.webshop_env.errors import CatalogueError


def record(asin: str) -> dict[str, str]:
    return {"asin": asin, "name": "Mug", "category": "garden", "product_category": "Home", "query": "mugs"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> OfficialFiles:
    return write_products(generate_products(6, seed=0), tmp_path_factory.mktemp("generated"))


@settings(deadline=None, max_examples=25)
@given(chunk=st.integers(1, 5000))
def test_products_are_the_same_wherever_chunks_end(files: OfficialFiles, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        products = list(iter_products(files.products, files.attributes, files.human))
    assert products == list(generate_products(6, seed=0))


def test_progress_counts_the_bytes_of_all_files(files: OfficialFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 1000)
    calls: list[tuple[int, int]] = []
    products = iter_products(files.products, files.attributes, files.human, progress=lambda *call: calls.append(call))
    assert calls == []
    assert len(list(products)) == 6
    total = sum(path.stat().st_size for path in (files.products, files.attributes, files.human))
    assert {bytes_in_all for _, bytes_in_all in calls} == {total}
    read = [bytes_read for bytes_read, _ in calls]
    assert read == sorted(read)
    assert len(set(read)) > 10
    assert read[-1] == total


def test_nothing_behind_the_last_record_wanted_is_read(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text(f"[{json.dumps(record('B000000001'))}, oops")
    assert len(list(iter_products(path, num_products=1))) == 1
    products = iter_products(path)
    assert next(products).title == "Mug"
    with pytest.raises(CatalogueError, match="is not JSON"):
        next(products)


def test_of_two_annotations_of_one_asin_the_last_counts_in_any_case(tmp_path: Path) -> None:
    products, attributes = tmp_path / "items.json", tmp_path / "ins.json"
    products.write_text(json.dumps([record("B000000001")]))
    attributes.write_text('{"B000000001": {"attributes": ["a"]}, "X": {}, "b000000001": {"attributes": ["b"]}}')
    (product,) = read_products(products, attributes)
    assert product.attributes == ("b",)


def test_asins_of_one_hash_are_told_apart(files: OfficialFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "hash", lambda _: 7, raising=False)
    products = read_products(files.products, files.attributes, files.human)
    assert products == list(generate_products(6, seed=0))


def test_memory_stays_far_below_the_size_of_the_files(tmp_path: Path) -> None:
    def lines(pair: str, make: Callable[[str], str]) -> str:
        return pair[0] + ",\n".join(make(f"B{number:09}") for number in range(1500)) + pair[1]

    filler = "words " * 1700
    products, human = tmp_path / "items.json", tmp_path / "human.json"
    products.write_text(lines("[]", lambda asin: json.dumps(record(asin) | {"full_description": filler})))
    human.write_text(lines("{}", lambda asin: f'"{asin}": {json.dumps([{"instruction": filler}])}'))
    assert products.stat().st_size + human.stat().st_size > 30_000_000
    next(iter_products(products, human=human))
    tracemalloc.start()
    try:
        count = sum(len(product.human) for product in iter_products(products, human=human))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 1500
    # A few times the megabyte that is read at once, and less than 200 bytes for each asin.
    assert peak < 8_000_000
