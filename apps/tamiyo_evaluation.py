"""Every method of the growth experiment on the same unseen episodes, and what it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from tamiyo_jobs import Job, Workers, read_records
from tamiyo_settings import TamiyoSettings
from tamiyo_stages import variants
from tamiyo_work import (
    CHANNELS,
    GREEDY,
    HEURISTIC,
    LEARNED,
    LEARNED_MODE,
    NO_GROWTH,
    RANDOM,
    SCHEDULE,
    evaluation,
    fixed_job,
    host_parameters,
    play_policy,
    play_rule,
)

from sightline.agents import RunDirectory
from sightline.tamiyo_policy.blueprints import DEPTHWISE, MLP_SMALL, NOOP, NORM
from sightline.tamiyo_policy.growth_evaluation import GrowthRecord
from sightline.tamiyo_policy.topologies import Topology, TopologyRun

Records: TypeAlias = list[list[GrowthRecord]]
"""One list of episodes for each training seed; a single one for a method that is not trained."""

BEST_FIXED, LARGER = "best fixed topology", "larger host"
GROWN_AT_BIRTH: Mapping[str, Topology] = {
    "norm + mixer + mlp at birth": (NORM, DEPTHWISE, MLP_SMALL),
    "mlp in every slot at birth": (MLP_SMALL,) * 3,
    "mixer in every slot at birth": (DEPTHWISE,) * 3,
}
_RULES = (RANDOM, HEURISTIC, GREEDY, SCHEDULE)


def baselines(settings: TamiyoSettings) -> list[str]:
    """What the learned policy is compared with, declared before anything is measured."""
    fixed = [NO_GROWTH, *_RULES, *GROWN_AT_BIRTH, BEST_FIXED]
    return fixed + [LARGER] * settings.larger_host + [name for name in variants(settings) if name != LEARNED]


def evaluate(
    settings: TamiyoSettings, run: RunDirectory, workers: Workers, policies: Path, best: Topology
) -> dict[str, Records]:
    """Let every method play the evaluation episodes; the only stages that read the test part."""
    folder = workers.stage(
        run,
        "4-evaluation",
        lambda work: [*_policy_jobs(settings, policies, work), *_other_jobs(settings, best, work)],
    )
    found: dict[str, Records] = {}
    for name, seeds in _evaluated(settings).items():
        found[name] = [read_records(folder / _file_name(name, seed)) for seed in seeds]
    if settings.larger_host:
        found[LARGER] = [_larger_host(settings, run, workers, found[LEARNED])]
    return found


def _evaluated(settings: TamiyoSettings) -> dict[str, Sequence[int | None]]:
    """All methods but the larger host, and their training seeds; None for methods without."""
    found: dict[str, Sequence[int | None]] = dict(variants(settings))
    if settings.mode_episodes:
        found[LEARNED_MODE] = settings.training_seeds
    untrained = [NO_GROWTH, *_RULES, *GROWN_AT_BIRTH, BEST_FIXED]
    return found | dict.fromkeys(untrained, (None,))


def _policy_jobs(settings: TamiyoSettings, policies: Path, work: Path) -> list[Job]:
    plan = [
        (name, name, seed, settings.evaluation_episodes) for name, seeds in variants(settings).items() for seed in seeds
    ]
    if settings.mode_episodes:
        count = min(settings.mode_episodes, settings.evaluation_episodes)
        plan += [(LEARNED_MODE, LEARNED, seed, count) for seed in settings.training_seeds]
    jobs = []
    for name, variant, seed, count in plan:
        file = work / _file_name(name, seed)
        arguments = (settings, variant, seed, policies, count, name == LEARNED_MODE, file)
        jobs.append(Job(file, count, play_policy, arguments))
    return jobs


def _other_jobs(settings: TamiyoSettings, best: Topology, work: Path) -> list[Job]:
    jobs = []
    for name in _RULES:
        file = work / _file_name(name, None)
        jobs.append(Job(file, settings.evaluation_episodes, play_rule, (settings, name, best, file)))
    for name, topology in {NO_GROWTH: (NOOP,) * 3, **GROWN_AT_BIRTH, BEST_FIXED: best}.items():
        runs = [TopologyRun(topology, episode.family, episode.seed) for episode in evaluation(settings)]
        jobs.append(fixed_job(settings, runs, work / _file_name(name, None), read_test=True))
    return jobs


def _larger_host(settings: TamiyoSettings, run: RunDirectory, workers: Workers, grown: Records) -> list[GrowthRecord]:
    """Hosts that are as large from the start as the learned policy's become, charged for what they have more."""
    wanted = float(np.mean([record.parameters for episodes in grown for record in episodes]))
    channels = CHANNELS
    while host_parameters(channels) - host_parameters(CHANNELS) < wanted:
        channels += 1
    runs = [TopologyRun((NOOP,) * 3, episode.family, episode.seed) for episode in evaluation(settings)]
    folder = workers.stage(
        run,
        "5-larger-host",
        lambda work: [fixed_job(settings, runs, work / "larger.jsonl", channels=channels, read_test=True)],
    )
    extra = host_parameters(channels) - host_parameters(CHANNELS)
    rent = settings.growth.reward.rent * float(np.log1p(extra / settings.growth.reference_parameters))
    return [
        record.model_copy(
            update={
                "score": record.score - rent,
                "test_score": None if record.test_score is None else record.test_score - rent,
                "parameters": float(extra),
            }
        )
        for record in read_records(folder / "larger.jsonl")
    ]


def _file_name(method: str, seed: int | None) -> str:
    stem = method.replace(",", "").replace("+", "and").replace(" ", "-")
    return f"{stem}.jsonl" if seed is None else f"{stem}-seed{seed}.jsonl"
