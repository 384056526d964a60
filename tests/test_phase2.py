"""The apps end to end, in small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

GOALS = ["--training-goals", "16", "--validation-goals", "4", "--test-goals", "4"]
TINY = ["--smoke", *GOALS, "--no-ablations", "--encoder", "hashing"]


def test_phase1_writes_its_three_accuracies_and_a_report(tmp_path: Path, run_app: Callable[..., str]) -> None:
    shown = run_app("phase1", tmp_path, "--smoke", "--training-goals", "16")
    for name in ("model_acc", "baseline_last_obs_acc", "majority_class_baseline"):
        assert name in shown
    assert "<img" in (tmp_path / "phase1" / "smoke" / "report.html").read_text()


def test_phase2_prints_the_table_and_writes_everything(tmp_path: Path, run_app: Callable[..., str]) -> None:
    shown = run_app("phase2", tmp_path, *TINY)
    folder = tmp_path / "phase2" / "smoke"
    results = json.loads((folder / "results.json").read_text())
    agents = [row["agent"] for row in results["agents"]]
    assert agents == [
        "baseline_react",
        "baseline_rag",
        "recurrent_state_gated_zero_shot",
        "recurrent_state_gated_expert_pages",
        "recurrent_state_gated_trained",
        "recurrent_state_gated_steered",
        "oracle_gated",
        "random_gated",
        "first_hit_full_page",
        "rule_full_page",
        "lexical_full_page",
    ]
    assert all(row["errors"] == 0 for row in results["agents"])
    for name in agents:
        assert name in shown
    written = {path.name for path in folder.iterdir()}
    assert written >= {"config.yaml", "manifest.json", "metrics.jsonl", "results.csv", "results.md", "report.html"}
    notice = "A smoke run"
    assert all(
        notice in text for text in (shown, *((folder / name).read_text() for name in ("report.html", "results.md")))
    )
    assert "undecided" in results["claims"][0]  # four goals decide nothing, and the report says so


@pytest.mark.slow
def test_a_full_study_judges_short_long_and_control_pages_by_its_plan(
    tmp_path: Path, run_app: Callable[..., str]
) -> None:
    shown = run_app("phase2", tmp_path, *TINY, "--study", "full", "--fresh-goals", "6", "--student-goals", "2")
    study = json.loads((tmp_path / "phase2" / "smoke" / "results.json").read_text())["study"]
    assert study["plan"] in " ".join(shown.split())
    assert [(one["pages"], one["asked"]) for one in study["planned"]] == [
        ("short", "difference"),
        ("short", "no loss"),
        *[("short", "difference")] * 2,
        *[("control", "tie")] * 2,
        *[("control", "difference")] * 2,
        ("long", "difference"),
        ("long", "no loss"),
        *[("long", "difference")] * 2,
    ]
    assert all(one["outcome"] == "not shown" for one in study["planned"])  # six goals show nothing
    assert len(study["pages"]["long"]["agents"]) == 5 + 4 * 10  # every method with every k and budget
    assert "trained gate, budget 120" in (tmp_path / "phase2" / "smoke" / "report.html").read_text()
    assert (tmp_path / "phase2" / "smoke-long" / "report.html").exists()


@pytest.mark.slow
def test_the_student_can_be_trained_anew(tmp_path: Path, run_app: Callable[..., str]) -> None:
    run_app(
        "phase2", tmp_path, *TINY, "--student", "train", "--student-training.steps", "3", "--student-data.views", "1"
    )
    student = tmp_path / "phase2" / "smoke" / "stages" / "5-student" / "model"
    assert json.loads((student / "report.json").read_text())["steps"] == 3
    assert "--student train" in (student / "README.md").read_text()


def test_a_flag_that_does_not_exist_and_a_bad_file_are_explained(
    tmp_path: Path, start_app: Callable[..., CompletedProcess[str]]
) -> None:
    typo = start_app("phase2", tmp_path, "--tset-goals", "4")
    assert typo.returncode != 0
    assert "test-goals" in typo.stdout + typo.stderr
    file = tmp_path / "settings.yaml"
    file.write_text("phase2:\n  top_kk: 3\n")
    unknown = start_app("phase2", tmp_path, "--config", str(file))
    assert unknown.returncode != 0
    assert "phase2.top_kk" in unknown.stdout + unknown.stderr
