from __future__ import annotations

import ast
import contextlib
import io
import math
import re
from functools import cache
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


MOVES = ((0, -1, 1.0), (1, 0, math.e), (0, 1, math.e), (-1, 0, 1.0))


@cache
def walk(x: int, y: int, left: int) -> float:
    """The chance that the README's student reaches the corner, by plain recursion."""
    if (x, y) == (4, 4):
        return 1.0
    if (x, y) == (2, 2) or left == 0:
        return 0.0
    total = sum(weight for *_, weight in MOVES)
    return sum(
        weight / total * walk(min(max(x + dx, 0), 4), min(max(y + dy, 0), 4), left - 1) for dx, dy, weight in MOVES
    )


def test_the_first_example_labels_a_grid_world_and_its_values_are_those_of_recursion():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, str(README), "exec"), {})
    first, *rows = output.getvalue().splitlines()
    value, actions = first.split(" ", 1)
    assert abs(float(value) - walk(0, 0, 12)) <= 0.016  # half of the graph's tolerance, and rounding
    assert ast.literal_eval(actions)["east"] == 0.0  # into the pit
    assert len(rows) >= 3
    assert any(" Q1 " in row or " Q4 " in row for row in rows)
    assert len(re.findall(r"^class Grid.*?(?=\n\n\n)", code, re.DOTALL | re.MULTILINE)[0].splitlines()) <= 30
