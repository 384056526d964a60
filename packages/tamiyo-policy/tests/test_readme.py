from __future__ import annotations

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
README = PACKAGE / "README.md"
BLOCKS = [
    block
    for page in (README, PACKAGE / "docs" / "migration.md")
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
]
PRINTED = ("512.0 ", "own loop ", "J tensor(", "Instance(depth=3, ", "(1, 8) ", "(4,)")


@pytest.mark.parametrize(
    ("block", "printed"),
    list(zip(BLOCKS, PRINTED, strict=True)),
    ids=("ppo", "own-loop", "growth", "instances", "comparison", "migration"),
)
def test_the_code_runs_and_prints_what_it_should(
    block: str, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(README), "exec"), {})
    shown = capsys.readouterr().out
    assert shown.startswith(printed)
    if printed == "own loop ":
        _, _, own, _, evaluated = shown.split()
        assert float(own) == pytest.approx(float(evaluated))
