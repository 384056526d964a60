"""All trainings: on single moments, by quadrant and format, on a teacher's recoveries.

What is trained is written as an adapter beside its record. Examples that would teach a dead end are refused, and the
record says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path

from experiments.teaching.moments import REPLAY, shuffled
from experiments.teaching.parts import Part, parts_folder, spread
from experiments.teaching.settings import MeasureSettings, Stage, StudentSettings, TeachingSettings
from experiments.teaching.student import Student, open_student, render
from experiments.teaching.teachers import open_teacher
from experiments.teaching.world import open_shop
from lab.jobs import Workers
from lab.run import RunDirectory, write_text
from sightline.agents.grammar import webshop_grammar
from sightline.teachability import LabelledSnapshot, Snapshot
from sightline.teachability.errors import AuditError
from sightline.teachability.jsonl import read_jsonl, write_jsonl
from sightline.teachability.records import QUADRANTS, PatchFormat, Record
from sightline.teachability.training import (
    AuditRules,
    ExampleBuilder,
    MicroSettings,
    MicroTrainer,
    RecoveryTrajectory,
    Workshop,
    audit_examples,
    choose_recoveries,
    plan_matrix,
    recover,
    recovery_steps,
    trainable,
)
from sightline.teachability.training_records import Example, MicroRow, RunPlan, TrainingReport

ADAPTERS = "adapters"
MICRO, SUMMARY, RECOVERIES = "micro_training_results.json", "training_summary.json", "recovery_trajectories.jsonl"
_RULES = AuditRules(required={"item_page": "click_buy"})
_RETENTION_PROMPTS = 12
_SIBLINGS = 4


class Trained(Record):
    """A training that was asked for."""

    run_id: str
    """Its name."""
    snapshot_ids: tuple[str, ...]
    """Moments that it was to learn from, ascending."""
    report: TrainingReport | None
    """What it did; None where its examples were refused."""
    refused: str | None = None
    """Why they were."""


Steps = Sequence[tuple[Snapshot, str]]
"""Moments and what a teacher in control did there."""


def micro_stage(
    settings: TeachingSettings, run: RunDirectory, workers: Workers, labelled: Sequence[LabelledSnapshot]
) -> list[MicroRow]:
    """Return what tiny trainings on single moments of the label split changed, drawn evenly from the quadrants."""
    usable = sorted((one for one in trainable(labelled) if one.patches), key=lambda one: shuffled(one.snapshot))
    quadrants = [[one for one in usable if one.quadrant == quadrant] for quadrant in QUADRANTS]
    turns = [one for turn in zip_longest(*quadrants) for one in turn if one is not None]
    chosen = turns[: settings.micro_moments]
    rows = len(settings.formats) * len(settings.micro_rates) * len(settings.micro_seeds)
    replay = run.stage_folder(Stage.MOMENTS) / REPLAY
    pool = tuple(turns)
    parts = [Part(one.snapshot.id, rows, micro_part, (settings, one, pool, replay)) for one in chosen]
    found = spread(run, workers, Stage.MICRO, parts, MicroRow) if parts else []

    def compute(folder: Path) -> None:
        content = [row.model_dump(mode="json") for row in found]
        write_text(folder / MICRO, json.dumps(content, indent=1) + "\n")

    content = json.loads((run.stage(Stage.MICRO, compute) / MICRO).read_text(encoding="utf-8"))
    return [MicroRow.model_validate_json(json.dumps(row)) for row in content]


def micro_part(
    settings: TeachingSettings, one: LabelledSnapshot, pool: Sequence[LabelledSnapshot], replay: Path, _: Path
) -> list[MicroRow]:
    """Train on one moment in every format, at every rate and with every seed, in a worker."""
    student, learner = open_student(settings)
    builder = ExampleBuilder(open_shop(settings), student.encode, learner.base)
    kept = sorted((s for s in read_replay(replay) if s.group != one.snapshot.group), key=shuffled)
    trainer = MicroTrainer(
        open_shop(settings),
        builder,
        learner,
        settings.learner_config,
        learner.base,
        retention=kept[:_RETENTION_PROMPTS],
        settings=MicroSettings(
            learning_rates=settings.micro_rates,
            seeds=settings.micro_seeds,
            siblings=_SIBLINGS,
            formats=settings.formats,
        ),
    )
    return trainer.measure(one, pool)


def matrix_stage(
    settings: TeachingSettings, run: RunDirectory, workers: Workers, labelled: Sequence[LabelledSnapshot]
) -> tuple[list[RunPlan], dict[str, Trained]]:
    """Return the plans of the training matrix, and what became of each that is not empty."""
    plans = plan_matrix(
        labelled, seeds=settings.training_seeds, smallest=settings.smallest, largest=settings.cell,
        formats=settings.formats,
    )  # fmt: skip
    by_id = {one.snapshot.id: one for one in labelled}
    parts = [
        correction_part(settings, run, plan.run_id, [by_id[name] for name in plan.snapshot_ids], plan.format, plan.seed)
        for plan in plans
        if not plan.empty
    ]
    trained = {one.run_id: one for one in spread(run, workers, Stage.MATRIX, parts, Trained)} if parts else {}

    def compute(folder: Path) -> None:
        content = {
            "plans": [plan.model_dump(mode="json") for plan in plans],
            "runs": [one.model_dump(mode="json") for one in trained.values()],
            "adapters": f"../{parts_folder(run, Stage.MATRIX).name}/{ADAPTERS}",
        }
        write_text(folder / SUMMARY, json.dumps(content, indent=1) + "\n")

    run.stage(Stage.MATRIX, compute)
    return plans, trained


def correction_part(
    settings: MeasureSettings,
    run: RunDirectory,
    run_id: str,
    chosen: Sequence[LabelledSnapshot],
    format_: PatchFormat,
    seed: int,
) -> Part:
    """Return the part that trains on corrections in one format."""
    replay = run.stage_folder(Stage.MOMENTS) / REPLAY
    return Part(run_id, 1, train_part, (settings, run_id, tuple(chosen), format_, (), seed, replay))


def recovery_part(settings: StudentSettings, replay: Path, run_id: str, steps: Steps, seed: int) -> Part:
    """Return the part that trains on a teacher's recoveries."""
    return Part(run_id, 1, train_part, (settings, run_id, (), "demo", tuple(steps), seed, replay))


def train_part(
    settings: StudentSettings,
    run_id: str,
    chosen: Sequence[LabelledSnapshot],
    format_: PatchFormat,
    steps: Steps,
    seed: int,
    replay: Path,
    folder: Path,
) -> list[Trained]:
    """Train on corrections and steps of recoveries, in a worker, and leave the adapter beside the record."""
    student, learner = open_student(settings)
    builder = ExampleBuilder(open_shop(settings), student.encode, learner.base)
    seen = {one.id: one for one in read_replay(replay)} | {one.snapshot.id: one.snapshot for one in chosen}
    seen |= {snapshot.id: snapshot for snapshot, _ in steps}
    workshop = Workshop(
        builder,
        learner,
        read_replay(replay),
        settings.replay_share if isinstance(settings, MeasureSettings) else 1.0,
        audit=lambda examples: audit(settings, student, examples, seen),
    )
    examples = [*builder.corrections(chosen, [format_] * len(chosen)), *builder.recoveries(steps)]
    names = tuple(sorted({example.snapshot_id for example in examples}))
    try:
        fitted = workshop.train(examples, seed=seed)
    except AuditError as refusal:
        return [Trained(run_id=run_id, snapshot_ids=names, report=None, refused=str(refusal))]
    fitted.save(folder / ADAPTERS / run_id)
    learner.slot.check_base()
    return [Trained(run_id=run_id, snapshot_ids=names, report=fitted.report)]


def audit(settings: StudentSettings, student: Student, examples: Sequence[Example], seen: dict[str, Snapshot]) -> None:
    """Refuse examples that would teach a dead end, or whose tokens say something else than their action.

    The tokens are those of the action as the prompt shows it, with product numbers abbreviated; so it is rendered here
    once more and compared without spaces and letter case, which small tokenizers do not keep.
    """
    dynamics = open_shop(settings)
    kinds: dict[str, str] = {}

    def shown(example: Example) -> Example:
        view = dynamics.view(dynamics.decode(seen[example.snapshot_id].state_bytes))
        _, actions = render(view, None)
        action = _plain(actions[view.actions.index(example.action)])
        kinds[action] = webshop_grammar.action_type(example.action)
        return example.model_copy(update={"action": action})

    audit_examples(
        [shown(example) for example in examples],
        action_kind=lambda action: kinds[action],
        decode=lambda tokens: _plain(student.encode.tokenizer.decode(list(tokens))),
        rules=_RULES,
    )


def _plain(text: str) -> str:
    return "".join(text.split()).lower()


def recovery_stages(
    settings: TeachingSettings, run: RunDirectory, workers: Workers, labelled: Sequence[LabelledSnapshot]
) -> tuple[list[RecoveryTrajectory], dict[str, Trained]]:
    """Return how the teacher recovers, and trainings on its steps and on as many single corrections."""

    def export(folder: Path) -> None:
        dynamics = open_shop(settings)
        chosen = choose_recoveries(labelled, limit=settings.recovery_trajectories)
        write_jsonl(folder / RECOVERIES, recover(dynamics, open_teacher(settings, dynamics), chosen))

    folder = run.stage(Stage.RECOVERY, export)
    recoveries = read_jsonl(folder / RECOVERIES, RecoveryTrajectory)
    steps = recovery_steps(recoveries, limit=settings.recovery_examples)
    single = sorted(trainable(labelled), key=lambda one: shuffled(one.snapshot))[: len(steps)]
    replay = run.stage_folder(Stage.MOMENTS) / REPLAY
    parts = []
    for seed in settings.recovery_seeds if steps else ():
        parts.append(recovery_part(settings, replay, f"RECOVERY_steps_s{seed}", steps[: len(single)], seed))
        parts.append(correction_part(settings, run, f"RECOVERY_single_s{seed}", single, "demo", seed))
    trained = spread(run, workers, Stage.RECOVERY, parts, Trained, "trainings") if parts else []
    return recoveries, {one.run_id: one for one in trained}


@lru_cache(maxsize=2)
def read_replay(path: Path) -> list[Snapshot]:
    """Return the states of successes that trainings replay."""
    return read_jsonl(path, Snapshot)
