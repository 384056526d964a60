from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.reasoning.puzzles.trials import Milestone, Trial, TrialResult, make_puzzles, read_results, run_trial
from sightline.agents.reasoning import (
    Addition,
    PuzzleSets,
    TrainerConfig,
    TRMConfig,
    load_reasoner,
    trace_puzzles,
)
from sightline.retrieval.jsonl import read_jsonl


def prepared(tmp_path: Path, *milestones: Milestone) -> tuple[Trial, Path]:
    puzzles = tmp_path / "addition-1.safetensors"
    make_puzzles("addition-1", 200, 10, 0, puzzles, tmp_path / "done")
    trial = Trial(
        method="TRM, small",
        seed=1,
        model=TRMConfig.for_task(Addition(1), width=16, layers=1),
        trainer=TrainerConfig(segments=2, batch_size=8, precision="float32"),
        milestones=milestones,
    )
    return trial, puzzles


def test_each_milestone_is_judged_once_in_the_order_in_which_it_is_reached(tmp_path: Path) -> None:
    late, early = Milestone(steps=30), Milestone(steps=12)
    trial, puzzles = prepared(tmp_path, late, early)
    folder = tmp_path / trial.folder
    run_trial(trial, puzzles, folder)
    results = read_results(tmp_path, [trial])
    assert [result.milestone for result in results] == [early, late]
    assert [result.report.steps for result in results] == [12, 30]
    run_trial(trial, puzzles, folder)
    assert read_results(tmp_path, [trial]) == results


def test_a_milestone_in_minutes_goes_on_from_one_in_steps(tmp_path: Path) -> None:
    trial, puzzles = prepared(tmp_path, Milestone(minutes=0.01), Milestone(steps=3))
    run_trial(trial, puzzles, tmp_path / trial.folder)
    first, second = read_results(tmp_path, [trial])
    assert first.report.steps == 3
    assert second.report.seconds >= 0.6
    assert second.report.steps > 3


def test_the_puzzles_solved_are_those_of_the_saved_model(tmp_path: Path) -> None:
    trial, puzzles = prepared(tmp_path, Milestone(steps=60))
    folder = tmp_path / trial.folder
    run_trial(trial, puzzles, folder)
    (result,) = read_jsonl(folder / "results.jsonl", TrialResult)
    sets = PuzzleSets.read(puzzles)
    trace = trace_puzzles(load_reasoner(folder / "model"), sets.task, sets.test, 4)
    assert (result.solved() == trace.right[:, 1]).all()
    assert (result.solved(4) == trace.right[:, 3]).all()
    assert result.report.puzzles is not None
    assert np.mean(result.solved()) == result.report.puzzles.exact
    assert np.mean(result.raw_solved()) == result.report.puzzles.raw_exact
