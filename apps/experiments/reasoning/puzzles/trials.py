"""One training of one reasoner and what became of it; the work that processes do for puzzles and ablations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from lab.jobs import Job
from lab.run import slug
from sightline.agents.reasoning import (
    AnyReasonerConfig,
    PuzzleSets,
    Trainer,
    TrainerConfig,
    TrainingReport,
    make_reasoner,
    puzzle_task,
    trace_puzzles,
)
from sightline.retrieval.jsonl import DurableLines, read_jsonl

MODEL = "model"
"""Folder of a trial's last model, in the trial's own folder."""


class Milestone(BaseModel):
    """A point of a training at which it is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: float | None = None
    """CPU minutes of training; None where steps decide."""
    steps: int | None = None
    """Optimiser steps."""


class Trial(BaseModel):
    """A training to be done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    """Name of what is tried, for tables."""
    seed: int
    """Of the weights, batches and exploration; all seeds have the same puzzles."""
    model: AnyReasonerConfig
    """Sizes."""
    trainer: TrainerConfig
    """Settings; its length is that of the milestones."""
    milestones: tuple[Milestone, ...]
    """When to judge."""

    @property
    def folder(self) -> str:
        """Name of the trial's folder."""
        return f"{slug(self.model.task)}-{slug(self.method)}-{self.seed}"


class TrialResult(BaseModel):
    """What a trial came to at one milestone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    method: str
    """As in the trial."""
    task: str
    """Name of the puzzles."""
    seed: int
    """As in the trial."""
    milestone: Milestone
    """Where it was judged."""
    report: TrainingReport
    """What the trainer says."""
    right: tuple[str, ...]
    """For each test puzzle, whether it was solved after each of 2 K segments, as 0 and 1."""
    raw_right: str
    """For each test puzzle, whether the weights that are not averaged solve it after K segments."""
    curve: tuple[tuple[float, int, float], ...]
    """Training seconds, steps, and share of validation puzzles solved after K segments, one for each evaluation."""

    def solved(self, step: int | None = None) -> NDArray[np.bool_]:
        """Return which test puzzles were solved after a segment, by default the K-th, [puzzles]."""
        puzzles = self.report.puzzles
        assert puzzles is not None
        index = (puzzles.segments if step is None else step) - 1
        return np.array([row[index] == "1" for row in self.right])

    def raw_solved(self) -> NDArray[np.bool_]:
        """Return the same after K segments with the weights that are not averaged."""
        return np.array([digit == "1" for digit in self.raw_right])


def make_puzzles(task: str, puzzles: int, held_out: int, seed: int, file: Path, done: Path) -> None:
    """Make the puzzles that all trials on a task share."""
    if not file.exists():
        PuzzleSets.sample(puzzle_task(task), puzzles=puzzles, held_out=held_out, seed=seed).write(file)
    DurableLines(done).append(b"{}")


def trial_job(trial: Trial, puzzles: Path, folder: Path) -> Job:
    """Return the job of a trial; its results go to `results.jsonl` in the trial's folder."""
    own = folder / trial.folder
    return Job(own / "results.jsonl", len(trial.milestones), run_trial, (trial, puzzles, own))


def run_trial(trial: Trial, puzzles: Path, folder: Path) -> None:
    """Train to each milestone in the order in which they are reached, going on where a stopped run left off."""
    sets = PuzzleSets.read(puzzles)
    results = DurableLines(folder / "results.jsonl")
    done = [result.milestone for result in read_jsonl(results.path, TrialResult)] if results.path.exists() else []
    left = [milestone for milestone in trial.milestones if milestone not in done]
    while left:
        steps = [milestone.steps for milestone in left if milestone.steps is not None]
        minutes = [milestone.minutes for milestone in left if milestone.minutes is not None]
        lengths: dict[str, Any] = {"steps": min(steps, default=None), "minutes": min(minutes, default=None)}
        config = trial.trainer.model_copy(update=lengths | {"seed": trial.seed})
        trainer = Trainer(make_reasoner(trial.model.model_copy(update={"seed": trial.seed})), sets, config, out=folder)
        report = trainer.fit()
        reached = [
            milestone
            for milestone in left
            if (milestone.steps is not None and milestone.steps <= trainer.step)
            or (milestone.minutes is not None and 60 * milestone.minutes <= trainer.seconds)
        ]
        lines = [_result(trial, milestone, trainer, sets, config, report, folder) for milestone in reached]
        results.append(*(line.model_dump_json().encode() for line in lines))
        left = [milestone for milestone in left if milestone not in reached]


def _result(
    trial: Trial,
    milestone: Milestone,
    trainer: Trainer,
    sets: PuzzleSets,
    config: TrainerConfig,
    report: TrainingReport,
    folder: Path,
) -> TrialResult:
    # A trainer that goes on from the checkpoint has the weights that are not averaged.
    raw = Trainer(make_reasoner(trial.model.model_copy(update={"seed": trial.seed})), sets, config, out=folder).model
    dtype = getattr(torch, report.precision)
    trace = trace_puzzles(trainer.model, sets.task, sets.test, 2 * config.segments, dtype=dtype)
    raw_trace = trace_puzzles(raw, sets.task, sets.test, config.segments, dtype=dtype)
    evaluations = [row for row in trainer.rows if row["kind"] == "evaluation"]
    return TrialResult(
        method=trial.method,
        task=sets.task.name,
        seed=trial.seed,
        milestone=milestone,
        report=report,
        right=tuple(_digits(row) for row in trace.right),
        raw_right=_digits(raw_trace.right[:, -1]),
        curve=tuple((row["seconds"], row["step"], row["exact"]) for row in evaluations),
    )


def read_results(folder: Path, trials: Sequence[Trial]) -> list[TrialResult]:
    """Return the results of trials, in the order of trials and then of milestones reached."""
    return [result for trial in trials for result in read_jsonl(folder / trial.folder / "results.jsonl", TrialResult)]


def _digits(values: NDArray[np.bool_]) -> str:
    return "".join("1" if value else "0" for value in values)
