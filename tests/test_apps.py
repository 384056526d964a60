"""What holds for every script of `apps/`: a light `--help`, short scripts, and no import past a front door."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

APPS = Path(__file__).resolve().parents[1] / "apps"
SCRIPTS = sorted(path.name for path in APPS.glob("*.py"))
HEAVY = ("torch", "transformers", "matplotlib", "sklearn", "numba")

RUN_AND_LIST = f"""
import runpy, sys
script = sys.argv[1]
sys.argv = [script, "--help"]
sys.path.insert(0, {str(APPS)!r})
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as ended:
    print("ended with", ended.code)
print("heavy:", sorted(name for name in {HEAVY!r} if name in sys.modules))
"""


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_shown_without_loading_anything_that_trains_or_draws(script: str) -> None:
    command = [sys.executable, "-c", RUN_AND_LIST, str(APPS / script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--help" in done.stdout
    assert done.stdout.endswith("ended with 0\nheavy: []\n"), done.stdout[-200:]


def test_the_check_sees_what_is_loaded(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import matplotlib\nraise SystemExit(0)\n")
    done = subprocess.run([sys.executable, "-c", RUN_AND_LIST, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: ['matplotlib']\n")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_short(script: str) -> None:
    assert len((APPS / script).read_text(encoding="utf-8").splitlines()) <= 120


def past_a_door(source: str) -> list[str]:
    """Modules of packages that are named deeper than a package and one room of it."""
    modules = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.append(node.module)
    return [name for name in modules if name.startswith("sightline.") and name.count(".") > 2]


@pytest.mark.parametrize("file", sorted(APPS.rglob("*.py")), ids=lambda file: file.relative_to(APPS).as_posix())
def test_no_app_imports_past_a_front_door(file: Path) -> None:
    assert past_a_door(file.read_text(encoding="utf-8")) == []


def test_the_check_sees_an_import_past_a_door_and_lets_doors_be() -> None:
    assert past_a_door("from sightline.agents.evaluation.cost import Prices\nimport sightline.jepa.data.splits") == [
        "sightline.agents.evaluation.cost",
        "sightline.jepa.data.splits",
    ]
    assert past_a_door("from sightline.agents import Trajectory\nfrom sightline.agents.evaluation import Prices") == []


@pytest.mark.parametrize("room", [path.name for path in (APPS / "experiments").iterdir() if path.is_dir()])
def test_each_experiment_names_its_stages_in_one_enum_and_nowhere_else(room: str) -> None:
    if room.startswith("__"):
        pytest.skip("no experiment")
    stages = APPS / "experiments" / room / "stages.py"
    names = [
        str(node.value.value)
        for node in ast.walk(ast.parse(stages.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    ]
    assert names == sorted(names), "a run shows its stages in alphabetical order"
    for file in [*(APPS / "experiments" / room).glob("*.py"), *APPS.glob("*.py")]:
        text = file.read_text(encoding="utf-8")
        assert file == stages or not [name for name in names if f'"{name}' in text], file.name
