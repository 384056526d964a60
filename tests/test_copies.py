"""The few files that packages have copies of, as they import nothing of each other's; agents uses retrieval's."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("pattern", "without"),
    [
        ("src/sightline/*/files.py", {"agents"}),
        ("src/sightline/*/front_door.py", {"agents"}),
        ("tests/test_files.py", {"agents"}),
        ("tests/test_front_door.py", set()),
    ],
)
def test_all_copies_are_the_same(pattern: str, without: set[str]) -> None:
    packages = {path.parent for path in ROOT.glob("packages/*/pyproject.toml")}
    copies = {package: list(package.glob(pattern)) for package in packages if package.name not in without}
    assert all(len(found) == 1 for found in copies.values())
    assert len({file.read_bytes() for found in copies.values() for file in found}) == 1
    assert not any(list(package.glob(pattern)) for package in packages - copies.keys())
