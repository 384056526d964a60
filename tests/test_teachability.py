"""The experiment with teachable moments end to end, in small, and its stages alone on files from elsewhere."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from experiments.teaching.settings import TeachingSettings
from lab.settings import parse_settings

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "apps" / "experiments" / "teaching").glob("*.yaml"))
TABLES = (
    "overall_task_results",
    "per_quadrant_results",
    "transfer_matrix",
    "retention_results",
    "stuckness_results",
)
STAGES = {
    "03-episodes": "rollouts.jsonl",
    "04-moments": "failure_snapshots.jsonl",
    "05-labels": "labeled_snapshots.jsonl",
    "07-micro": "micro_training_results.json",
    "08-matrix": "training_summary.json",
    "10-predictor": "predictor",
    "12-recovery": "recovery_trajectories.jsonl",
}


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_the_example_settings_are_settings(file: Path) -> None:
    settings = parse_settings(TeachingSettings, ["--config", str(file)])
    assert settings.name != "default"


def test_there_is_an_example_for_each_use() -> None:
    assert [file.name for file in EXAMPLES] == ["default.yaml", "gpu.yaml", "smoke.yaml"]


@pytest.mark.slow
def test_the_experiment_answers_seven_hypotheses_and_its_stages_run_alone(
    tmp_path: Path, run_app: Callable[..., str]
) -> None:
    shown = run_app("teachability", tmp_path, "--smoke")
    folder = tmp_path / "teachability" / "smoke"
    results = json.loads((folder / "results.json").read_text())
    assert list(results["verdicts"]) == [f"H{number}" for number in range(1, 8)]
    assert {one["verdict"] for one in results["verdicts"].values()} <= {"supported", "not supported", "cannot tell"}
    assert results["lesson"] in shown.replace("\n", " ")
    for stage, name in STAGES.items():
        assert (folder / "stages" / stage / name).exists(), name
    for name in TABLES:
        rows = list(csv.DictReader((folder / "evaluation" / f"{name}.csv").read_text().splitlines()))
        assert rows or name == "transfer_matrix"
        assert all(row["model"] for row in rows)
    for name in ("selection_summary.json", "selection_summary.csv", "random.csv", "entropy.csv"):
        assert (folder / "selection" / name).exists()
    page = (folder / "report.html").read_text()
    assert "A smoke run" in page
    assert page.count("<img") >= 3

    labelled = folder / "stages" / "05-labels" / "labeled_snapshots.jsonl"
    run_app("teachability", tmp_path, "predict", "--labelled", str(labelled), "--kind", "ridge")
    predictions = tmp_path / "teachability" / "predict" / "stages" / "10-predictor"
    assert (predictions / "predictor" / "predictor.json").exists()
    flags = ["--labelled", str(labelled), "--expert", "teacher", "--max-trajectories", "3"]
    run_app("teachability", tmp_path, "recover", *flags)
    recovered = tmp_path / "teachability" / "recover" / "stages" / "12-recovery" / "recovery_trajectories.jsonl"
    assert len(recovered.read_text().splitlines()) == 3


def test_a_file_that_is_not_there_is_named(tmp_path: Path, start_app: Callable[..., CompletedProcess[str]]) -> None:
    done = start_app("teachability", tmp_path, "predict", "--labelled", str(tmp_path / "none.jsonl"))
    assert done.returncode == 1
    assert "none.jsonl" in done.stderr
    assert "Traceback" not in done.stderr
