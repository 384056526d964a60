"""The main stages of the growth experiment: training, and every method on the same unseen episodes.

They are one stage of work, so that no process is idle while there is anything to train or to play. Nothing that is
trained or chosen reads what is played here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from experiments.growth.settings import GrowthSettings
from experiments.growth.stages import Stage
from experiments.growth.work import (
    CHANNELS,
    FIFTEEN,
    GREEDY,
    HEURISTIC,
    JOINT,
    LEARNED,
    LEARNED_MODE,
    MEMORYLESS,
    NO_GROWTH,
    RANDOM,
    SCHEDULE,
    evaluation,
    fixed_job,
    host_parameters,
    play_policy,
    play_rule,
    policy_folder,
    training_job,
)
from lab.jobs import Job, Workers
from lab.run import RunDirectory, slug, write_metrics
from sightline.retrieval.jsonl import read_jsonl
from sightline.tamiyo_policy.experiment import METRICS, GrowthRecord, read_metrics
from sightline.tamiyo_policy.growth import Topology, TopologyRun
from sightline.tamiyo_policy.hosts import DEPTHWISE, MLP_SMALL, NOOP, NORM

Records: TypeAlias = list[list[GrowthRecord]]
"""One list of episodes for each training seed; a single one for a method that is not trained."""

Trainings: TypeAlias = dict[str, list[list[dict[str, float]]]]
"""The rows of every training seed, by policy."""

BEST_FIXED, LARGER = "best fixed topology", "larger host"
GROWN_AT_BIRTH: Mapping[str, Topology] = {
    "norm + mixer + mlp at birth": (NORM, DEPTHWISE, MLP_SMALL),
    "mlp in every slot at birth": (MLP_SMALL,) * 3,
    "mixer in every slot at birth": (DEPTHWISE,) * 3,
}
_RULES = (RANDOM, HEURISTIC, GREEDY, SCHEDULE, FIFTEEN)


def variants(settings: GrowthSettings) -> dict[str, tuple[int, ...]]:
    """Return the policies that are trained, and their seeds."""
    found = {LEARNED: settings.training_seeds}
    controls = {MEMORYLESS: settings.memoryless, JOINT: settings.joint_ratio}
    return found | {name: settings.control_seeds for name, wanted in controls.items() if wanted}


def baselines(settings: GrowthSettings) -> list[str]:
    """Return what the learned policy is compared with, declared before anything is measured."""
    fixed = [NO_GROWTH, *_RULES, *GROWN_AT_BIRTH, BEST_FIXED]
    return fixed + [LARGER] * settings.larger_host + [name for name in variants(settings) if name != LEARNED]


def train_and_evaluate_stage(
    settings: GrowthSettings, run: RunDirectory, workers: Workers, best: Topology
) -> tuple[Trainings, dict[str, Records]]:
    """Train all policies, and let them and every other method play the evaluation episodes, which reads the test part.

    Args:
        settings: settings of the run.
        run: run that the stages belong to.
        workers: processes that do the work.
        best: the best fixed topology.

    Returns:
        The rows of all trainings, and the episodes of all methods by name.
    """

    def jobs(work: Path) -> list[Job]:
        trainings, games = _policy_jobs(settings, work)
        return [*trainings, *_other_jobs(settings, best, work), *games]

    folder = workers.stage(run, Stage.POLICIES, jobs)
    found: dict[str, Records] = {}
    for name, seeds in _evaluated(settings).items():
        found[name] = [read_jsonl(folder / _file_name(name, seed), GrowthRecord) for seed in seeds]
    if settings.larger_host:
        found[LARGER] = [_train_larger_host_stage(settings, run, workers, found[LEARNED])]
    return _trainings(settings, folder), found


def _evaluated(settings: GrowthSettings) -> dict[str, Sequence[int | None]]:
    """Return all methods but the larger host, and their training seeds; None for methods without."""
    found: dict[str, Sequence[int | None]] = dict(variants(settings))
    if settings.mode_episodes:
        found[LEARNED_MODE] = settings.training_seeds
    untrained = [NO_GROWTH, *_RULES, *GROWN_AT_BIRTH, BEST_FIXED]
    return found | dict.fromkeys(untrained, (None,))


def _policy_jobs(settings: GrowthSettings, work: Path) -> tuple[list[Job], list[Job]]:
    """Return the training of every policy, and what it plays when it is trained."""
    trainings, games = [], []
    for variant, seeds in variants(settings).items():
        for seed in seeds:
            training = training_job(settings, variant, seed, work / policy_folder(variant, seed))
            plan = {variant: settings.evaluation_episodes}
            if variant == LEARNED and settings.mode_episodes:
                plan[LEARNED_MODE] = min(settings.mode_episodes, settings.evaluation_episodes)
            for name, count in plan.items():
                file = work / _file_name(name, seed)
                arguments = (settings, variant, seed, work, count, name == LEARNED_MODE, file)
                games.append(Job(file, count, play_policy, arguments, after=training))
            trainings.append(training)
    return trainings, games


def _other_jobs(settings: GrowthSettings, best: Topology, work: Path) -> list[Job]:
    jobs = []
    for name in _RULES:
        file = work / _file_name(name, None)
        jobs.append(Job(file, settings.evaluation_episodes, play_rule, (settings, name, best, file)))
    for name, topology in {NO_GROWTH: (NOOP,) * 3, **GROWN_AT_BIRTH, BEST_FIXED: best}.items():
        runs = [TopologyRun(topology, episode.family, episode.seed) for episode in evaluation(settings)]
        jobs.append(fixed_job(settings, runs, work / _file_name(name, None), read_test=True))
    return jobs


def _trainings(settings: GrowthSettings, folder: Path) -> Trainings:
    """Return the rows of all trainings, which are also joined to the stage's metrics."""
    rows = {
        variant: [read_metrics(folder / policy_folder(variant, seed) / METRICS) for seed in seeds]
        for variant, seeds in variants(settings).items()
    }
    flat = [
        {"policy": variant, "seed": seed} | row
        for variant, seeds in variants(settings).items()
        for seed, of_seed in zip(seeds, rows[variant], strict=True)
        for row in of_seed
    ]
    write_metrics(folder, flat)
    return rows


def _train_larger_host_stage(
    settings: GrowthSettings, run: RunDirectory, workers: Workers, grown: Records
) -> list[GrowthRecord]:
    """Train hosts that are as large from the start as the learned policy's become, charged for what they have more."""
    wanted = float(np.mean([record.parameters for episodes in grown for record in episodes]))
    channels = CHANNELS
    while host_parameters(channels) - host_parameters(CHANNELS) < wanted:
        channels += 1
    runs = [TopologyRun((NOOP,) * 3, episode.family, episode.seed) for episode in evaluation(settings)]
    parts = {"first.jsonl": runs[: len(runs) // 2], "second.jsonl": runs[len(runs) // 2 :]}
    folder = workers.stage(
        run,
        Stage.LARGER_HOST,
        lambda work: [
            fixed_job(settings, part, work / name, channels=channels, read_test=True) for name, part in parts.items()
        ],
    )
    extra = host_parameters(channels) - host_parameters(CHANNELS)
    reference = settings.growth.reference_parameters or host_parameters(CHANNELS)
    rent = settings.growth.reward.rent * float(np.log1p(extra / reference))
    return [
        record.model_copy(
            update={
                "score": record.score - rent,
                "test_score": None if record.test_score is None else record.test_score - rent,
                "parameters": float(extra),
            }
        )
        for name in parts
        for record in read_jsonl(folder / name, GrowthRecord)
    ]


def _file_name(method: str, seed: int | None) -> str:
    stem = slug(method)
    return f"{stem}.jsonl" if seed is None else f"{stem}-seed{seed}.jsonl"
