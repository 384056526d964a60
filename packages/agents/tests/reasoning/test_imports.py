from __future__ import annotations

import ast
from pathlib import Path

import pytest

AGENTS = Path(__file__).parents[2] / "src" / "sightline" / "agents"
FILES = sorted((AGENTS / "reasoning").rglob("*.py"))


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(AGENTS)))
def test_reasoning_knows_neither_games_nor_search(file: Path) -> None:
    found = imported(file)
    for other in ("sightline.agents.planning", "sightline.agents.selfplay"):
        assert not any(name == other or name.startswith(f"{other}.") for name in found)


@pytest.mark.parametrize("file", sorted((AGENTS / "reasoning" / "puzzles").glob("*.py")), ids=lambda file: file.name)
def test_puzzles_need_no_pytorch(file: Path) -> None:
    assert not any(name.split(".")[0] == "torch" for name in imported(file))


def test_the_configuration_needs_no_pytorch() -> None:
    assert not any(name.split(".")[0] == "torch" for name in imported(AGENTS / "reasoning" / "config.py"))
