"""Single stages of the experiment, on files from elsewhere; each is a run of its own, which resumes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.teaching.settings import (
    EvaluateSettings,
    PredictSettings,
    RecoverSettings,
    SelectSettings,
    Stage,
    StudentSettings,
    TipStudentSettings,
    TrainRecoverySettings,
)
from lab.main import conclude, start
from lab.report import Report, Section
from lab.run import RunDirectory
from lab.settings import RunSettings
from sightline.agents import Table
from sightline.teachability import LabelledSnapshot
from sightline.teachability.jsonl import RecordError, read_jsonl, write_jsonl

APP = "teachability"
_REPLAY_GOALS = 200


def run_command(name: str) -> None:
    """Run the stage that the command line describes; what is wrong with a file is printed, and ends the program."""
    commands: dict[str, tuple[type[RunSettings], Callable[[Any, RunDirectory], None]]] = {
        "predict": (PredictSettings, predict),
        "select": (SelectSettings, select),
        "recover": (RecoverSettings, recover),
        "train-recovery": (TrainRecoverySettings, train_recovery),
        "evaluate": (EvaluateSettings, evaluate),
        "tip-student": (TipStudentSettings, tip_student),
    }
    settings_type, command = commands[name]
    settings, run = start(APP, settings_type)
    try:
        command(settings, run)
    except (FileNotFoundError, RecordError) as error:
        sys.exit(f"{name}: {error}")


def predict(settings: PredictSettings, run: RunDirectory) -> None:
    """Predict what the moments of a file are worth."""
    from experiments.teaching.predicting import (
        PREDICTIONS,
        PREDICTOR,
        Prediction,
        as_predictions,
        features,
        measured,
        train_and_predict,
    )
    from sightline.teachability import Episode
    from sightline.teachability.predictor import PredictorConfig, load_predictor

    labelled = read_jsonl(settings.labelled, LabelledSnapshot)
    episodes = read_jsonl(settings.rollouts, Episode) if settings.rollouts else []

    def compute(folder: Path) -> None:
        if settings.predictor is None:
            config = PredictorConfig(kind=settings.kind, seed=settings.seed)
            found = train_and_predict(measured(labelled), episodes, config, folder / PREDICTOR)
        else:
            known = [one for one in labelled if one.uncertainty]
            found = as_predictions(known, load_predictor(settings.predictor).predict(features(known, episodes)))
        write_jsonl(folder / PREDICTIONS, found)

    folder = run.stage(Stage.PREDICTOR, compute)
    found = sorted(read_jsonl(folder / PREDICTIONS, Prediction), key=lambda one: -one.elp)
    best = Table(
        ("moment", "predicted payoff", "spread"),
        tuple((one.snapshot_id, f"{one.elp:.4f}", f"{one.spread:.4f}") for one in found[:20]),
        "The twenty moments that promise most"
        + (", each scored by predictors that have not seen its group." if settings.predictor is None else "."),
    )
    _conclude(run, f"{len(found)} moments were scored.", {"moments": len(found)}, best, folder)


def select(settings: SelectSettings, run: RunDirectory) -> None:
    """Choose moments of a file by several methods, train on each choice, and compare."""
    from experiments.teaching.evaluating import play_suite
    from experiments.teaching.report import as_table
    from experiments.teaching.selecting import (
        Recipe,
        adapters_of,
        compare_selections,
        select_and_train,
        write_selection,
    )
    from lab.jobs import Workers
    from sightline.teachability.figures import analyse_h7

    labelled = read_jsonl(settings.labelled, LabelledSnapshot)
    predictions = [] if settings.predictor is None else _predictions(settings.predictor, labelled)
    arms = tuple(name for name in settings.arms if name != "predictor" or predictions)
    _replay_stage(settings, run)
    tips = any(one.patches for one in labelled)
    recipe = Recipe(arms, settings.budget, settings.selection_seeds, predictions, tips)
    with Workers.of(settings) as workers:
        chosen = select_and_train(settings, run, workers, Stage.SELECTION, labelled, recipe)
        if chosen.stopped:
            sys.exit(f"select: {chosen.stopped}")
        adapters = adapters_of(run, Stage.SELECTION, chosen.trained)
        suite = play_suite(settings, run, workers, Stage.SUITE, adapters, labelled)
    found = compare_selections(chosen, suite, settings.seed)
    write_selection(run.path / "selection", chosen, found)
    finding = analyse_h7(found.rows, found.leads, tasks=settings.test_goals)
    content = {"arms": [row.model_dump(mode="json") for row in found.rows], "verdict": finding.verdict}
    _conclude(run, f"{finding.verdict.capitalize()}. {finding.sentence}", content, as_table(finding.table))


def recover(settings: RecoverSettings, run: RunDirectory) -> None:
    """Let a teacher take over at moments of a file."""
    from experiments.teaching.student import open_policy
    from experiments.teaching.teachers import BEST_PROMPTS, BestTeacher, open_teacher
    from experiments.teaching.training import RECOVERIES
    from experiments.teaching.world import open_shop
    from sightline.teachability import training

    labelled = read_jsonl(settings.labelled, LabelledSnapshot)
    dynamics = open_shop(settings)

    def compute(folder: Path) -> None:
        if settings.expert == "teacher":
            teacher = open_teacher(settings, dynamics)
        else:
            teacher = BestTeacher(dynamics, open_policy(settings), max_prompts=BEST_PROMPTS)
        chosen = training.choose_recoveries(labelled, order=settings.order, limit=settings.max_trajectories)
        write_jsonl(folder / RECOVERIES, training.recover(dynamics, teacher, chosen))

    folder = run.stage(Stage.RECOVERY, compute)
    found = read_jsonl(folder / RECOVERIES, training.RecoveryTrajectory)
    won = sum(one.success for one in found)
    table = Table(("trajectories", "successes", "steps"), ((str(len(found)), str(won), str(_steps(found))),))
    content = {"trajectories": len(found), "successes": won, "steps": _steps(found)}
    _conclude(run, f"The expert succeeds from {won} of {len(found)} moments.", content, table, folder)


def train_recovery(settings: TrainRecoverySettings, run: RunDirectory) -> None:
    """Train a student on recovery trajectories of a file."""
    from experiments.teaching.moments import REPLAY
    from experiments.teaching.parts import spread
    from experiments.teaching.training import ADAPTERS, Trained, recovery_part
    from lab.jobs import Workers
    from sightline.teachability import training

    recoveries = read_jsonl(settings.recoveries, training.RecoveryTrajectory)
    steps = training.recovery_steps(recoveries, limit=settings.max_examples)
    if not steps:
        sys.exit(f"train-recovery: {settings.recoveries} holds no successful recovery to learn from")
    replay = _replay_stage(settings, run) / REPLAY
    part = recovery_part(settings, replay, f"RECOVERY_steps_s{settings.training_seed}", steps, settings.training_seed)
    with Workers.of(settings) as workers:
        (trained,) = spread(run, workers, Stage.RECOVERY, [part], Trained)
    if trained.report is None:
        sys.exit(f"train-recovery: {trained.refused}")
    losses = ", ".join(f"{loss:.3f}" for loss in trained.report.losses)
    table = Table(("steps learnt", "losses by epoch"), ((str(len(trained.snapshot_ids)), losses),))
    folder = run.stage_folder(Stage.RECOVERY, "parts") / ADAPTERS / trained.run_id
    _conclude(run, f"The adapter lies in {folder}.", trained.model_dump(mode="json"), table)


def evaluate(settings: EvaluateSettings, run: RunDirectory) -> None:
    """Play with adapters, and compare them with the student without."""
    from experiments.teaching.evaluating import Suite, play_suite, summarise_suite, write_summaries
    from experiments.teaching.report import as_table
    from lab.jobs import Workers
    from sightline.teachability.figures import analyse_h5

    labelled = read_jsonl(settings.labelled, LabelledSnapshot) if settings.labelled else []
    adapters = {folder.name: folder for folder in settings.adapters}
    if missing := [str(folder) for folder in adapters.values() if not folder.is_dir()]:
        raise FileNotFoundError(f"there is no folder {missing[0]}")
    with Workers.of(settings) as workers:
        suite: Suite = play_suite(settings, run, workers, Stage.SUITE, adapters, labelled)
    found = summarise_suite(suite, {}, list(adapters), settings.seed)
    write_summaries(run.path / "evaluation", found)
    finding = analyse_h5(found.overall, found.retention)
    content = {"overall": [row.model_dump(mode="json") for row in (*found.overall, *found.greedy)]}
    _conclude(run, finding.sentence, content, as_table(finding.table))


def tip_student(settings: TipStudentSettings, run: RunDirectory) -> None:
    """Train the student that reads tips, and ask whether it may be shipped."""
    from experiments.teaching.tips import gate_stage, train_stage

    folder = train_stage(settings, run)
    gate = gate_stage(settings, run, folder)
    rows = tuple((name, f"{value:.3f}") for name, value in gate.numbers.items())
    verdict = "may be shipped" if gate.passed else f"must not be shipped: {gate.reason}"
    _conclude(
        run,
        f"The student in {folder} {verdict}.",
        gate.model_dump(mode="json"),
        Table(("on development goals", "value"), rows, gate.caption),
    )


def _predictions(folder: Path, labelled: Sequence[LabelledSnapshot]) -> list[Any]:
    """Return predictions for moments: those out of fold that lie beside the predictor, if they are of these moments."""
    from experiments.teaching.predicting import PREDICTIONS, Prediction, as_predictions, features, measured
    from sightline.teachability.predictor import load_predictor

    used = measured(labelled)
    beside = folder.parent / PREDICTIONS
    if beside.exists():
        found = read_jsonl(beside, Prediction)
        if {one.snapshot.id for one in used} <= {one.snapshot_id for one in found}:
            return found
    return as_predictions(used, load_predictor(folder).predict(features(used, [])))


def _replay_stage(settings: StudentSettings, run: RunDirectory) -> Path:
    """Return the folder with states of the student's successes on development goals, which trainings replay."""
    from experiments.teaching.evaluating import development_goals
    from experiments.teaching.moments import REPLAY
    from experiments.teaching.student import open_policy
    from experiments.teaching.world import goal_tasks, open_shop, test_tasks
    from sightline.teachability import collect_episodes
    from sightline.teachability.training import replay_pool

    def compute(folder: Path) -> None:
        dynamics = open_shop(settings)
        tasks = goal_tasks(dynamics, development_goals(settings, _REPLAY_GOALS))
        episodes = collect_episodes(dynamics, open_policy(settings), tasks, seed=settings.seed)
        tested = {task.group for task in test_tasks(dynamics, getattr(settings, "test_goals", 0))}
        write_jsonl(folder / REPLAY, replay_pool(episodes, exclude=tested))

    return run.stage(Stage.MOMENTS, compute)


def _steps(found: Sequence[Any]) -> int:
    return sum(one.n_steps for one in found)


def _conclude(run: RunDirectory, claim: str, content: dict[str, Any], table: Table, folder: Path | None = None) -> None:
    links = {} if folder is None else {"files": f"stages/{folder.name}"}
    sections = [Section("What came out", (), (table,), links=links)]
    title = f"Teachable moments: {run.path.name}"
    conclude(run, content, Report(title, [claim], [table], sections), shown=[table])
