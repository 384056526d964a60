"""Puts every fault of `mutations/*.json` back into a copy of the package and asks its test to notice.

uv run python -m pytest packages/tamiyo-policy/tests/test_mutations.py -m slow
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]
MUTATIONS = [
    mutation
    for file in sorted((PACKAGE / "tests" / "mutations").glob("*.json"))
    for mutation in json.loads(file.read_text(encoding="utf-8"))
]
PITFALLS = 24


def in_package(path: str) -> Path:
    """The part of a path below the package's folder; the lists count from the root of the workspace."""
    return Path(path).relative_to("packages/tamiyo-policy")


def test_every_pitfall_has_a_mutation() -> None:
    assert {mutation["pitfall"] for mutation in MUTATIONS} == set(range(1, PITFALLS + 1))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation['pitfall']}-{mutation['test']}")
def test_a_mutation_still_fits_the_source(mutation: dict[str, str]) -> None:
    source = (PACKAGE / in_package(mutation["file"])).read_text(encoding="utf-8")
    assert source.count(mutation["old"]) == 1
    assert mutation["old"] != mutation["new"]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation['pitfall']}-{mutation['test']}")
def test_a_fault_that_is_put_back_is_noticed(mutation: dict[str, str], tmp_path: Path) -> None:
    copy = tmp_path / "package"
    shutil.copytree(PACKAGE / "src", copy / "src")
    shutil.copytree(PACKAGE / "tests", copy / "tests")
    source = copy / in_package(mutation["file"])
    source.write_text(source.read_text(encoding="utf-8").replace(mutation["old"], mutation["new"]), encoding="utf-8")
    file, name = mutation["test"].split("::")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--import-mode=importlib"]
    result = subprocess.run(
        [*command, "--rootdir", str(copy), f"{copy / in_package(file)}::{name}"],
        # What is on the path comes before the installed package.
        env=os.environ | {"PYTHONPATH": str(copy / "src")},
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    output = f"{result.stdout[-2000:]}\n{result.stderr[-500:]}"
    assert result.returncode == 1, f"expected a failed test, pytest ended with {result.returncode}:\n{output}"
