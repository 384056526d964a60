"""Which moments to learn from: arms choose from one pool, at equal number and at equal cost, and are compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.teaching.evaluating import BASE, CHOOSING, Suite
from experiments.teaching.parts import Part, parts_folder, spread
from experiments.teaching.predicting import Prediction
from experiments.teaching.settings import MeasureSettings
from experiments.teaching.student import open_student
from experiments.teaching.training import ADAPTERS, Trained, correction_part
from experiments.teaching.world import open_shop
from lab.jobs import Workers
from lab.run import RunDirectory, write_text
from sightline.agents.evaluation import sign_flip_test
from sightline.teachability import LabelledSnapshot
from sightline.teachability.errors import ArmError
from sightline.teachability.evaluation import summarise_retention
from sightline.teachability.records import Record
from sightline.teachability.selection import (
    ARMS,
    LabelCost,
    Lead,
    SelectionPlan,
    SelectionRow,
    compare_arms,
    given_scores,
    gradient_alignment,
    label_cost,
    plan_selection,
)
from sightline.teachability.tables import write_csv
from sightline.teachability.training import ExampleBuilder, trainable

SUMMARY = "selection_summary"
PREDICTOR, RANDOM, AT_COST = "predictor", "random", "random_cost"
_PATCH_PROMPTS = 12
_EPOCHS = 2


class Score(Record):
    """What an arm that needs the model says of a moment."""

    snapshot_id: str
    score: float


@dataclass(frozen=True)
class Chosen:
    """What the arms chose, and what was trained on it."""

    pool: Sequence[LabelledSnapshot]
    """Candidates."""
    plans: Sequence[SelectionPlan]
    """Runs, by arm and seed; none where there is nothing to compare."""
    trained: Mapping[str, Trained]
    """What became of them, by run."""
    stopped: str = ""
    """Why there is nothing to compare; empty where there is."""


@dataclass(frozen=True)
class Selection:
    """The comparison of arms."""

    rows: Sequence[SelectionRow]
    """One per arm."""
    leads: Sequence[Lead]
    """The predictor against each rival; none without it."""


@dataclass(frozen=True)
class Recipe:
    """How moments are selected."""

    arms: Sequence[str]
    """Names."""
    budget: int
    """Moments that each chooses."""
    seeds: Sequence[int]
    """Training seeds of each."""
    predictions: Sequence[Prediction]
    """What the predictor says out of fold, for its arm."""
    tips_work: bool
    """Whether the oracle ranks by the payoff of tips, or by L_local."""


def select_and_train(
    settings: MeasureSettings,
    run: RunDirectory,
    workers: Workers,
    stage: str,
    labelled: Sequence[LabelledSnapshot],
    recipe: Recipe,
) -> Chosen:
    """Let all arms choose from one pool, and train on each choice alike."""
    pool = [one for one in trainable(labelled) if one.patches or not recipe.tips_work]
    if not pool:
        return Chosen(pool, (), {}, "no moment may be trained on")
    arms, budgets = _arms(settings, run, workers, stage, pool, labelled, recipe)
    try:
        plans = plan_selection(pool, arms, budgets=budgets, seeds=recipe.seeds)
    except ArmError as error:
        return Chosen(pool, (), {}, str(error))
    brief = settings.learner.model_copy(update={"epochs": min(_EPOCHS, settings.learner.epochs)})
    short = settings.model_copy(update={"learner": brief})
    by_id = {one.snapshot.id: one for one in pool}
    parts = [
        correction_part(short, run, plan.run_id, [by_id[name] for name in plan.snapshot_ids], "demo", plan.seed)
        for plan in plans
    ]
    trained = spread(run, workers, stage, parts, Trained)
    return Chosen(pool, plans, {one.run_id: one for one in trained})


def adapters_of(
    run: RunDirectory, stage: str, trained: Mapping[str, Trained], variant: str = "parts"
) -> dict[str, Path]:
    """Return the folders of the adapters that were trained in a stage, by run."""
    folder = parts_folder(run, stage, variant) / ADAPTERS
    return {name: folder / name for name, one in trained.items() if one.report is not None}


def compare_selections(chosen: Chosen, suite: Suite, seed: int) -> Selection:
    """Return how students that learnt from each arm's choice do on the test goals."""
    names = {plan.run_id: plan.method for plan in chosen.plans if _was_trained(chosen, plan)}
    keys = _base_tasks(suite)
    groups = [group for _, group in keys]
    successes = {
        method: _successes(suite, [name for name, of in names.items() if of == method], keys)
        for method in dict.fromkeys(names.values())
    }
    if RANDOM not in successes:
        return Selection((), ())
    against = {
        lead.method: lead for lead in compare_arms(successes, groups, rival=RANDOM, test=sign_flip_test, seed=seed)
    }
    leads: list[Lead] = []
    if PREDICTOR in successes:
        turned = compare_arms(successes, groups, rival=PREDICTOR, test=sign_flip_test, seed=seed)
        leads = [
            Lead(method=PREDICTOR, rival=o.method, delta=-o.delta, low=-o.high, high=-o.low, p=o.p, p_holm=o.p_holm)
            for o in turned
        ]
    merged = [row.model_copy(update={"model": names[row.model]}) for row in suite.of(names)]
    kept = summarise_retention([*suite.of([BASE]), *merged], suite.retention, base=BASE, chosen_by=CHOOSING, seed=seed)
    drops = {row.model: row.retention_drop for row in kept}
    rows = [_row(chosen, method, values, against.get(method), drops) for method, values in successes.items()]
    return Selection(rows, leads)


def write_selection(folder: Path, chosen: Chosen, found: Selection) -> None:
    """Write the summary, and for each arm a file of what it chose."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "stopped": chosen.stopped,
        "arms": [row.model_dump(mode="json") for row in found.rows],
        "leads": [lead.model_dump(mode="json") for lead in found.leads],
        "plans": [plan.model_dump(mode="json") for plan in chosen.plans],
        "refused": {name: one.refused for name, one in chosen.trained.items() if one.refused},
    }
    write_text(folder / f"{SUMMARY}.json", json.dumps(content, indent=1) + "\n")
    write_csv(folder / f"{SUMMARY}.csv", found.rows, list(SelectionRow.model_fields))
    by_id = {one.snapshot.id: one for one in chosen.pool}
    for method in dict.fromkeys(plan.method for plan in chosen.plans):
        rows = [
            _Pick(
                run_id=plan.run_id, snapshot_id=name, task=by_id[name].snapshot.task, kind=by_id[name].snapshot.kind,
                quadrant=by_id[name].quadrant, action=by_id[name].teacher_action or "",
            )
            for plan in chosen.plans
            if plan.method == method
            for name in plan.snapshot_ids
        ]  # fmt: skip
        write_csv(folder / f"{method}.csv", rows, list(_Pick.model_fields))


class _Pick(Record):
    """A moment that an arm chose."""

    run_id: str
    snapshot_id: str
    task: int
    kind: str
    quadrant: str | None
    action: str


def _arms(
    settings: MeasureSettings,
    run: RunDirectory,
    workers: Workers,
    stage: str,
    pool: Sequence[LabelledSnapshot],
    labelled: Sequence[LabelledSnapshot],
    recipe: Recipe,
) -> tuple[dict[str, Any], dict[str, int]]:
    """Return how each arm scores, and how many moments it chooses."""
    known: dict[str, Any] = dict(ARMS)
    known[PREDICTOR] = given_scores({one.snapshot_id: one.elp for one in recipe.predictions})
    known["improving"] = lambda some: np.array([float(one.grade == "improves") for one in some])
    if not recipe.tips_work:
        known["oracle"] = ARMS["leverage"]
    if "less" in recipe.arms:
        panel = tuple(one for one in labelled if one.split == "calibration" and one.grade == "improves")
        part = Part("less", len(pool), less_part, (settings, tuple(pool), panel))
        scores = spread(run, workers, stage, [part], Score, "less")
        known["less"] = given_scores({one.snapshot_id: one.score for one in scores})
    if unknown := sorted(set(recipe.arms) - set(known)):
        raise ValueError(f"there is no arm {unknown[0]!r}; there are: {', '.join(sorted(known))}")
    arms = {name: known[name] for name in recipe.arms}
    budgets = dict.fromkeys(arms, recipe.budget)
    if PREDICTOR in arms:
        extra = _cost(PREDICTOR, pool).extra_examples
        arms[AT_COST] = ARMS[RANDOM]
        budgets[AT_COST] = min(recipe.budget + max(extra, 1), len(pool))
    return arms, budgets


def less_part(
    settings: MeasureSettings, pool: Sequence[LabelledSnapshot], panel: Sequence[LabelledSnapshot], _: Path
) -> list[Score]:
    """Score moments by how their gradients agree with those of the calibration moments, in a worker."""
    student, learner = open_student(settings)
    builder = ExampleBuilder(open_shop(settings), student.encode, learner.base)
    examples = builder.corrections(pool, ["demo"] * len(pool))
    wanted = builder.corrections(panel, ["demo"] * len(panel))
    found = gradient_alignment(learner, examples, wanted, seed=settings.seed, score=student.score)
    return [Score(snapshot_id=one.snapshot.id, score=float(s)) for one, s in zip(pool, found, strict=True)]


def _cost(method: str, pool: Sequence[LabelledSnapshot]) -> LabelCost:
    values = sum(one.values.V.prompts for one in pool if one.values)
    patches = _PATCH_PROMPTS * sum(one.patches is not None for one in pool)
    arm = {AT_COST: RANDOM, "improving": "leverage"}.get(method, method)
    return label_cost(arm, candidates=len(pool), epochs=_EPOCHS, value_prompts=values, patch_prompts=patches)


def _row(
    chosen: Chosen, method: str, successes: NDArray[np.float64], lead: Lead | None, drops: Mapping[str, float]
) -> SelectionRow:
    plans = [plan for plan in chosen.plans if plan.method == method and _was_trained(chosen, plan)]
    reports = [report for plan in plans if (report := chosen.trained[plan.run_id].report)]
    return SelectionRow(
        method=method,
        n_selected=len(plans[0].snapshot_ids),
        n_examples=sum(reports[0].examples.values()),
        uncertainty_mean=_mean([plan.uncertainty_mean for plan in plans]),
        elp_mean=_mean([plan.elp_mean for plan in plans]),
        label_prompts=_cost(method, chosen.pool).prompts,
        success_rate=float(successes.mean()),
        delta=lead.delta if lead else None,
        delta_low=lead.low if lead else None,
        delta_high=lead.high if lead else None,
        p_holm=lead.p_holm if lead else None,
        retention_drop=drops.get(method),
    )


def _was_trained(chosen: Chosen, plan: SelectionPlan) -> bool:
    return chosen.trained[plan.run_id].report is not None


def _base_tasks(suite: Suite) -> list[tuple[int, str]]:
    """Return the test goals with their groups."""
    rows = [row for row in suite.of([BASE]) if row.dataset == "overall" and row.outcome != "error"]
    return list(dict.fromkeys((row.task, row.group) for row in rows))


def _successes(suite: Suite, names: Sequence[str], keys: Sequence[tuple[int, str]]) -> NDArray[np.float64]:
    """Return [goals] success, averaged over training seeds, noise and the greedy episode."""
    found: dict[tuple[int, str], list[bool]] = {key: [] for key in keys}
    for row in suite.of(names):
        if row.dataset == "overall" and row.outcome != "error" and (row.task, row.group) in found:
            found[row.task, row.group].append(row.success)
    return np.array([np.mean(wins) if wins else 0.0 for wins in found.values()])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
