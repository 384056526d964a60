from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_first_example_trains_a_model_that_ranks_better_with_its_category(capsys: pytest.CaptureFixture[str]):
    (block,) = BLOCKS
    exec(compile(block, str(README), "exec"), {})
    before, after = map(ast.literal_eval, capsys.readouterr().out.splitlines())
    assert before.keys() == after.keys() >= {"none"}
    assert max(after.values()) > max(before.values())
