from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.webshop_env import Catalogue, CatalogueError
from sightline.webshop_env.catalogue.official.faults import RecordError, SkippedRecords
from sightline.webshop_env.catalogue.official.reading import iter_products
from sightline.webshop_env.commands.main import main


def put(field: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda record: record | {field: value}


def without(field: str) -> Callable[[dict[str, Any]], object]:
    return lambda record: {name: value for name, value in record.items() if name != field}


KINDS: list[Callable[[dict[str, Any]], object]] = [
    *(without(field) for field in ("asin", "name")),
    *(put("asin", value) for value in (None, 7, "", [], {})),
    *(put("name", value) for value in (7, [], {}, True)),
    *(put("full_description", value) for value in (7, ["x"], {})),
    *(put("small_description", value) for value in (7, [7], {"a": 1}, [["x"]])),
    *(put("pricing", value) for value in (7, "free", "$", "$1.2.3", ["$1"])),
    *(put("customization_options", value) for value in (7, "red", {"color": "red"}, {"color": [{"image": 1}]})),
    *(put("images", value) for value in (7, [7], {"a": 1})),
    *(put("category", value) for value in (7, [])),
    *(put("query", value) for value in (7, [])),
    *((lambda record, value=value: value) for value in ("a text", 7, None, [1, 2])),
]


@pytest.fixture
def official(tmp_path: Path) -> Path:
    Catalogue.generate(700, seed=6).write_official(tmp_path)
    return tmp_path / "items_shuffle.json"


def damage(path: Path, count: int) -> dict[int, object]:
    """Make `count` records wrong, of all kinds in turn; return them by their places in the file."""
    records = json.loads(path.read_text())
    places = random.Random(1).sample(range(1, len(records)), count)
    wrong = {place: KINDS[number % len(KINDS)](copy.deepcopy(records[place])) for number, place in enumerate(places)}
    path.write_text(json.dumps([wrong.get(place, record) for place, record in enumerate(records)]))
    return wrong


def test_300_faulty_records_of_30_kinds_are_named_in_one_pass_and_the_rest_is_imported(official: Path) -> None:
    assert len(KINDS) >= 30
    whole = {product.asin: product for product in iter_products(official)}
    order = list(whole)
    wrong = damage(official, 300)
    skipped = SkippedRecords(300)
    products = list(iter_products(official, skipped=skipped))
    assert products == [whole[asin] for place, asin in enumerate(order) if place not in wrong]
    assert skipped.count == 300
    named = {int(fault.where.split(": record ")[1].split()[0].rstrip(":")) for fault in skipped.faults}
    assert named == set(wrong)


def test_every_fault_of_a_record_is_named_and_its_message_is_that_of_the_first(official: Path) -> None:
    records = json.loads(official.read_text())
    records[3] |= {"name": 7, "full_description": [1]}
    official.write_text(json.dumps(records))
    with pytest.raises(
        RecordError, match=r"record 3 \(asin .*\), field 'name': is 7; expected a valid string"
    ) as caught:
        list(iter_products(official))
    assert [fault.field for fault in caught.value.faults] == ["name", "full_description"]
    assert str(caught.value) == str(caught.value.faults[0])


def test_too_many_faulty_records_fail_with_all_of_them_counted(official: Path) -> None:
    damage(official, 40)
    skipped = SkippedRecords(39)
    with pytest.raises(CatalogueError, match="40 records are faulty, and 39 may be left out") as caught:
        list(iter_products(official, skipped=skipped))
    assert len(str(caught.value).splitlines()) == 22
    assert f"and {len(skipped.faults) - 20} more faults" in str(caught.value)


def test_a_record_that_was_left_out_does_not_let_its_double_in(official: Path) -> None:
    records = json.loads(official.read_text())
    records.append(copy.deepcopy(records[2]))
    records[2]["pricing"] = 7
    official.write_text(json.dumps(records))
    asin = records[2]["asin"].upper()
    assert asin not in {product.asin for product in iter_products(official, skipped=SkippedRecords(1))}


def test_the_command_skips_reports_and_writes_what_it_left_out(
    official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(official, 33)
    words = [
        "import",
        "--products",
        str(official),
        "--out",
        str(tmp_path / "shop"),
        "--faults",
        str(tmp_path / "f.jsonl"),
    ]
    assert main([*words, "--skip-invalid", "32"]) == 2
    assert "33 records are faulty, and 32 may be left out" in capsys.readouterr().err
    assert not (tmp_path / "shop").exists()
    assert main([*words, "--skip-invalid", "33"]) == 0
    assert "left out 33 faulty records" in capsys.readouterr().out
    assert len(Catalogue.open(tmp_path / "shop")) == 700 - 33
    faults = [json.loads(line) for line in (tmp_path / "f.jsonl").read_text().splitlines()]
    assert len(faults) >= 33
    assert set(faults[0]) == {"where", "field", "found", "expected"}


def test_without_permission_the_first_fault_is_an_error_as_before(
    official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(official, 1)
    assert main(["import", "--products", str(official), "--out", str(tmp_path / "shop")]) == 2
    assert "1 records are faulty, and 0 may be left out" in capsys.readouterr().err
