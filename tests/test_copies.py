"""The few files that every package has a copy of, as packages import nothing of each other's."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "pattern",
    [
        "packages/*/src/sightline/*/files.py",
        "packages/*/src/sightline/*/front_door.py",
        "packages/*/tests/test_files.py",
        "packages/*/tests/test_front_door.py",
    ],
)
def test_all_copies_are_the_same(pattern: str) -> None:
    copies = sorted(ROOT.glob(pattern))
    assert len(copies) == len(list(ROOT.glob("packages/*/pyproject.toml")))
    assert len({copy.read_bytes() for copy in copies}) == 1
