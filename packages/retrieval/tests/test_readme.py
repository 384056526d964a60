from __future__ import annotations

import re
from pathlib import Path

import pytest

from sightline.retrieval import HashingEncoder

README = Path(__file__).parents[1] / "README.md"
SECTION = README.read_text(encoding="utf-8").split("## Use it without the rest")[1].split("\n## ")[0]
PRINTED = {
    "### The store": "",
    "### Backends with fallback": "('qdrant', 'local') qdrant []\n",
    "### Words and meaning, and a second look": "mug 1 1\n",
}


@pytest.mark.parametrize("part", re.findall(r"^### .*", SECTION, re.MULTILINE))
def test_the_code_of_every_part_runs_and_prints_what_it_should(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    # Loading the default model takes long, and other tests have done it.
    monkeypatch.setattr("sightline.retrieval.store.store.default_encoder", HashingEncoder)
    (code,) = re.findall(r"```python\n(.*?)```", SECTION.split(part)[1].split("\n### ")[0], re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, str(README), "exec"), names)
    assert capsys.readouterr().out == PRINTED[part]
    assert part != "### The store" or names["hits"]
