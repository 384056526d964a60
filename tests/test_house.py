"""The plan of the house: sizes of files, functions and folders, the language of docstrings, where behaviours live."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("apps/**/*.py")])
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def functions(file: Path) -> Iterator[FUNCTION]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines(function: FUNCTION) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def test_no_file_holds_more_than_400_lines() -> None:
    files = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in SOURCES}
    assert {name: count for name, count in files.items() if count > 400} == {}


def test_an_app_is_a_script_of_50_to_120_lines() -> None:
    counts = {app.name: len(app.read_text(encoding="utf-8").splitlines()) for app in (ROOT / "apps").glob("*.py")}
    assert counts
    assert {name: count for name, count in counts.items() if not 50 <= count <= 120} == {}


def test_every_package_brings_what_its_job_in_ci_runs_with() -> None:
    for project in sorted((ROOT / "packages").glob("*/pyproject.toml")):
        needed = tomllib.loads(project.read_text(encoding="utf-8"))["dependency-groups"]["dev"]
        names = {re.split(r"[\s\[<>=]", each)[0] for each in needed if isinstance(each, str)}
        assert {"pytest", "pytest-cov", "pytest-timeout"} <= names, project


def test_every_trainer_has_a_job_in_ci_that_runs_its_tests() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    run = set(re.findall(r"tests: \"?([\w/.-]+\.py)", workflow))
    assert all((ROOT / name).is_file() for name in run)
    tests = [*(ROOT / "packages").glob("*/tests/**/test_*.py"), *(ROOT / "tests").glob("test_*.py")]
    brought = [path for path in tests if _is_skipped_without(path, "verl|verifiers|gem|ray.rllib")]
    assert {path.relative_to(ROOT).as_posix() for path in brought} <= run


def _is_skipped_without(path: Path, modules: str) -> bool:
    """Tell whether tests of a file are skipped where one of some modules is not installed."""
    asked = rf"(find_spec|importorskip)\(\"({modules})\"\)"
    return re.search(asked, path.read_text(encoding="utf-8")) is not None


def test_no_function_is_longer_than_70_lines() -> None:
    found = [(file, function) for file in SOURCES for function in functions(file)]
    long = {f"{file.relative_to(ROOT)}: {function.name}": lines(function) for file, function in found}
    assert {name: count for name, count in long.items() if count > 70} == {}


THIRD_PERSON = re.compile(r"[A-Z][a-z]+(?<!s)s")
ROLE = re.compile(r":(?:class|func|meth|mod|attr|exc|data):`")
ARGUMENT_WITHOUT_NOUN = re.compile(r"^\s+[a-z_]+: (?:of|in|by|for|to|at|as|from|with|on|see|given|made) ", re.M)


def faults_of_language(function: FUNCTION) -> list[str]:
    text = ast.get_docstring(function) or ""
    first = text.split(maxsplit=1)[0].rstrip(",.:;") if text else ""
    is_property = any("property" in ast.dump(decorator) for decorator in function.decorator_list)
    faults = []
    if THIRD_PERSON.fullmatch(first) and not is_property:
        faults.append(f"begins with {first!r}: say what to do, not what it does")
    if ROLE.search(text):
        faults.append("holds a Sphinx role")
    arguments = text.partition("Args:\n")[2].partition("\n\n")[0]
    faults += [
        f"argument begins without a noun: {match.group().strip()}"
        for match in ARGUMENT_WITHOUT_NOUN.finditer(arguments)
    ]
    return faults


def test_docstrings_command_and_begin_arguments_with_a_noun() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{function.lineno}: {function.name}: {fault}"
        for file in SOURCES
        for function in functions(file)
        for fault in faults_of_language(function)
    ]
    assert found == []


def test_fields_are_described_where_they_stand() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {node.name}.{field.target.id}"
        for file in SOURCES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if f"\n    {field.target.id}: " in (ast.get_docstring(node) or "").partition("Attributes:\n")[2]
    ]
    assert not found, "write what a field is as a docstring under it"


def test_the_check_of_language_sees_each_fault() -> None:
    (function,) = ast.parse(
        'def f(seed):\n    """Draws :class:`X`.\n\n    Args:\n        seed: of the draw.\n    """\n'
    ).body
    assert isinstance(function, ast.FunctionDef)
    assert len(faults_of_language(function)) == 3


BEHAVIOURS = [
    ("Where are chunks of a text cut?", "retrieval/text/chunking.py", "chunk_text"),
    ("Where is a text hashed into a vector?", "retrieval/text/hashing.py", "encode"),
    ("Where does a store take documents in?", "retrieval/store/store.py", "add"),
    ("Where is a metadata filter parsed?", "retrieval/store/filters.py", "parse_filter"),
    ("Where are two rankings fused?", "retrieval/ranking/fusion.py", "reciprocal_rank_fusion"),
    ("Where is a page's chunk labelled as the clicked one?", "retrieval/conditioned/examples.py", "label_chunks"),
    ("Where is the state-conditioned retriever trained?", "retrieval/conditioned/training.py", "train_retriever"),
    ("Where is a file written whole or not at all?", "retrieval/files.py", "atomic_file"),
    ("Where is an episode played?", "agents/rollout/rollout.py", "roll_out"),
    ("Where is a chat model's answer read?", "agents/chat/answers.py", "parse_choice"),
    ("Where is the next-action model trained?", "agents/state/training.py", "train_next_action"),
    ("Where is the student trained?", "agents/student/training.py", "train_student"),
    ("Where is Holm applied?", "agents/evaluation/significance.py", "holm"),
    ("Where is a bootstrap interval computed?", "agents/evaluation/intervals.py", "bootstrap_interval"),
    ("Where is the power of a comparison computed?", "agents/evaluation/power.py", "mcnemar_power"),
    ("Where is the terminal reward computed?", "webshop_env/rules/reward.py", "score_purchase"),
    ("Where does a click change the shop's state?", "webshop_env/rules/shop.py", "act"),
    ("Where is a page rendered as text?", "webshop_env/rules/render.py", "render_text"),
    ("Where are goals built?", "webshop_env/goals/goals.py", "build_goals"),
    ("Where are products ranked by BM25?", "webshop_env/search/ranking.py", "best_documents"),
    ("Where is a snapshot read back?", "webshop_env/episodes/snapshot.py", "decode"),
    ("Where is what can still be earned computed?", "webshop_env/episodes/reachable_rewards.py", "reachable_rewards"),
    ("Where is a catalogue made up?", "webshop_env/catalogue/generating.py", "generate_products"),
    ("Where is a data set split without leaks?", "jepa/data/splits.py", "split_by_components"),
    ("Where is InfoNCE computed?", "jepa/losses/losses.py", "batch_info_nce"),
    ("Where is confidence calibrated?", "jepa/explaining/calibration.py", "fit_calibrator"),
    ("Where are advantages estimated?", "tamiyo_policy/ppo/advantages.py", "generalised_advantages"),
    ("Where is the growth score computed?", "tamiyo_policy/growth/rewards.py", "growth_score"),
    ("Where are a host's kernels compiled?", "tamiyo_policy/hosts/compiled/kernels.py", "compiled"),
    ("Where is a growth policy trained?", "tamiyo_policy/experiment/training.py", "train_policy"),
]


@pytest.mark.parametrize(("question", "path", "name"), BEHAVIOURS)
def test_a_stranger_finds_a_behaviour_by_the_names_of_folders(question: str, path: str, name: str) -> None:
    (file,) = ROOT.glob(f"packages/*/src/sightline/{path}")
    assert name in {function.name for function in functions(file)}, question


def test_the_table_asks_for_thirty_behaviours_in_every_package() -> None:
    assert len(BEHAVIOURS) >= 30
    assert {path.split("/")[0] for _, path, _ in BEHAVIOURS} >= {"agents", "jepa", "retrieval", "tamiyo_policy"}
