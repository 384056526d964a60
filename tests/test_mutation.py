"""The runner that puts faults into core files: which faults it finds, and that it tells noticed from unnoticed ones."""

from __future__ import annotations

import ast
import importlib
import json
import multiprocessing
import subprocess
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = '''"""A module."""

from __future__ import annotations

LIMIT: int = 3
NAME = "text"


def clamp(value: float, low: float, *, high: float = 1.0) -> float:
    """Return a value within bounds, 1 by default."""
    if not value >= low and high > 0:
        raise ValueError(f"{value + 1} is below {low}")
    return min(value, high)


def grown(value: float) -> float:
    return clamp(value * 2 - 1, 0.0, high=9.0) if value is not None else -value
'''
TEST = """import multiprocessing

from sightline.toy.rooms.sums import clamp


def test_processes_are_started_as_in_any_other_process():
    assert multiprocessing.get_start_method() == multiprocessing.get_all_start_methods()[0]


def test_a_value_within_bounds_is_left_alone():
    assert clamp(0.5, 0.25) == 0.5
    assert clamp(2.0, 0.25) == 1.0
"""
FILE = "packages/toy/src/sightline/toy/rooms/sums.py"


@pytest.fixture
def mutation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The runner, in a repository of one package with one file and one test."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    module = importlib.import_module("mutation")
    root = tmp_path / "repository"
    for name, text in {FILE: SOURCE, "packages/toy/tests/rooms/test_sums.py": TEST}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    monkeypatch.setattr(module, "ROOT", root)
    # What every pytest imports is imported once, not for each fault.
    plugins = sorted({plugin.module for plugin in entry_points(group="pytest11")})
    multiprocessing.get_context("forkserver").set_forkserver_preload(["pytest", *plugins])
    return module


@pytest.fixture
def operators(mutation: ModuleType) -> ModuleType:
    """What says which faults could be put in."""
    return importlib.import_module("mutation_operators")


def test_every_fault_changes_what_is_executed_and_nothing_else(operators: ModuleType) -> None:
    faults = operators.possible_faults(FILE, SOURCE)
    assert len({(fault.start, fault.old, fault.new) for fault in faults}) == len(faults)
    for fault in faults:
        assert SOURCE[fault.start : fault.start + len(fault.old)] == fault.old
        changed = ast.parse(fault.apply(SOURCE))
        assert ast.dump(changed) != ast.dump(ast.parse(SOURCE))
        assert ast.get_docstring(changed) == "A module."
    kept = ("annotations", "Return a value", '"text"', "value + 1", "-> float")
    assert all(
        all(text in fault.apply(SOURCE) or fault.kind == "statement left out" for text in kept) for fault in faults
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("value >= low", "(value > low)"),
        ("not value >= low", "(value >= low)"),
        ("not value >= low and high > 0", "(not value >= low or high > 0)"),
        ("not value >= low and high > 0", "(not value >= low)"),
        ("not value >= low and high > 0", "(not (not value >= low and high > 0))"),
        ("value * 2 - 1", "(value * 2 + 1)"),
        ("3", "4"),
        ("1.0", "1.5"),
        ("min", "max"),
        ("return min(value, high)", "return None"),
        ("min(value, high)", "min(high, value)"),
        ("clamp(value * 2 - 1, 0.0, high=9.0)", "clamp(value * 2 - 1, 0.0)"),
        ("value is not None", "(value is None)"),
        ("-value", "(value)"),
    ],
)
def test_faults_of_every_kind_are_found(operators: ModuleType, old: str, new: str) -> None:
    assert (old, new) in {(fault.old, fault.new) for fault in operators.possible_faults(FILE, SOURCE)}


def test_the_same_seed_draws_the_same_faults(mutation: ModuleType, operators: ModuleType) -> None:
    drawn = [mutation.draw([FILE], 8, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(mutation.draw([FILE], 10_000, 0)) == len(operators.possible_faults(FILE, SOURCE))


def test_mirrored_tests_run_before_the_rooms_and_these_before_the_packages_others(mutation: ModuleType) -> None:
    suite, room, mirrored = "packages/toy/tests", "packages/toy/tests/rooms", "packages/toy/tests/rooms/test_sums.py"
    assert mutation.stages(FILE, ["tests/test_all.py"]) == [[mirrored], [suite], ["tests/test_all.py"]]
    (mutation.ROOT / room / "test_others.py").touch()
    assert mutation.stages(FILE, ["tests/test_all.py"]) == [[mirrored], [room], [suite], ["tests/test_all.py"]]
    assert mutation.stages(FILE, [], until="room") == [[mirrored], [room]]
    assert mutation.stages(FILE, [], until="mirrored") == [[mirrored]]
    with pytest.raises(ValueError, match="has no mirrored test"):
        mutation.stages(FILE.replace("sums", "nothing"), [], until="mirrored")


def test_a_file_of_the_apps_has_its_tests_beside_those_of_the_repository(mutation: ModuleType) -> None:
    (mutation.ROOT / "tests" / "lab").mkdir(parents=True)
    (mutation.ROOT / "tests" / "lab" / "test_run.py").touch()
    assert mutation.stages("apps/lab/run.py", []) == [["tests/lab/test_run.py"], ["tests/lab"]]


def test_faults_are_noticed_or_not_and_a_second_start_tries_only_what_is_left(
    mutation: ModuleType, tmp_path: Path
) -> None:
    chosen, log = tmp_path / "chosen.toml", tmp_path / "log.jsonl"
    chosen.write_text(
        f'[[fault]]\nfile = "{FILE}"\nold = "min(value, high)"\nnew = "value"\n'
        f'[[fault]]\nfile = "{FILE}"\nold = "value * 2"\nnew = "value * 3"\n'
    )
    faults, planned = mutation.chosen_faults(chosen), {FILE: mutation.stages(FILE, [], until="mirrored")}
    first = mutation.run_faults(faults[:1], planned, log)
    rows = mutation.run_faults(faults[:2], planned, log, workers=2)
    assert [row["outcome"] for row in rows] == ["noticed", "survived"]
    assert rows[0] == first[0]
    assert "::test_a_value_within_bounds_is_left_alone" in rows[0]["by"]  # where CI is set, pytest adds why
    assert (rows[1]["line"], rows[1]["old"], rows[1]["new"]) == (17, "value * 2", "value * 3")
    assert [json.loads(line) for line in log.read_text().splitlines()] == rows
    assert (mutation.ROOT / FILE).read_text() == SOURCE


def test_a_fault_that_never_ends_is_noticed(
    mutation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutation, "SLACK_SECONDS", 0)
    fault = mutation.Fault(FILE, SOURCE.index("return min"), "return min(value, high)", "while True: pass", "chosen")
    (row,) = mutation.run_faults([fault], {FILE: mutation.stages(FILE, [])}, tmp_path / "log.jsonl")
    assert row["outcome"] == "noticed (too long)"


def test_tests_that_fail_without_any_fault_are_an_error(mutation: ModuleType, tmp_path: Path) -> None:
    (mutation.ROOT / FILE).write_text(SOURCE.replace("min(", "max("))
    faults = mutation.draw([FILE], 1, 0)
    with pytest.raises(SystemExit, match=r"without any fault packages/toy/tests/rooms/test_sums\.py fails"):
        mutation.run_faults(faults, {FILE: mutation.stages(FILE, [])}, tmp_path / "log.jsonl")


def test_a_chosen_text_that_is_not_there_once_is_refused(mutation: ModuleType, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.toml"
    chosen.write_text(f'[[fault]]\nfile = "{FILE}"\nold = "value"\nnew = "low"\n')
    with pytest.raises(ValueError, match=r"'value' occurs \d+ times in .*, not once"):
        mutation.chosen_faults(chosen)


@pytest.mark.parametrize(
    "chosen", sorted((Path(__file__).parent / "faults").glob("*.toml")), ids=lambda path: path.stem
)
def test_the_chosen_faults_fit_the_files_they_are_for(chosen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    module = importlib.import_module("mutation")
    for fault in module.chosen_faults(chosen):
        source = (module.ROOT / fault.file).read_text(encoding="utf-8")
        assert ast.dump(ast.parse(fault.apply(source))) != ast.dump(ast.parse(source))
