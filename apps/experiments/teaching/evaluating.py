"""Every student plays the same goals and moments with the same noise, before and after training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.teaching.parts import Part, chunks, spread
from experiments.teaching.settings import MeasureSettings, StudentSettings
from experiments.teaching.student import open_student
from experiments.teaching.world import goal_tasks, open_shop, split_goals, test_tasks
from lab.jobs import Workers
from lab.run import RunDirectory
from sightline.agents.evaluation import sign_flip_test
from sightline.teachability import LabelledSnapshot
from sightline.teachability.evaluation import (
    EpisodeRow,
    OverallRow,
    QuadrantRow,
    RetentionRow,
    StucknessRow,
    TransferRow,
    choose_panel,
    choose_retention,
    merge_models,
    play_panel,
    play_tasks,
    summarise,
    summarise_quadrants,
    summarise_retention,
    summarise_stuckness,
    transfer_matrix,
)
from sightline.teachability.records import Record
from sightline.teachability.tables import write_csv
from sightline.teachability.training_records import RunPlan
from sightline.webshop_env import ShopState

BASE = "base"
CHOOSING, SCORING = (0, 1, 2), (3, 4, 5)
"""Noise that chooses the tasks of retention, and noise that scores them."""

_GOALS_A_PART = 40


class Played(Record):
    """All that one student played."""

    rows: tuple[EpisodeRow, ...]


@dataclass(frozen=True)
class Suite:
    """Episodes of all students, the base among them."""

    rows: Sequence[EpisodeRow]
    """All of them."""
    retention: Sequence[int]
    """Goals that the base could do."""
    panel: Sequence[LabelledSnapshot]
    """Moments that were played on from."""

    def of(self, names: Collection[str]) -> list[EpisodeRow]:
        """Return the rows of some students."""
        wanted = set(names)
        return [row for row in self.rows if row.model in wanted]


def play_suite(
    settings: MeasureSettings,
    run: RunDirectory,
    workers: Workers,
    stage: str,
    adapters: Mapping[str, Path],
    labelled: Sequence[LabelledSnapshot],
    *,
    extra_goals: Sequence[int] = (),
) -> Suite:
    """Let the base and students with adapters play.

    Args:
        settings: settings of the evaluation.
        run: run that it belongs to.
        workers: processes that play.
        stage: stage that the episodes are kept in.
        adapters: folder of each student's adapter, by name.
        labelled: labelled moments; those of the panel's split are played on from.
        extra_goals: goals beside the test goals among which retention tasks are looked for.
    """
    panel = choose_panel([one for one in labelled if one.split == "panel"], settings.panel_moments)
    tests = [task.number for task in test_tasks(open_shop(settings), settings.test_goals)]
    choosing = [*tests, *(goal for goal in extra_goals if goal not in tests)]
    parts = [Part(f"choose{goals[0]}", 1, choose_part, (settings, goals)) for goals in chunks(choosing, _GOALS_A_PART)]
    before = [row for part in spread(run, workers, stage, parts, Played, "choosing") for row in part.rows]
    retention = choose_retention(before, base=BASE, seeds=CHOOSING)
    students = {BASE: None} | dict(adapters)
    parts = [
        Part(name, 1, play_part, (settings, name, folder, tuple(panel), tuple(retention)))
        for name, folder in students.items()
    ]
    played = spread(run, workers, stage, parts, Played)
    return Suite([row for one in played for row in one.rows], retention, panel)


def choose_part(settings: MeasureSettings, goals: Sequence[int], _: Path) -> list[Played]:
    """Play goals with the base and the noise that chooses, in a worker."""
    dynamics, learner = open_shop(settings), open_student(settings)[1]
    tasks = goal_tasks(dynamics, goals)
    return [Played(rows=tuple(play_tasks(dynamics, learner.base, tasks, model=BASE, seeds=CHOOSING, greedy=False)))]


def play_part(
    settings: MeasureSettings,
    name: str,
    adapter: Path | None,
    panel: Sequence[LabelledSnapshot],
    retention: Sequence[int],
    _: Path,
) -> list[Played]:
    """Let one student play everything, in a worker."""
    dynamics, learner = open_shop(settings), open_student(settings)[1]
    policy = learner.base if adapter is None else learner.load(adapter, name)
    tasks, kept = test_tasks(dynamics, settings.test_goals), goal_tasks(dynamics, retention)
    known: dict[ShopState, NDArray[np.float64]] = {}
    rows = play_tasks(dynamics, policy, tasks, model=name, seeds=settings.evaluation_seeds, known=known)
    rows += play_panel(dynamics, policy, panel, model=name, seeds=settings.evaluation_seeds, known=known)
    rows += play_tasks(
        dynamics, policy, kept, model=name, seeds=SCORING, greedy=False, dataset="retention", known=known
    )
    return [Played(rows=tuple(rows))]


@dataclass(frozen=True)
class Summaries:
    """The five tables of an evaluation."""

    overall: Sequence[OverallRow]
    """Success from first pages, sampled."""
    greedy: Sequence[OverallRow]
    """The same of the greedy policy."""
    quadrants: Sequence[QuadrantRow]
    """Success from the panel's moments."""
    transfer: Sequence[TransferRow]
    """What training on one quadrant does to another."""
    retention: Sequence[RetentionRow]
    """What is kept of what the base could do."""
    stuckness: Sequence[StucknessRow]
    """Going in circles."""


def cell_of(run_id: str) -> str:
    """Return the name of a run without its seed."""
    return run_id.rpartition("_s")[0]


def summarise_suite(suite: Suite, plans: Mapping[str, RunPlan], names: Collection[str], seed: int) -> Summaries:
    """Return the tables of some students and the base, training seeds of a cell together.

    Args:
        suite: what was played.
        plans: plans of the training matrix, by run.
        names: students to show.
        seed: seed of the bootstraps.
    """
    cells = {BASE: BASE} | {name: cell_of(name) or name for name in names}
    rows = suite.of(cells)
    merged = merge_models(rows, cells)
    matrix = {name: plan for name, plan in plans.items() if name in cells}
    return Summaries(
        summarise(merged, base=BASE, test=sign_flip_test, seed=seed),
        summarise(merged, base=BASE, test=sign_flip_test, greedy=True, seed=seed),
        summarise_quadrants(merged),
        transfer_matrix(rows, matrix, base=BASE, seed=seed),
        summarise_retention(merged, suite.retention, base=BASE, chosen_by=CHOOSING, seed=seed),
        summarise_stuckness(merged),
    )


def write_summaries(folder: Path, found: Summaries) -> None:
    """Write the five files of an evaluation under the names that such files have."""
    write_csv(folder / "overall_task_results.csv", [*found.overall, *found.greedy], list(OverallRow.model_fields))
    write_csv(folder / "per_quadrant_results.csv", found.quadrants, list(QuadrantRow.model_fields))
    write_csv(folder / "transfer_matrix.csv", found.transfer, list(TransferRow.model_fields))
    write_csv(folder / "retention_results.csv", found.retention, list(RetentionRow.model_fields))
    write_csv(folder / "stuckness_results.csv", found.stuckness, list(StucknessRow.model_fields))


def development_goals(settings: StudentSettings, count: int) -> list[int]:
    """Return the first goals of the development split, for commands that have no pool of their own."""
    return list(split_goals(open_shop(settings), "dev")[:count])
