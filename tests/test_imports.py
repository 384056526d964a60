"""Who may import whom, as the floor plan says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "webshop_env": set(),
    "retrieval": set(),
    "agents": {"retrieval"},
    "jepa": set(),
    "tamiyo_policy": set(),
    "teachability": set(),
}
PACKAGES = sorted(path.name for path in ROOT.glob("packages/*/src/sightline/*") if path.is_dir())


def sightline_imports(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("sightline.")}


def test_every_package_has_a_row_in_the_import_table() -> None:
    assert set(PACKAGES) == set(ALLOWED)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_the_floor_plan_allows(package: str) -> None:
    (folder,) = ROOT.glob(f"packages/*/src/sightline/{package}")
    for file in folder.rglob("*.py"):
        found = sightline_imports(file.read_text(encoding="utf-8")) - {package}
        assert found <= ALLOWED[package], f"{file.relative_to(ROOT)} imports {sorted(found - ALLOWED[package])}"


def test_the_check_sees_a_forbidden_import() -> None:
    assert sightline_imports("from sightline.webshop_env import Shop\nimport sightline.agents.runs") == {
        "webshop_env",
        "agents",
    }


def test_the_namespace_has_no_init_file() -> None:
    assert not list(ROOT.glob("packages/*/src/sightline/__init__.py"))
