"""The first stages of the growth experiment: search for the best fixed topology, and training of policies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tamiyo_jobs import Job, Workers, read_records
from tamiyo_settings import TamiyoSettings
from tamiyo_work import (
    CHANNELS,
    JOINT,
    LEARNED,
    MEMORYLESS,
    fixed_job,
    policy_folder,
    token_host,
    training_job,
)

from sightline.agents import RunDirectory
from sightline.agents.runs import write_text
from sightline.tamiyo_policy.blueprints import token_blueprints
from sightline.tamiyo_policy.growth_episodes import SELECTION_SEED, Episode, episodes_from
from sightline.tamiyo_policy.growth_training import METRICS, read_metrics
from sightline.tamiyo_policy.topologies import Topology, TopologyRun, all_topologies

_CHUNKS = 8


@dataclass(frozen=True)
class Ranking:
    """What the search found.

    Attributes:
        topologies: how many were tried.
        finalists: topology and mean J on selection episodes of full length, the best first.
    """

    topologies: int
    finalists: tuple[tuple[Topology, float], ...]

    @property
    def best(self) -> Topology:
        """The best topology."""
        return self.finalists[0][0]


def variants(settings: TamiyoSettings) -> dict[str, tuple[int, ...]]:
    """The policies that are trained, and their seeds."""
    found = {LEARNED: settings.training_seeds}
    controls = {MEMORYLESS: settings.memoryless, JOINT: settings.joint_ratio}
    return found | {name: settings.control_seeds for name, wanted in controls.items() if wanted}


def search(settings: TamiyoSettings, run: RunDirectory, workers: Workers) -> Ranking:
    """Try every topology in short episodes, and the best of them again in long ones; the test part is not read."""
    host = token_host(CHANNELS)
    topologies = all_topologies(token_blueprints(), host.num_slots)
    families = settings.training.families
    screening = episodes_from(SELECTION_SEED, settings.search_episodes, families)
    screened = _search_stage(settings, run, workers, "1-every-topology", topologies, screening, settings.search_steps)
    finalists = [topology for topology, _ in screened[: settings.finalists]]
    final = episodes_from(SELECTION_SEED + len(screening), settings.finalist_episodes, families)
    ranked = _search_stage(
        settings, run, workers, "2-best-topologies", finalists, final, settings.growth.training.steps
    )
    return Ranking(len(topologies), tuple(ranked))


def _search_stage(
    settings: TamiyoSettings,
    run: RunDirectory,
    workers: Workers,
    name: str,
    topologies: Sequence[Topology],
    episodes: Sequence[Episode],
    steps: int,
) -> list[tuple[Topology, float]]:
    runs = [TopologyRun(topology, item.family, item.seed) for topology in topologies for item in episodes]
    parts = [part for index in range(_CHUNKS) if (part := runs[index::_CHUNKS])]
    folder = workers.stage(
        run,
        name,
        lambda work: [
            fixed_job(settings, part, work / f"part{index}.jsonl", steps=steps) for index, part in enumerate(parts)
        ],
    )
    scores: dict[Topology, list[float]] = {}
    for file in sorted(folder.glob("part*.jsonl")):
        for record in read_records(file):
            scores.setdefault(record.topology, []).append(record.score)
    means = [(topology, float(np.mean(values))) for topology, values in scores.items()]
    return sorted(means, key=lambda item: (-item[1], item[0]))


def train_policies(
    settings: TamiyoSettings, run: RunDirectory, workers: Workers
) -> tuple[Path, dict[str, list[list[dict[str, float]]]]]:
    """Train all policies; their folder, and the rows of every training seed by variant."""

    def jobs(work: Path) -> list[Job]:
        return [
            training_job(settings, variant, seed, work / policy_folder(variant, seed))
            for variant, seeds in variants(settings).items()
            for seed in seeds
        ]

    folder = workers.stage(run, "3-policies", jobs)
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
    write_text(folder / METRICS, "".join(json.dumps(row) + "\n" for row in flat))
    return folder, rows
