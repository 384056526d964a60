from __future__ import annotations

import re
from pathlib import Path

import pytest

from sightline.retrieval import HashingEncoder

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
PRINTED = [
    "[button] B01 [button_]\nDesk lamp, grey\n$12.0\n",
    "0.25 -> 1.0\n",
    "",
    "('lamps.md',) 1\n1 1\n",
    "('qdrant', 'local') qdrant []\n",
    "mug 1 1\n",
    "desk lamp\n",
]


def test_every_block_of_the_readme_is_tested():
    assert len(BLOCKS) == len(PRINTED)


@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_a_block_of_the_readme_runs_by_itself_and_prints_what_it_should(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    # Loading the default model takes long, and other tests have done it.
    monkeypatch.setattr("sightline.retrieval.store.store.default_encoder", HashingEncoder)
    names: dict[str, object] = {}
    exec(compile(BLOCKS[number], str(README), "exec"), names)
    assert capsys.readouterr().out == PRINTED[number]
    assert "hits" not in names or names["hits"]
