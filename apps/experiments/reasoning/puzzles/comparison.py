"""E1: TRM and HRM against plain networks of equal parameters and of equal compute, at equal CPU seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.reasoning.puzzles.trials import Milestone, Trial, TrialResult, make_puzzles, read_results, trial_job
from experiments.reasoning.settings import PuzzleSettings, ReasoningSettings, Stage
from lab.jobs import Job, Workers
from lab.run import RunDirectory
from sightline.agents.reasoning import HRMConfig, PlainConfig, TrainerConfig, TRMConfig, puzzle_task

TRM_NAME, HRM_NAME = "TRM", "HRM"
PLAIN, DEEP = "plain, equal parameters", "plain, equal compute"


def depth_name(segments: int) -> str:
    """Return the name of TRM trained with at most so many segments."""
    return f"{TRM_NAME}, K = {segments}"


def puzzle_stage(settings: ReasoningSettings, run: RunDirectory, workers: Workers) -> Path:
    """Make the puzzles of all tasks and return the folder that holds them, a file for each."""

    def jobs(folder: Path) -> Sequence[Job]:
        return [
            Job(
                folder / f"{task}.done",
                1,
                make_puzzles,
                (
                    task,
                    part.puzzles,
                    part.held_out,
                    settings.seed,
                    folder / f"{task}.safetensors",
                    folder / f"{task}.done",
                ),
            )
            for task in (*part.harder, part.task)
        ]

    part = settings.puzzles
    return workers.stage(run, Stage.MAKE_PUZZLES, jobs)


def comparison_trials(part: PuzzleSettings) -> list[Trial]:
    """Return the trainings of E1, the longest first."""
    milestones = (Milestone(minutes=part.harder_minutes),)
    trials = [
        Trial(method=TRM_NAME, seed=seed, model=model, trainer=trainer, milestones=milestones)
        for seed in part.harder_seeds
        for task in part.harder
        for model, trainer in (_methods(part, task)[TRM_NAME],)
    ]
    milestones = (Milestone(minutes=part.minutes),)
    trials += [
        Trial(method=method, seed=seed, model=model, trainer=trainer, milestones=milestones)
        for seed in part.seeds
        for method, (model, trainer) in _methods(part, part.task).items()
    ]
    model, trainer = _methods(part, part.task)[TRM_NAME]
    trials += [
        Trial(
            method=depth_name(segments),
            seed=part.seeds[0],
            model=model,
            trainer=trainer.model_copy(update={"segments": segments}),
            milestones=milestones,
        )
        for segments in part.depths
    ]
    return trials


def compare_stage(settings: ReasoningSettings, run: RunDirectory, workers: Workers, puzzles: Path) -> list[TrialResult]:
    """Train and judge all methods; each trial's model stays in its folder."""
    trials = comparison_trials(settings.puzzles)

    def jobs(folder: Path) -> Sequence[Job]:
        return [trial_job(trial, puzzles / f"{trial.model.task}.safetensors", folder) for trial in trials]

    return read_results(workers.stage(run, Stage.COMPARE, jobs), trials)


def _methods(part: PuzzleSettings, task: str) -> dict[str, tuple[TRMConfig | HRMConfig | PlainConfig, TrainerConfig]]:
    """Return the model and the trainer of each method."""
    trm = TRMConfig.for_task(puzzle_task(task))
    # A plain network has nothing to carry on, so it takes one segment, and a new puzzle each time.
    once = part.trainer.model_copy(update={"segments": 1})
    return {
        TRM_NAME: (trm, part.trainer),
        HRM_NAME: (HRMConfig.for_task(puzzle_task(task)), part.trainer),
        PLAIN: (PlainConfig.equal_parameters(trm), once),
        DEEP: (PlainConfig.equal_compute(trm), once),
    }
