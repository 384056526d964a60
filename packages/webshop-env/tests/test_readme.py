from __future__ import annotations

import re
from pathlib import Path

import pytest

from sightline.webshop_env import Catalogue
from sightline.webshop_env.catalogue import write_catalogue

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the blocks read: official files, and a stored catalogue."""
    path = tmp_path_factory.mktemp("readme")
    catalogue = Catalogue.generate(600, seed=1)
    catalogue.write_official(path)
    write_catalogue(catalogue, path / "catalogue")
    return path


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_block_of_python_runs_as_it_stands(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(compile(BLOCKS[number], f"README block {number}", "exec"), {"__name__": "readme"})
