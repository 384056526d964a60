from __future__ import annotations

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "migrating.md"
SECTIONS = re.findall(r"^## (.+?)$(.*?)(?=^## |\Z)", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(block, id=title)
    for title, section in SECTIONS
    for block in re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
]


def test_the_guide_shows_code_for_everyone_it_speaks_to() -> None:
    spoken_to = {"From the original", "From verl-agent", "From AgentGym", "From RAGEN", "From gem", "Training with TRL"}
    assert {block.id for block in BLOCKS} == spoken_to | {"Serving OpenEnv"}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_the_guide_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(GUIDE), "exec"), {"__name__": "__guide__"})
