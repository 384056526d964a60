"""What holds for every script of `apps/`: a light `--help`, short scripts, and no import past a front door."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from experiments.growth.settings import GrowthSettings
from experiments.shopping.settings import Phase2Settings
from experiments.steering.settings import SteeringSettings
from lab.settings import RunSettings, parse_settings

APPS = Path(__file__).resolve().parents[1] / "apps"
FILES = sorted(APPS.rglob("*.py"))
RECORDED = Path(__file__).parent / "lab" / "runs-of-0.1"
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
def test_help_reads_as_documentation_and_loads_nothing_that_trains_or_draws(script: str) -> None:
    command = [sys.executable, "-c", RUN_AND_LIST, str(APPS / script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("ended with 0\nheavy: []\n"), done.stdout[-200:]
    about = ast.get_docstring(ast.parse((APPS / script).read_text(encoding="utf-8"))) or ""
    assert done.stdout.startswith(about)
    assert f"uv run apps/{script}" in about
    told = flags_of_help(done.stdout)
    assert "--output" in told or "--port" in told
    assert [f"{flag}: {text}" for flag, text in told.items() if not explains(text)] == []


def flags_of_help(shown: str) -> dict[str, str]:
    """The flags of a page of help, each with what is said of it."""
    told: dict[str, str] = {}
    flag = ""
    for line in shown.splitlines():
        text = line.strip("│ ")
        if not line.startswith("│"):
            flag = ""
        elif text.startswith("--"):
            if flag and not told[flag]:  # a flag and its opposite stand one below the other
                del told[flag]
            name, *rest = re.split(r" {2,}", text, maxsplit=1)
            flag = name.split()[0].strip(",")
            told[flag] = "".join(rest)
        elif flag and text.strip("─ ") and line.startswith("│  "):  # what is not set in is a long list of choices
            told[flag] = f"{told[flag]} {text}".strip()
    return told


NO_BEGINNING = re.compile(r"(?:Of|In|By|For|To|At|As|From|With|On|Their|Its|Taken|Added|The same)\b")


def explains(text: str) -> bool:
    """Whether a flag's text says what the flag is, in a sentence that does not lean on the one before it."""
    said = re.sub(r"\(default: .*?\)$|\(required\)$", "", text).strip()
    return len(said.split()) > 1 and (said[0].isupper() or said[0] in '`"') and NO_BEGINNING.match(said) is None


def test_the_check_of_help_sees_a_flag_without_a_text_and_one_that_leans() -> None:
    entries = ("--rows INT       Of the board. (default: 3)", "--no-x, --x", "--seed INT", "    Seed of it.", "--y")
    shown = "".join(f"│ {entry} │\n" for entry in entries)
    assert flags_of_help(shown) == {"--rows": "Of the board. (default: 3)", "--seed": "Seed of it.", "--y": ""}
    assert [explains(text) for text in flags_of_help(shown).values()] == [False, True, False]


def test_the_check_sees_what_is_loaded(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import matplotlib\nraise SystemExit(0)\n")
    done = subprocess.run([sys.executable, "-c", RUN_AND_LIST, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: ['matplotlib']\n")


def test_no_folder_holds_more_than_fifteen_modules() -> None:
    for folder in {file.parent for file in FILES}:
        assert len([file for file in folder.glob("*.py") if file.name != "__init__.py"]) <= 15, folder.name


def imported_modules(file: Path) -> set[str]:
    """The modules of `apps/` that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("lab", "experiments")}


def test_the_kit_knows_no_experiment_no_experiment_another_and_no_files_form_a_circle() -> None:
    graph = {".".join(file.relative_to(APPS).with_suffix("").parts): imported_modules(file) for file in FILES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError
    for module, imported in graph.items():
        room = module.split(".")[:2]
        if room[0] == "lab":
            assert all(name.startswith("lab.") for name in imported), module
        elif room[0] == "experiments":
            allowed = ("lab.", f"experiments.{room[-1]}.")
            assert all(name.startswith(allowed) for name in imported), module


def past_a_door(source: str) -> list[str]:
    """Modules of packages that are named deeper than a package and one room of it."""
    modules = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.append(node.module)
    return [name for name in modules if name.startswith("sightline.") and name.count(".") > 2]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(APPS).as_posix())
def test_no_app_imports_past_a_front_door(file: Path) -> None:
    assert past_a_door(file.read_text(encoding="utf-8")) == []


def test_the_check_sees_an_import_past_a_door_and_lets_doors_be() -> None:
    assert past_a_door("from sightline.agents.evaluation.cost import Prices\nimport sightline.jepa.data.splits") == [
        "sightline.agents.evaluation.cost",
        "sightline.jepa.data.splits",
    ]
    assert past_a_door("from sightline.agents import Trajectory\nfrom sightline.agents.evaluation import Prices") == []


ROOMS = sorted(path.name for path in (APPS / "experiments").iterdir() if (path / "settings.py").exists())
TAKES_A_STAGE = {"stage": 1, "stage_folder": 0, "work_folder": 0, "stage_seconds": 0}
"""Methods of run folders and workers -> where a stage is named at the latest."""


def stages_in_quotes(source: str) -> list[str]:
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        ast.unparse(argument)
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in TAKES_A_STAGE
        for argument in call.args[: TAKES_A_STAGE[call.func.attr] + 1]
        if isinstance(argument, ast.Constant | ast.JoinedStr)
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_an_experiment_names_its_stages_in_one_enum_and_nowhere_else(room: str) -> None:
    files = sorted((APPS / "experiments" / room).glob("*.py"))
    enums = [file.name for file in files if "class Stage(StrEnum)" in file.read_text(encoding="utf-8")]
    assert enums in (["stages.py"], ["settings.py"])
    for file in [*files, *APPS.glob("*.py")]:
        assert stages_in_quotes(file.read_text(encoding="utf-8")) == [], file.name


def test_the_check_sees_a_stage_in_quotes() -> None:
    source = 'run.stage("1-a", compute)\nworkers.stage(run, f"2-{b}", jobs)\nrun.stage(Stage.A, compute, "first")'
    assert stages_in_quotes(source) == ["'1-a'", "f'2-{b}'"]


@pytest.mark.parametrize("app", ["phase2", "jepa", "tamiyo"])
def test_a_run_of_version_0_1_is_refused_with_a_sentence_and_left_as_it_was(
    app: str, tmp_path: Path, start_app: Callable[..., CompletedProcess[str]]
) -> None:
    shutil.copytree(RECORDED / app, tmp_path / app / "base")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    done = start_app(app, tmp_path, "--smoke", "--name", "base")
    assert done.returncode == 1
    assert "was made by version 0.1" in done.stderr
    assert "choose another --name, or delete the folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("app", "settings_type"), [("phase2", Phase2Settings), ("jepa", SteeringSettings), ("tamiyo", GrowthSettings)]
)
def test_settings_of_version_0_1_say_the_same_now_or_are_refused_by_name(
    app: str, settings_type: type[RunSettings]
) -> None:
    file = RECORDED / app / "config.yaml"
    recorded = yaml.safe_load(file.read_text())
    try:
        now = parse_settings(settings_type, ["--config", str(file)]).identity()
    except SystemExit as ended:
        for line in str(ended.code).splitlines():
            name = line.removeprefix(f"{file}: ").removesuffix(": there is no such setting; --help shows all")
            assert dotted(recorded, name) is not None
    else:
        assert same(recorded, now)


def dotted(settings: dict, name: str) -> object:
    for part in name.split("."):
        settings = settings[part]
    return settings


def same(then: object, now: object) -> bool:
    """Whether everything that was said then is said now; more may be."""
    if isinstance(then, dict) and isinstance(now, dict):
        return all(key in now and same(value, now[key]) for key, value in then.items())
    return then == now
