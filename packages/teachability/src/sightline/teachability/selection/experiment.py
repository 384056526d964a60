"""The selection experiment: arms choose from one pool, students are trained on each choice alike, and compared.

Knows nothing of how scores came about or how students are evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from sightline.teachability.protocols import Fitted
from sightline.teachability.records import LabelledSnapshot, PatchFormat, Record
from sightline.teachability.selection.arms import ArmFn, check_arms, entropy_scores, mean_score, oracle_scores, select
from sightline.teachability.statistics import ClusterTest, cluster_mean, cluster_sums, holm
from sightline.teachability.supervision.router import RouteRule, choose_route
from sightline.teachability.training.matrix import Workshop
from sightline.teachability.training_records import LearnerConfig, TrainingReport


class SelectionPlan(Record):
    """One training run of the experiment, before it runs."""

    schema_version: Literal[1] = 1
    run_id: str
    """`SEL_entropy_k80_s0`; the arm `random` at equal cost is `random_cost`."""
    method: str
    """The arm."""
    seed: int
    """Seed of ties, adapter, batches and replay."""
    budget: int
    """Examples that were allowed."""
    snapshot_ids: tuple[str, ...]
    """What was chosen, ascending."""
    uncertainty_mean: float | None
    """Mean U of the choice."""
    elp_mean: float | None
    """Mean ELP of the choice, where it was measured."""


class SelectionRun(Record):
    """One training run of the experiment, after it ran."""

    schema_version: Literal[1] = 1
    plan: SelectionPlan
    report: TrainingReport
    path: str


class SelectionRow(Record):
    """A line of the summary: one arm, training seeds together."""

    method: str
    """The arm."""
    n_selected: int
    """Snapshots of a run."""
    n_examples: int
    """Training examples of a run, replay among them."""
    uncertainty_mean: float | None
    """Mean U of the choices."""
    elp_mean: float | None
    """Mean ELP of the choices."""
    label_prompts: int
    """Answers of the student that choosing cost."""
    success_rate: float
    """Mean over tasks and seeds."""
    delta: float | None = None
    """Success minus that of `random`, paired by task."""
    delta_low: float | None = None
    """Lower end (groups resampled)."""
    delta_high: float | None = None
    """Upper end."""
    p_holm: float | None = None
    """Test of no difference by group, adjusted for the number of arms."""
    retention_drop: float | None = None
    """What the base could do and this cannot."""


def plan_selection(
    candidates: Sequence[LabelledSnapshot],
    arms: Mapping[str, ArmFn],
    *,
    budgets: Mapping[str, int],
    seeds: Sequence[int],
) -> list[SelectionPlan]:
    """Return the runs of all arms, after checking that they differ.

    Args:
        candidates: one pool for all.
        arms: how each scores.
        budgets: examples of each arm; those with equal ones are compared with each other.
        seeds: training seeds.

    Raises:
        ArmError: an arm cannot score, or two of equal budget chose nearly the same.
    """
    plans = []
    for seed in seeds:
        chosen = {
            name: select(name, candidates, budgets[name], scores=score, seed=seed) for name, score in arms.items()
        }
        for budget in sorted(set(budgets.values())):
            check_arms({n: [one.snapshot.id for one in of] for n, of in chosen.items() if budgets[n] == budget})
        for name, of_arm in chosen.items():
            plans.append(
                SelectionPlan(
                    run_id=f"SEL_{name}_k{budgets[name]}_s{seed}",
                    method=name,
                    seed=seed,
                    budget=budgets[name],
                    snapshot_ids=tuple(sorted(one.snapshot.id for one in of_arm)),
                    uncertainty_mean=mean_score(entropy_scores(of_arm)),
                    elp_mean=mean_score(oracle_scores(of_arm)),
                )
            )
    return plans


def run_selection(
    plans: Sequence[SelectionPlan],
    candidates: Sequence[LabelledSnapshot],
    workshop: Workshop,
    *,
    route: RouteRule = "demo",
    config: LearnerConfig | None = None,
) -> Iterator[tuple[SelectionRun, Fitted]]:
    """Train the runs one after the other and yield each with its student.

    Args:
        plans: what to train.
        candidates: the pool.
        workshop: what the runs share: the same replay share and settings for all arms.
        route: how the format of a snapshot is chosen.
        config: settings in place of the learner's.
    """
    by_id = {one.snapshot.id: one for one in candidates}
    for plan in plans:
        chosen = [by_id[name] for name in plan.snapshot_ids]
        formats: list[PatchFormat] = [choose_route(one, route) for one in chosen]
        fitted = workshop.train(workshop.builder.corrections(chosen, formats), seed=plan.seed, config=config)
        yield SelectionRun(plan=plan, report=fitted.report, path=plan.run_id), fitted


class Lead(Record):
    """How much better an arm is than another, paired by task."""

    method: str
    rival: str
    delta: float
    low: float
    high: float
    p: float
    p_holm: float


def compare_arms(
    successes: Mapping[str, ArrayLike], groups: Sequence[str], *, rival: str, test: ClusterTest, seed: int = 0
) -> list[Lead]:
    """Compare all arms with one of them, paired by task, adjusted for their number.

    Args:
        successes: per arm, [tasks] success averaged over training seeds and noise.
        groups: [tasks] group of each task.
        rival: the arm that the others are compared with.
        test: test of the differences paired by task, summed by group.
        seed: seed of the bootstrap.
    """
    base = np.asarray(successes[rival], dtype=np.float64)
    others = [name for name in successes if name != rival]
    found = []
    for name in others:
        differences = np.asarray(successes[name], dtype=np.float64) - base
        interval = cluster_mean(differences, groups, seed=seed)
        found.append((name, interval, test(cluster_sums(differences, groups))))
    adjusted = holm([p for _, _, p in found])
    return [
        Lead(method=name, rival=rival, delta=i.value, low=i.low, high=i.high, p=p, p_holm=q)
        for (name, i, p), q in zip(found, adjusted, strict=True)
        if not math.isnan(i.value)
    ]
