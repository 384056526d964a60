from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.webshop_env.catalogue.official.reading import read_products, write_products
from sightline.webshop_env.errors import CatalogueError, WebShopError
from sightline.webshop_env.product import HumanInstruction, Product, SyntheticInstruction


def record(**changes: Any) -> dict[str, Any]:
    plain = {
        "asin": "B000000001",
        "name": "Mug",
        "full_description": "A mug.",
        "small_description": ["blue"],
        "pricing": "$5.00",
        "images": ["https://images.example/mug.jpg"],
        "product_category": "Home › Mugs",
        "category": "garden",
        "query": "mugs",
        "customization_options": "",
    }
    return {key: value for key, value in (plain | changes).items() if value is not ...}


def write(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def read_one(folder: Path, **changes: Any) -> Product:
    (product,) = read_products(write(folder / "items.json", [record(**changes)]))
    return product


def error_of(folder: Path, *records: object, **files: object) -> str:
    paths = {name: write(folder / f"{name}.json", data) for name, data in files.items()}
    with pytest.raises(CatalogueError) as caught:
        read_products(
            write(folder / "items.json", list(records)), attributes=paths.get("attributes"), human=paths.get("human")
        )
    return str(caught.value)


@pytest.mark.parametrize(
    ("pricing", "prices", "tag"),
    [
        ("", (100.0,), "$100.0"),
        (None, (100.0,), "$100.0"),
        (..., (100.0,), "$100.0"),
        ("$10.00", (10.0,), "$10.0"),
        ("$1,299.00", (1299.0,), "$1299.0"),
        ("$112.91$134.33", (112.91, 134.33), "$112.91 to $134.33"),
        ("from $5 to $9.50 or $12", (5.0, 9.5), "$5.0 to $9.5"),
    ],
)
def test_a_price_text_becomes_prices_and_a_tag(
    tmp_path: Path, pricing: object, prices: tuple[float, ...], tag: str
) -> None:
    product = read_one(tmp_path, pricing=pricing)
    assert product.pricing == prices
    assert product.price_tag == tag


@pytest.mark.parametrize("pricing", ["free", "12.99", "$", "$1.2.3", "$5 - $", "$" + "9" * 400])
def test_a_price_without_a_number_is_an_error_that_names_record_field_and_value(tmp_path: Path, pricing: str) -> None:
    message = error_of(tmp_path, record(), record(asin="B000000002", pricing=pricing))
    assert f"{tmp_path / 'items.json'}: record 1 (asin 'B000000002'), field 'pricing'" in message
    assert repr(pricing)[:60] in message
    assert "expected a price such as '$12.99'" in message
    assert len(message) < len(str(tmp_path)) + 300


def test_options_are_lower_case_with_spaced_bars_for_slashes(tmp_path: Path) -> None:
    product = read_one(
        tmp_path,
        customization_options={
            "Color": [{"value": " Red / Blue ", "image": "a.jpg"}, {"value": "Black/White"}, {"value": "red / blue"}],
            "Size": None,
            "Style": [],
        },
    )
    assert product.options == {"color": ("red  |  blue", "black | white", "red  |  blue"), "style": ()}
    assert product.option_images == {"red  |  blue": None, "black | white": None}


def test_of_two_groups_with_one_lower_case_name_the_last_wins(tmp_path: Path) -> None:
    groups = {"Color": [{"value": "red", "image": "r.jpg"}], "color": [{"value": "blue", "image": "b.jpg"}]}
    product = read_one(tmp_path, customization_options=groups)
    assert product.options == {"color": ("blue",)}
    assert product.option_images == {"blue": "b.jpg"}


@pytest.mark.parametrize("empty", ["", None, ...])
def test_what_real_files_leave_empty_is_empty(tmp_path: Path, empty: object) -> None:
    product = read_one(
        tmp_path, customization_options=empty, images=empty, full_description=empty, unknown_key="is dropped"
    )
    assert (product.options, product.image, product.description) == ({}, "", "")


@pytest.mark.parametrize(
    ("bullets", "expected"),
    [("one", ("one",)), (["a", "b"], ("a", "b")), ([""], ("",)), ("", ("",)), ([], ()), (None, ())],
)
def test_bullets_are_lines_and_a_single_text_is_one_line(
    tmp_path: Path, bullets: object, expected: tuple[str, ...]
) -> None:
    assert read_one(tmp_path, small_description=bullets).bullets == expected


def test_the_query_is_stripped_and_lower_case(tmp_path: Path) -> None:
    assert read_one(tmp_path, query="  Console Tables ").query == "console tables"


def test_malformed_and_repeated_asins_are_skipped_after_the_cut(tmp_path: Path) -> None:
    asins = ["nan", "B000000001", "B0000000012", "b000000001", "B000000002", "B000000003"]
    path = write(tmp_path / "items.json", [record(asin=asin, name=str(i)) for i, asin in enumerate(asins)])
    assert [(product.asin, product.title) for product in read_products(path)] == [
        ("B000000001", "1"),
        ("B000000002", "4"),
        ("B000000003", "5"),
    ]
    assert [product.asin for product in read_products(path, num_products=5)] == ["B000000001", "B000000002"]


def test_annotations_and_instructions_are_joined_by_asin(tmp_path: Path) -> None:
    products = write(tmp_path / "items.json", [record(asin=f"B00000000{i}") for i in range(3)])
    attributes = write(
        tmp_path / "ins.json",
        {
            "B000000000": {"attributes": ["a", "b"], "instruction": "Find me a", "instruction_attributes": ["a"]},
            "B000000001": {"attributes": []},
        },
    )
    human = write(
        tmp_path / "human.json",
        {"B000000001": [{"instruction": "i need b", "instruction_attributes": ["b"], "instruction_options": ["red"]}]},
    )
    first, second, third = read_products(products, attributes, human)
    assert first.attributes == ("a", "b")
    assert first.synthetic == SyntheticInstruction("Find me a", ("a",))
    assert second.attributes == ()
    assert second.human == (HumanInstruction("i need b", ("b",), ("red",)),)
    assert (third.attributes, third.synthetic, third.human) == (("DUMMY_ATTR",), None, ())


@pytest.mark.parametrize("key", ["asin", "name", "query", "category", "product_category"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    incomplete = record(asin="B000000002")
    del incomplete[key]
    message = error_of(tmp_path, record(), incomplete)
    assert "items.json: record 1" in message
    assert f"field {key!r}: is missing" in message


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("name", 3, "name"),
        ("asin", 7, "asin"),
        ("small_description", {"a": "b"}, "small_description"),
        ("customization_options", [1], "customization_options"),
        ("customization_options", {"size": [{"image": "x"}]}, "customization_options.size.0.value"),
        ("customization_options", {"size": ["s"]}, "customization_options.size.0"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_place(
    tmp_path: Path, field: str, value: object, place: str
) -> None:
    message = error_of(tmp_path, record(**{field: value}))
    assert f"field {place!r}" in message
    assert "expected" in message


def test_a_record_that_is_no_object_is_an_error(tmp_path: Path) -> None:
    assert "record 1: is ['x']; expected an object" in error_of(tmp_path, record(), ["x"])


def test_a_long_wrong_value_is_shown_in_part(tmp_path: Path) -> None:
    message = error_of(tmp_path, record(name=["x" * 10_000]))
    assert "..." in message
    assert len(message) < len(str(tmp_path)) + 250


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"[]", "the list is empty"),
        (b"[{", "is not JSON"),
        (b"<!DOCTYPE html><p>quota", "begins with '<!DOCTYPE html><p>quota'"),
        (b'["\xff"]', "is not UTF-8 at byte 2"),
        (b"[" * 100_000, "is not JSON"),
        (b"3", "is 3; expected a product file"),
        (b'{"a": 1}', "expected a product file"),
        (b'[{"asin": "nan"}]', "no product with a valid asin"),
    ],
)
def test_a_file_that_holds_no_products_says_what_it_holds(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "items.json"
    path.write_bytes(content)
    with pytest.raises(CatalogueError) as caught:
        read_products(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_file_that_cannot_be_opened_is_an_error_of_the_package(tmp_path: Path) -> None:
    with pytest.raises(WebShopError, match="no such file"):
        read_products(tmp_path / "absent.json")
    with pytest.raises(WebShopError, match="cannot be read"):
        read_products(tmp_path)


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps([record()]), encoding="utf-8-sig")
    assert len(read_products(path)) == 1


def test_swapped_files_are_recognised(tmp_path: Path) -> None:
    annotations = {"B000000001": {"attributes": ["a"]}}
    requests = {"B000000001": [{"instruction": "i need a"}]}
    for files, met in (
        ({"attributes": [record()]}, "this is a product file"),
        ({"attributes": requests}, "this is a human instruction file"),
        ({"human": annotations}, "this is an attribute file"),
    ):
        message = error_of(tmp_path, record(), **files)
        assert met in message
        assert "swapped?" in message


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"attributes": {"B000000001": {"attributes": [1]}}},
            "attributes.json: asin 'B000000001', field 'attributes.0'",
        ),
        ({"attributes": {"B000000001": "soft"}}, "attributes.json: asin 'B000000001': is 'soft'"),
        ({"human": {"B000000001": [{"instruction_attributes": []}]}}, "instruction 0, field 'instruction': is missing"),
        ({"human": {"B000000001": [3]}}, "human.json: asin 'B000000001', instruction 0: is 3"),
        ({"human": {"X": [], "B000000001": {}}}, "human.json: asin 'B000000001': is {}; expected a list"),
    ],
)
def test_wrong_annotations_are_named_by_file_and_asin(tmp_path: Path, files: dict[str, object], words: str) -> None:
    assert words in error_of(tmp_path, record(), **files)


@pytest.mark.parametrize("name", ["items", "attributes", "human"])
def test_half_of_a_surrogate_pair_is_refused_and_a_whole_pair_read(tmp_path: Path, name: str) -> None:
    def files(text: str) -> dict[str, object]:
        return {
            "items": [record(name=text)],
            "attributes": {"B000000001": {"attributes": [text]}},
            "human": {"B000000001": [{"instruction": text}]},
        }

    paths = {key: write(tmp_path / key, data) for key, data in files("\U0001f600").items()}
    (product,) = read_products(paths["items"], paths["attributes"], paths["human"])
    assert (product.title, product.attributes, product.human[0].text) == ("😀", ("😀",), "😀")
    write(paths[name], files("x\ud83d")[name])
    with pytest.raises(CatalogueError, match=rf"{name}: holds half of a surrogate pair, in .*x\\ud83d"):
        read_products(paths["items"], paths["attributes"], paths["human"])


def test_files_that_share_no_asin_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    attributes = write(tmp_path / "ins.json", {"B0OTHER": {"attributes": ["a"]}})
    read_products(write(tmp_path / "items.json", [record()]), attributes)
    assert "names none of the products" in caplog.text


def test_a_cut_below_one_product_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="num_products must be at least 1, not 0"):
        read_products(write(tmp_path / "items.json", [record()]), num_products=0)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.text(st.sampled_from("aA /|é\t\u2003"), max_size=6)


@settings(deadline=None)
@given(
    values=st.lists(st.fixed_dictionaries({"value": VALUES, "image": st.none() | TEXT}), max_size=5),
    texts=st.lists(TEXT, min_size=4, max_size=4),
    bullets=st.lists(TEXT, max_size=3),
    prices=st.lists(st.floats(0, 1e15), min_size=1, max_size=2),
)
def test_whatever_was_read_is_read_back_equal_after_writing(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[dict[str, str | None]],
    texts: list[str],
    bullets: list[str],
    prices: list[float],
) -> None:
    folder = tmp_path_factory.mktemp("round")
    name, description, query, category = texts
    product = read_one(
        folder,
        name=name,
        full_description=description,
        query=query,
        category=category,
        small_description=bullets,
        pricing=" ".join(f"${price:.6f}" for price in prices),
        customization_options={"A": values, "b": None},
    )
    files = write_products([product], folder)
    assert read_products(files.products, files.attributes, files.human) == [product]
