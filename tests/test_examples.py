"""Every example runs, in small; a CI job of its own runs these."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
RUNS = {
    "compare_agents.py": ["--goals", "12"],
    "connect_four_arena.py": ["--pairs", "4"],
    "gymnasium_loop.py": [],
    "maskable_ppo.py": ["--steps", "512", "--goals", "4"],
    "plan_in_the_shop.py": ["--goals", "1", "--simulations", "16"],
    "ray_cluster.py": ["--workers", "4", "--goals", "32"],
    "recurrent_ppo.py": ["--steps", "1536"],
    "solve_sudoku.py": ["--minutes", "0.1"],
    "store_with_fallback.py": [],
    "time_travel.py": [],
}
SAYS = {
    "compare_agents.py": "baseline_rag",
    "connect_four_arena.py": "puct 100",
    "gymnasium_loop.py": "reward 0.67",
    "maskable_ppo.py": "rule: 4 episodes",
    "plan_in_the_shop.py": "goal 0: 0.75 by search",
    "ray_cluster.py": "32 labels, 4 workers: equal to the byte\n4 trainings, 4 workers: equal to the byte",
    "recurrent_ppo.py": "1536 steps, return",
    "solve_sudoku.py": "of 100 puzzles",
    "store_with_fallback.py": "local answers: quilt after ['qdrant']",
    "time_travel.py": "up to 1.00",
}
NOTEBOOKS = sorted((EXAMPLES / "notebooks").glob("*.ipynb"))
ELSEWHERE = {"grpo.py"}
"""What needs a model: `test_trl.py` runs it with one that it makes."""

pytestmark = pytest.mark.slow


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*RUNS, *ELSEWHERE}
    assert len(NOTEBOOKS) >= 2


@pytest.mark.parametrize("name", RUNS)
def test_an_example_runs_and_says_what_it_found(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / name), *RUNS[name]]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert SAYS[name] in done.stdout


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_an_example_that_needs_a_model_explains_itself(name: str) -> None:
    done = subprocess.run([sys.executable, str(EXAMPLES / name), "--help"], capture_output=True, text=True, check=True)
    assert "--model" in done.stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path) -> None:
    names: dict[str, object] = {"__name__": "notebook"}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), names)
