from __future__ import annotations

import json
from pathlib import Path

import pytest

from sightline.agents.runs import RunDirectory, RunError, write_metrics


def test_a_stage_is_computed_once(tmp_path: Path) -> None:
    calls = []

    def compute(folder: Path) -> None:
        calls.append(1)
        (folder / "value.txt").write_text("7")

    for _ in range(2):
        folder = RunDirectory(tmp_path / "run", {"seed": 0}).stage("a", compute)
        assert (folder / "value.txt").read_text() == "7"
    assert len(calls) == 1


def test_a_stage_that_fails_leaves_nothing_and_runs_again(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", {"seed": 0})

    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.stage("a", fail)
    assert not (run.path / "stages" / "a").exists()
    folder = RunDirectory(tmp_path / "run", {"seed": 0}).stage("a", lambda folder: (folder / "whole.txt").touch())
    assert [file.name for file in folder.iterdir()] == ["whole.txt"]


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "run", {"seed": 0, "top_k": 5})
    with pytest.raises(RunError, match=r"top_k: 5 then, 3 now.*--name"):
        RunDirectory(tmp_path / "run", {"seed": 0, "top_k": 3})


def test_finish_gathers_the_metrics_of_the_stages(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", {})
    run.stage("a", lambda folder: write_metrics(folder, [{"loss": 1.0}, {"loss": 0.5}]))
    run.finish({"success": 0.5}, seeds=[0])
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"stage": "a", "loss": 1.0}, {"stage": "a", "loss": 0.5}]
    assert json.loads((run.path / "results.json").read_text()) == {"success": 0.5}
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["seeds"] == [0]
    assert set(manifest["stage_seconds"]) == {"a"}
