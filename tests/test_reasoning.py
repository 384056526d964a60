"""The experiment on reasoning end to end, in small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_experiment_makes_its_chapter_and_a_selection_goes_on_from_the_same_run(
    tmp_path: Path, run_app: Callable[..., str]
) -> None:
    shown = run_app("reasoning", tmp_path, "--smoke", "--only", "puzzles")
    folder = tmp_path / "reasoning" / "smoke"
    assert set(json.loads((folder / "results.json").read_text())) == {"puzzles"}
    assert "A smoke run" in shown
    run_app("reasoning", tmp_path, "--smoke")
    results = json.loads((folder / "results.json").read_text())
    assert {"puzzles", "ablations", "hybrid", "players"} <= set(results)
    assert {row["method"] for row in results["puzzles"]} >= {"TRM", "HRM", "plain, equal parameters", "TRM, K = 1"}
    page = (folder / "report.html").read_text()
    for heading in ("Thinking longer at test time", "What of TRM does the work", "TRM with search", "as players"):
        assert heading in page


@pytest.mark.slow
def test_a_student_is_taught_by_search_and_shops_before_and_after(tmp_path: Path, run_app: Callable[..., str]) -> None:
    run_app("reasoning", tmp_path, "--smoke", "--only", "teaching")
    folder = tmp_path / "reasoning" / "smoke"
    assert set(json.loads((folder / "results.json").read_text())["teaching"]) == {"before", "after"}
    assert "Search as a teacher" in (folder / "report.html").read_text()
