"""E2: TRM with one part left out, at equal compute and at equal updates; and puzzles with hardly a cell empty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.reasoning.puzzles.trials import Milestone, Trial, TrialResult, read_results, trial_job
from experiments.reasoning.settings import ReasoningSettings, Stage
from lab.jobs import Job, Workers
from lab.run import RunDirectory
from sightline.agents.evaluation import Interval, wilson_interval
from sightline.agents.reasoning import PuzzleSets, TRMConfig, leave_empty, load_reasoner, puzzle_task, trace_puzzles

BASE = "TRM"
NO_AVERAGE = "no averaged weights"
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no deep supervision": ({}, {"supervision": "last"}),
    "one-step gradient": ({"gradient": "one_step"}, {}),
    "no re-injection": ({"reinject": False}, {}),
    "n = 1": ({"updates": 1}, {}),
    "halting off": ({}, {"halting": False}),
    "no full-depth share": ({}, {"full_depth": 0.0}),
}
"""What is changed in the model and in the trainer, by the name of what is left out."""

EMPTY_CELLS = (1, 2, 4)


def ablation_trials(settings: ReasoningSettings) -> list[Trial]:
    """Return the trainings of E2, the longest first."""
    part = settings.ablations
    model = TRMConfig.for_task(puzzle_task(settings.puzzles.task))
    milestones = (Milestone(minutes=part.minutes), Milestone(steps=part.steps))
    return [
        Trial(
            method=method,
            seed=seed,
            model=model.model_copy(update=of_model),
            trainer=settings.puzzles.trainer.model_copy(update=of_trainer),
            milestones=milestones,
        )
        for method, (of_model, of_trainer) in (VARIANTS | {BASE: ({}, {})}).items()
        for seed in part.seeds
    ]


def ablate_stage(settings: ReasoningSettings, run: RunDirectory, workers: Workers, puzzles: Path) -> list[TrialResult]:
    """Train and judge all variants."""
    trials = ablation_trials(settings)

    def jobs(folder: Path) -> Sequence[Job]:
        return [trial_job(trial, puzzles / f"{trial.model.task}.safetensors", folder) for trial in trials]

    return read_results(workers.stage(run, Stage.ABLATE, jobs), trials)


def easy_rates(model: Path, puzzles: Path, segments: int, seed: int) -> dict[int, Interval]:
    """Return the share of test puzzles that a model solves when all but so many of their empty cells are filled in.

    Args:
        model: folder of a saved reasoner.
        puzzles: file of the puzzles.
        segments: K.
        seed: seed of the cells that stay empty, the same for all models.
    """
    sets = PuzzleSets.read(puzzles)
    reasoner = load_reasoner(model)
    rates = {}
    for count in EMPTY_CELLS:
        easier = leave_empty(sets.task, sets.test, count, np.random.default_rng(np.random.SeedSequence((seed, count))))
        solved = trace_puzzles(reasoner, sets.task, easier, segments).right[:, -1]
        rates[count] = wilson_interval(int(solved.sum()), len(solved))
    return rates
