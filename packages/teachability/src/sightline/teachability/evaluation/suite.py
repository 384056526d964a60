"""Plays models on the same tasks with the same noise, and compares them with the base, paired by task.

What is played is the policy that was labelled, which samples, and the greedy one beside it. This module knows nothing
of how models were trained.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.evaluation.panels import panel_tasks
from sightline.teachability.evaluation.records import Dataset, EpisodeRow, OverallRow, QuadrantRow
from sightline.teachability.evaluation.stuckness import has_loop, has_state_loop, repeat_rate
from sightline.teachability.ledger import Ledger
from sightline.teachability.mining.collect import collect_episodes
from sightline.teachability.mining.records import Episode, Task
from sightline.teachability.protocols import ActionPolicy, Dynamics, S
from sightline.teachability.records import QUADRANTS, LabelledSnapshot, Quadrant
from sightline.teachability.statistics import ClusterTest, cluster_mean, cluster_sums, holm

GREEDY = -1
"""Seed of greedy episodes in rows."""

_POWER = 0.8


def play_tasks(
    dynamics: Dynamics[S],
    policy: ActionPolicy,
    tasks: Sequence[Task[S]],
    *,
    model: str,
    seeds: Sequence[int],
    greedy: bool = True,
    dataset: Dataset = "overall",
    known: dict[S, NDArray[np.float64]] | None = None,
    ledger: Ledger | None = None,
) -> list[EpisodeRow]:
    """Play tasks once per seed, and once greedily.

    Args:
        dynamics: the environment.
        policy: who plays.
        tasks: what is played.
        model: name for the rows.
        seeds: noise; equal seeds give all models the same.
        greedy: whether to play greedily too.
        dataset: name for the rows.
        known: what this policy has answered already, as of `collect_episodes`; all seeds share it.
        ledger: where costs are counted.
    """
    rows = []
    known = {} if known is None else known
    for seed in [*seeds, *([GREEDY] if greedy else [])]:
        played = collect_episodes(
            dynamics, policy, tasks, seed=max(seed, 0), greedy=seed == GREEDY, known=known, ledger=ledger
        )
        rows += [episode_row(one, model=model, dataset=dataset, seed=seed) for one in played]
    return rows


def play_panel(
    dynamics: Dynamics[S],
    policy: ActionPolicy,
    panel: Sequence[LabelledSnapshot],
    *,
    model: str,
    seeds: Sequence[int],
    known: dict[S, NDArray[np.float64]] | None = None,
    ledger: Ledger | None = None,
) -> list[EpisodeRow]:
    """Play on from the panel's moments, once per seed; `known` as of `play_tasks`."""
    rows = []
    known = {} if known is None else known
    tasks = panel_tasks(dynamics, panel)
    for seed in seeds:
        played = collect_episodes(dynamics, policy, tasks, seed=seed, known=known, ledger=ledger)
        for episode, one in zip(played, panel, strict=True):
            row = episode_row(episode, model=model, dataset="panel", seed=seed)
            update = {"quadrant": one.quadrant, "snapshot_id": one.snapshot.id, "group": one.snapshot.group}
            rows.append(row.model_copy(update=update))
    return rows


def episode_row(episode: Episode, *, model: str, dataset: Dataset, seed: int) -> EpisodeRow:
    """Return an episode as a row."""
    actions = [step.action for step in episode.steps]
    return EpisodeRow(
        model=model,
        dataset=dataset,
        task=episode.task,
        group=episode.group,
        seed=seed,
        outcome=episode.outcome,
        success=episode.outcome == "success",
        ended=episode.ended,
        reward=episode.reward,
        steps=len(actions),
        repeat_rate=repeat_rate(actions),
        loop=has_loop(actions),
        state_loop=has_state_loop([step.observation for step in episode.steps]),
    )


def summarise(
    rows: Sequence[EpisodeRow], *, base: str, test: ClusterTest, greedy: bool = False, seed: int = 0
) -> list[OverallRow]:
    """Return a row per model, compared with the base.

    Args:
        rows: episodes of all models from first states.
        base: model that the others are compared with.
        test: test of the differences paired by task, summed by group.
        greedy: whether the greedy episodes are meant.
        seed: seed of the bootstrap.
    """
    models: dict[str, list[EpisodeRow]] = {}
    for row in rows:
        if row.dataset == "overall" and (row.seed == GREEDY) == greedy:
            models.setdefault(row.model, []).append(row)
    others = [name for name in models if name != base and base in models and _shared(models[base], models[name])]
    compared = {name: _compare(models[base], models[name], test, len(others), seed) for name in others}
    adjusted = dict(zip(compared, holm([one["p"] for one in compared.values()]), strict=True))
    ended = _mean([row.ended for row in models.get(base, ())])
    summaries = []
    for name, of_model in models.items():
        summary = _alone(name, of_model, greedy, seed)
        if name in compared:
            update = {**compared[name], "p_holm": adjusted[name], "collapsed": summary.ended_share < ended / 2}
            summary = summary.model_copy(update=update)
        summaries.append(summary)
    return summaries


def summarise_quadrants(rows: Sequence[EpisodeRow]) -> list[QuadrantRow]:
    """Return a row per model and quadrant of the panel."""
    cells: dict[tuple[str, Quadrant], list[EpisodeRow]] = defaultdict(list)
    for row in rows:
        if row.dataset == "panel" and row.quadrant in QUADRANTS and row.outcome != "error":
            cells[row.model, row.quadrant].append(row)
    return [
        QuadrantRow(
            model=model,
            quadrant=quadrant,
            n=len({row.snapshot_id for row in cell}),
            success_rate=_mean([row.success for row in cell]),
            mean_reward=_mean([row.reward for row in cell]),
            mean_steps=_mean([row.steps for row in cell]),
        )
        for (model, quadrant), cell in cells.items()
    ]


def merge_models(rows: Sequence[EpisodeRow], names: Mapping[str, str]) -> list[EpisodeRow]:
    """Return rows with models renamed, so that training seeds of one cell count as one model; others are left out."""
    return [row.model_copy(update={"model": names[row.model]}) for row in rows if row.model in names]


def task_means(rows: Sequence[EpisodeRow]) -> dict[tuple[int, str], float]:
    """Return the success of each (task, group), averaged over its episodes without errors."""
    found: dict[tuple[int, str], list[bool]] = defaultdict(list)
    for row in rows:
        if row.outcome != "error":
            found[row.task, row.group].append(row.success)
    return {key: _mean(values) for key, values in found.items()}


def smallest_effect(differences: Sequence[float], groups: Sequence[str], *, comparisons: int = 1) -> float:
    """Return the mean difference that a two-sided test at .05 / comparisons would find with probability .8.

    From the standard error of the cluster means, by the normal approximation.
    """
    sums: dict[str, float] = defaultdict(float)
    mean = _mean(differences)
    for difference, group in zip(differences, groups, strict=True):
        sums[group] += difference - mean
    count = len(sums)
    if count < 2:
        return math.inf
    error = math.sqrt(count / (count - 1) * sum(total**2 for total in sums.values())) / len(differences)
    normal = NormalDist()
    return (normal.inv_cdf(1 - 0.025 / comparisons) + normal.inv_cdf(_POWER)) * error


def _alone(name: str, rows: Sequence[EpisodeRow], greedy: bool, seed: int) -> OverallRow:
    good = [row for row in rows if row.outcome != "error"]
    means = task_means(good)
    interval = cluster_mean(list(means.values()), [group for _, group in means], seed=seed)
    return OverallRow(
        model=name,
        policy="greedy" if greedy else "sampled",
        n=len(means),
        errors=len(rows) - len(good),
        success_rate=interval.value,
        success_low=interval.low,
        success_high=interval.high,
        mean_reward=_mean([row.reward for row in good]),
        mean_steps=_mean([row.steps for row in good]),
        ended_share=_mean([row.ended for row in good]),
    )


def _compare(
    base: Sequence[EpisodeRow], model: Sequence[EpisodeRow], test: ClusterTest, comparisons: int, seed: int
) -> dict[str, Any]:
    """Return differences paired by task, flips paired by episode."""
    first, second = task_means(base), task_means(model)
    shared = _shared(base, model)
    differences = [second[key] - first[key] for key in shared]
    groups = [group for _, group in shared]
    interval = cluster_mean(differences, groups, seed=seed)
    before = {(row.task, row.group, row.seed): row.success for row in base if row.outcome != "error"}
    pairs = [
        (before[key], row.success)
        for row in model
        if row.outcome != "error" and (key := (row.task, row.group, row.seed)) in before
    ]
    effect = smallest_effect(differences, groups, comparisons=comparisons)
    return {
        "delta": interval.value,
        "delta_low": interval.low,
        "delta_high": interval.high,
        "p": test(cluster_sums(differences, groups)),
        "positive_flips": pairs.count((False, True)),
        "negative_flips": pairs.count((True, False)),
        # Differences that are all the same have no spread to compute it from.
        "smallest_effect": effect if 0 < effect < math.inf else None,
    }


def _shared(base: Sequence[EpisodeRow], model: Sequence[EpisodeRow]) -> list[tuple[int, str]]:
    second = task_means(model)
    return [key for key in task_means(base) if key in second]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else 0.0
