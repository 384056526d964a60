from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sightline.webshop_env import Catalogue
from sightline.webshop_env.catalogue import write_catalogue

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the blocks read: official files, a stored catalogue and a person's trajectory."""
    path = tmp_path_factory.mktemp("readme")
    catalogue = Catalogue.generate(600, seed=1)
    catalogue.write_official(path)
    write_catalogue(catalogue, path / "catalogue")
    asked = {
        **dict.fromkeys(("asin", "category", "query", "name", "product_category", "instruction_text"), "x"),
        **{"attributes": ["steel"], "price_upper": 50.0, "goal_options": [], "weight": 1},
    }
    line = {"page": "index", "url": "http://127.0.0.1:3000/20220427_1_12", "goal": asked}
    (path / "20220427_1_12.jsonl").write_text(json.dumps(line) + "\n")
    return path


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_block_of_python_runs_as_it_stands(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(compile(BLOCKS[number], f"README block {number}", "exec"), {"__name__": "readme"})
