"""The first stages of the growth experiment: exhaustive search for the best fixed topology."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.growth.settings import GrowthSettings
from experiments.growth.stages import Stage
from experiments.growth.work import CHANNELS, fixed_job, token_host
from lab.jobs import Workers
from lab.run import RunDirectory
from sightline.retrieval.jsonl import read_jsonl
from sightline.tamiyo_policy.experiment import SELECTION_SEED, Episode, GrowthRecord, episodes_from
from sightline.tamiyo_policy.growth import Topology, TopologyRun, all_topologies
from sightline.tamiyo_policy.hosts import token_blueprints

_CHUNKS = 8


@dataclass(frozen=True)
class Ranking:
    """What the search found."""

    topologies: int
    """How many were tried."""
    finalists: tuple[tuple[Topology, float], ...]
    """Topology and mean J on selection episodes of full length, the best first."""

    @property
    def best(self) -> Topology:
        """The best topology."""
        return self.finalists[0][0]


def search_topologies_stages(settings: GrowthSettings, run: RunDirectory, workers: Workers) -> Ranking:
    """Try every topology in short episodes, and the best of them again in long ones; the test part is not read."""
    host = token_host(CHANNELS)
    topologies = all_topologies(token_blueprints(), host.num_slots)
    families = settings.training.families
    screening = episodes_from(SELECTION_SEED, settings.search_episodes, families)
    screened = _search_stage(settings, run, workers, Stage.EVERY_TOPOLOGY, topologies, screening, settings.search_steps)
    finalists = [topology for topology, _ in screened[: settings.finalists]]
    final = episodes_from(SELECTION_SEED + len(screening), settings.finalist_episodes, families)
    ranked = _search_stage(
        settings, run, workers, Stage.BEST_TOPOLOGIES, finalists, final, settings.growth.training.steps
    )
    return Ranking(len(topologies), tuple(ranked))


def _search_stage(
    settings: GrowthSettings,
    run: RunDirectory,
    workers: Workers,
    stage: Stage,
    topologies: Sequence[Topology],
    episodes: Sequence[Episode],
    steps: int,
) -> list[tuple[Topology, float]]:
    runs = [TopologyRun(topology, item.family, item.seed) for topology in topologies for item in episodes]
    parts = [part for index in range(_CHUNKS) if (part := runs[index::_CHUNKS])]
    folder = workers.stage(
        run,
        stage,
        lambda work: [
            fixed_job(settings, part, work / f"part{index}.jsonl", steps=steps) for index, part in enumerate(parts)
        ],
    )
    scores: dict[Topology, list[float]] = {}
    for file in sorted(folder.glob("part*.jsonl")):
        for record in read_jsonl(file, GrowthRecord):
            scores.setdefault(record.topology, []).append(record.score)
    means = [(topology, float(np.mean(values))) for topology, values in scores.items()]
    return sorted(means, key=lambda item: (-item[1], item[0]))
