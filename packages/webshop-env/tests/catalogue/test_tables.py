from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from sightline.webshop_env import Catalogue, CatalogueError, build_goals
from sightline.webshop_env.catalogue import SkippedRecords, TableMapping, read_mapping, read_table
from sightline.webshop_env.commands.main import main

MAPPING = """
[columns]
asin = "sku"
title = "name"
description = "text"
bullets = "points"
price = "usd"
category = "department"
attributes = "tags"

[options]
color = "colours"
Size = "sizes"

[request]
text = "wish"
attributes = "wished_tags"
options = "wished_options"

[constants]
product_category = "Home › Lamps"

[separators]
points = "\\n"
tags = "|"
colours = "|"
sizes = "|"
wished_tags = "|"
wished_options = "|"
"""
ROWS: list[dict[str, Any]] = [
    {
        "sku": "a1",
        "name": " Desk Lamp ",
        "text": "It shines.",
        "points": "dimmable\nsteel",
        "usd": "12.5",
        "department": "Lighting",
        "tags": "dimmable|steel",
        "colours": "Red| blue ",
        "sizes": "",
        "wish": "i want a red lamp",
        "wished_tags": "dimmable",
        "wished_options": "red",
        "other": "kept out",
    },
    {
        "sku": "a2",
        "name": "Mug",
        "text": "",
        "points": "",
        "usd": "$5 to $1,009.50",
        "department": "Kitchen",
        "tags": "",
        "colours": "",
        "sizes": "small|large",
        "wish": "",
        "wished_tags": "",
        "wished_options": "",
        "other": "",
    },
]
LISTS = {"points": "\n", "tags": "|", "colours": "|", "sizes": "|", "wished_tags": "|", "wished_options": "|"}


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    path = tmp_path / "mapping.toml"
    path.write_text(MAPPING)
    return path


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_lists() -> list[dict[str, Any]]:
    """The same rows as tables with types hold them: lists, numbers, and nothing as None."""
    rows = [row | {name: row[name].split(mark) if row[name] else None for name, mark in LISTS.items()} for row in ROWS]
    return [rows[0] | {"usd": "12.5"}, rows[1]]


def assert_read(catalogue: Catalogue) -> None:
    lamp, mug = catalogue
    assert (lamp.asin, lamp.title, lamp.description) == ("A1", "Desk Lamp", "It shines.")
    assert (lamp.bullets, lamp.attributes) == (("dimmable", "steel"), ("dimmable", "steel"))
    assert (lamp.pricing, lamp.price_tag) == ((12.5,), "$12.5")
    assert (lamp.category, lamp.query, lamp.product_category) == ("Lighting", "lighting", "Home › Lamps")
    assert lamp.options == {"color": ("red", "blue")}
    assert mug.options == {"size": ("small", "large")}
    assert (mug.pricing, mug.human) == ((5.0, 1009.5), ())
    (goal,) = build_goals(catalogue, "human", 0).goals
    assert goal.instruction_text.startswith("i want a red lamp")
    assert (goal.attributes, goal.goal_options) == (("dimmable",), ("red",))


def test_csv(tmp_path: Path, mapping: Path) -> None:
    assert_read(Catalogue.from_table(write_csv(tmp_path / "products.csv", ROWS), mapping))


def test_parquet_with_lists_and_with_text(tmp_path: Path, mapping: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name, rows in (("lists", as_lists()), ("text", ROWS)):
        parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
        assert_read(Catalogue.from_table(tmp_path / f"{name}.parquet", mapping))


def test_a_data_set_open_and_saved(tmp_path: Path, mapping: Path) -> None:
    datasets = pytest.importorskip("datasets")
    held = datasets.Dataset.from_list(as_lists())
    assert_read(Catalogue.from_table(held, mapping))
    assert_read(Catalogue.from_table(held.to_iterable_dataset(), mapping))
    held.save_to_disk(str(tmp_path / "saved"))
    assert_read(Catalogue.from_table(tmp_path / "saved", mapping))
    datasets.DatasetDict({"train": held}).save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(CatalogueError, match=r"splits: holds several splits \(train\)"):
        Catalogue.from_table(tmp_path / "splits", mapping)


def test_rows_without_asins_are_numbered_and_numbers_are_taken_as_text() -> None:
    mapping = TableMapping(columns={"title": "name", "price": "usd", "category": "code"})
    rows = [{"name": "Mug", "usd": 3, "code": 7}, {"name": "Cup", "usd": float("nan"), "code": None}]
    mug, cup = read_table(rows, mapping)
    assert (mug.asin, mug.price_tag, mug.category) == ("T000000001", "$3.0", "7")
    assert (cup.asin, cup.pricing, cup.category) == ("T000000002", (100.0,), "")


WRONG_ROWS = {
    "row 1, field 'title': is ''; expected the name of a product": {"name": ""},
    "row 1, field 'title': is ['Mug']; expected a text or a number": {"name": ["Mug"]},
    "row 1, field 'asin': is 'A-MUCH-TOO-LONG'": {"sku": "a-much-too-long"},
    "row 1, field 'price': is 'ask us'; expected one price or the two ends of a range": {"usd": "ask us"},
    "row 1, field 'price': is -1.0; expected a number of dollars that is not negative": {"usd": -1.0},
    "row 1, field 'price': is True": {"usd": True},
    "row 1, field 'customization_options.color.0.value': is {}": {"colours": [{}]},
    "row 1, attributes, field 'attributes.0'": {"tags": [["x"]]},
    "row 1, request, instruction 0, field 'instruction': is 3": {"wish": 3},
}


@pytest.mark.parametrize("fault", WRONG_ROWS)
def test_a_wrong_row_is_named_and_can_be_left_out(mapping: Path, fault: str) -> None:
    wrong = [ROWS[0] | WRONG_ROWS[fault], ROWS[1]]
    with pytest.raises(CatalogueError) as raised:
        list(read_table(wrong, mapping))
    assert fault in str(raised.value)
    skipped = SkippedRecords(1)
    assert [product.title for product in read_table(wrong, mapping, skipped)] == ["Mug"]
    assert fault in str(skipped)


def test_an_asin_that_comes_twice_is_a_fault_of_the_later_row(mapping: Path) -> None:
    with pytest.raises(CatalogueError, match="row 3, field 'asin': is 'A1'; expected an asin that no row"):
        list(read_table([*ROWS, ROWS[0]], mapping))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[columns", "cannot be read as TOML"),
        ("[columns]\ntitel = 'name'", r"columns.titel: .* found 'titel'"),
        ("[columns]\nprice = 'usd'", r"\[columns\] needs 'title'"),
        ("[columns]\ntitle = 'name'\n[request]\noptions = 'x'", r"\[request\] needs 'text'"),
        ("[columns]\ntitle = 'name'\n[colums]\n", "colums: Extra inputs"),
        ("[columns]\ntitle = 3", "columns.title: .* found 3"),
    ],
)
def test_a_wrong_mapping_is_named_by_its_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(text)
    with pytest.raises(CatalogueError, match=message):
        read_mapping(path)


def test_tables_that_are_none_are_named(tmp_path: Path, mapping: Path) -> None:
    for name, content, message in (
        ("a.csv", "sku,nam\n1,2\n", r"has no column 'name'; did you mean 'nam'\?"),
        ("b.csv", MAPPING_HEAD + "\n1\n", "line 2: has more or fewer cells than the first line"),
        ("c.csv", "", "holds no product"),
        ("d.csv", b"\xff\xfe\x00", "cannot be read as CSV"),
        ("e.parquet", "no parquet", "cannot be read as Parquet"),
        ("f.xlsx", "", "expected a .csv or .parquet file"),
        ("nothing.csv", None, "cannot be read as CSV"),
    ):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            path.write_text(content)
        with pytest.raises(CatalogueError, match=message):
            list(read_table(path, mapping))


MAPPING_HEAD = ",".join(ROWS[0])


def test_the_command_imports_a_table_and_names_what_it_left_out(
    tmp_path: Path, mapping: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_csv(tmp_path / "products.csv", [*ROWS, ROWS[0] | {"sku": "a3", "usd": "?"}])
    arguments = ["import", "--table", str(table), "--mapping", str(mapping), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "row 3, field 'price'" in capsys.readouterr().err
    assert main([*arguments, "--skip-invalid", "1", "--faults", str(tmp_path / "faults.jsonl")]) == 0
    assert_read(Catalogue.open(tmp_path / "out"))
    assert json.loads((tmp_path / "faults.jsonl").read_text())["field"] == "price"
    assert main(["import", "--table", str(table), "--out", str(tmp_path / "b")]) == 2
    assert "--table and --mapping belong together" in capsys.readouterr().err
    assert main(["import", "--out", str(tmp_path / "b")]) == 2
    assert "give either --products" in capsys.readouterr().err
