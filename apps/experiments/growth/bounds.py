"""The bounds of a growth problem: the best schedule and probing rule found with a training's steps, and an oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from experiments.growth.playing import (
    GREEDY,
    Play,
    Screened,
    Way,
    host_of,
    play_jobs,
    read_plays,
    screen_jobs,
    screened_name,
)
from experiments.growth.problem import HeadroomSettings, Problem, data_of, problems_from
from experiments.growth.stages import HeadroomStage
from lab.jobs import Workers
from lab.run import RunDirectory
from sightline.retrieval.jsonl import read_jsonl
from sightline.tamiyo_policy.experiment import (
    EVALUATION_SEED,
    SELECTION_SEED,
    GrowthRecord,
    Probe,
    Schedule,
    draw_schedules,
    schedule_of,
)
from sightline.tamiyo_policy.growth import Topology, all_topologies
from sightline.tamiyo_policy.hosts import DEPTHWISE, LORA, MLP_SMALL, NOOP, NORM, token_blueprints

NO_GROWTH, SCHEDULE, PROBE, ORACLE = "no growth", "best schedule", "best probing rule", "oracle"
FIFTEEN_LINES = "mlp2x, nothing, mixer, last slot first"
_INSTANCES_OF_ROUND = (4, 8, 18, 54)
_STARTS = (0, 5, 15, 30)
_THRESHOLDS = (-1.0, 0.0, 1.0)

AnyWay = TypeVar("AnyWay", Schedule, Probe)


@dataclass(frozen=True)
class Bounds:
    """What was found."""

    problems: Sequence[Problem]
    """Instances that everything was compared on."""
    schedule: Schedule
    """Best schedule of the search."""
    probe: Probe
    """Best probing rule of the search."""
    searched_steps: tuple[int, int]
    """Environment steps of both searches."""
    tried: int
    """Topologies and schedules that the oracle tried in all."""
    records: dict[str, list[list[GrowthRecord]]]
    """Episodes of each training seed, by method, in the order of the instances; untrained methods have one list."""


def measure_bounds_stages(settings: HeadroomSettings, run: RunDirectory, workers: Workers) -> Bounds:
    """Search, consult the oracle, and play the rules; nothing is chosen by the test part."""
    generator = np.random.default_rng(settings.seed)
    blueprints = sorted(token_blueprints())
    rounds = _rounds(settings, settings.search_steps)
    schedules = draw_schedules(rounds[0][0], blueprints, 3, _STARTS, generator)
    schedule, schedule_steps = _search(settings, run, workers, HeadroomStage.SCHEDULES, schedules, rounds)
    problems = problems_from(settings, EVALUATION_SEED, settings.instances)
    oracle, tried = _consult_oracle(settings, run, workers, problems, schedule)
    fifteen = schedule_of((MLP_SMALL, NOOP, DEPTHWISE))
    rounds = _rounds(settings, settings.probe_steps)
    probe, probe_steps = _search(
        settings, run, workers, HeadroomStage.PROBES, _draw_probes(rounds[0][0], generator), rounds
    )
    ways: dict[str, Way] = {NO_GROWTH: Schedule(()), FIFTEEN_LINES: fifteen, GREEDY: GREEDY, SCHEDULE: schedule}
    ways[PROBE] = probe
    plays: list[Play] = [(problem, way) for way in ways.values() for problem in problems]
    played = play_stage(settings, run, workers, HeadroomStage.RULES, plays, read_test=True)
    count = len(problems)
    records = {name: [played[number * count : (number + 1) * count]] for number, name in enumerate(ways)}
    return Bounds(problems, schedule, probe, (schedule_steps, probe_steps), tried, records | {ORACLE: [oracle]})


def _rounds(settings: HeadroomSettings, steps: int) -> list[tuple[int, int]]:
    """Return candidates and instances of each round of a search, which get equal shares of its steps."""
    share = steps / len(_INSTANCES_OF_ROUND) / settings.growth.training.steps
    return [(max(1, int(share / instances)), instances) for instances in _INSTANCES_OF_ROUND]


def _search(
    settings: HeadroomSettings,
    run: RunDirectory,
    workers: Workers,
    stage: HeadroomStage,
    candidates: Sequence[AnyWay],
    rounds: Sequence[tuple[int, int]],
) -> tuple[AnyWay, int]:
    """Return the best candidate by successive halving on fresh instances, and the environment steps it took."""
    left, steps, seed = list(candidates), 0, SELECTION_SEED
    for number, (count, instances) in enumerate(rounds):
        left = left[:count]
        if len(left) == 1:
            break
        problems = problems_from(settings, seed, instances)
        seed += instances
        plays: list[Play] = [(problem, way) for way in left for problem in problems]
        records = play_stage(settings, run, workers, stage, plays, variant=f"round{number + 1}")
        scores = np.array([record.score for record in records]).reshape(len(left), instances).mean(1)
        left = [left[place] for place in np.argsort(-scores, kind="stable")]
        steps += len(plays) * settings.growth.training.steps
    return left[0], steps


def _draw_probes(count: int, generator: np.random.Generator) -> list[Probe]:
    """Return different probing rules: a plain one, and others at random with rotations of one to four modules."""
    found: dict[Probe, None] = {Probe((DEPTHWISE, MLP_SMALL, NORM)): None}
    for _ in range(100 * count):
        if len(found) == count:
            break
        size = int(generator.integers(1, 4, endpoint=True))
        rotation = generator.permutation([DEPTHWISE, NORM, MLP_SMALL, LORA])[:size].tolist()
        found[Probe(tuple(rotation), float(generator.choice(_THRESHOLDS)))] = None
    return list(found)


def _consult_oracle(
    settings: HeadroomSettings, run: RunDirectory, workers: Workers, problems: Sequence[Problem], schedule: Schedule
) -> tuple[list[GrowthRecord], int]:
    """Return the best episode of every instance by J on the validation part, and how much was tried.

    Every topology of open slots is trained for a few steps with its modules there from birth; the best of these are
    played as schedules, beside the best schedule for all instances and no growth.
    """
    tasks = [(problem, _topologies(settings, problem)) for problem in problems]
    folder = workers.stage(run, HeadroomStage.SCREENING, lambda work: screen_jobs(settings, tasks, work))
    plays: list[Play] = []
    for number, problem in enumerate(problems):
        rows = [row for row in read_jsonl(folder / screened_name(number), Screened) if row.affordable]
        best = sorted(rows, key=lambda row: (-row.score, row.topology))[: settings.finalists]
        ways = [schedule, Schedule(()), *(way for row in best for way in _timetables(settings, problem, row.topology))]
        plays += [(problem, way) for way in dict.fromkeys(ways)]
    records = play_stage(settings, run, workers, HeadroomStage.ORACLE, plays, read_test=True)
    best_of: dict[int, GrowthRecord] = {}
    for (problem, _), record in zip(plays, records, strict=True):
        known = best_of.get(problem.episode.seed)
        if known is None or record.score > known.score:
            best_of[problem.episode.seed] = record
    tried = sum(len(topologies) for _, topologies in tasks) + len(plays)
    return [best_of[problem.episode.seed] for problem in problems], tried


def _topologies(settings: HeadroomSettings, problem: Problem) -> list[Topology]:
    """Return the topologies that may do something on an instance: of few modules, none of them in a dead slot."""
    host = host_of(problem.shape)
    instance = settings.growth.training.instances.draw(problem.episode.seed, host.num_slots)
    dead = set(np.flatnonzero(instance.severed.all(axis=0)).tolist())
    blueprints = token_blueprints(problem.shape.channels, data_of(problem.shape.data).tokens)
    return [
        topology
        for topology in all_topologies(blueprints, host.num_slots)
        if sum(index != NOOP for index in topology) <= settings.modules
        and not any(index != NOOP and slot in dead for slot, index in enumerate(topology))
    ]


def _timetables(settings: HeadroomSettings, problem: Problem, topology: Topology) -> list[Schedule]:
    """Return schedules of a topology: at once, and where slots drift in the other order and after the drift too."""
    instance = settings.growth.training.instances.draw(problem.episode.seed, len(topology))
    if instance.drift_at == 1:
        return [schedule_of(topology)]
    drift = int(np.ceil(instance.drift_at * settings.growth.training.steps))
    both = (True, False)
    return [schedule_of(topology, last_first=order, start=start) for order in both for start in (0, drift)]


def play_stage(
    settings: HeadroomSettings,
    run: RunDirectory,
    workers: Workers,
    stage: HeadroomStage,
    plays: Sequence[Play],
    *,
    variant: str = "",
    read_test: bool = False,
) -> list[GrowthRecord]:
    """Play episodes as a stage of the run; return their records in the order of the plays."""
    folder = workers.stage(
        run, stage, lambda work: play_jobs(settings, plays, work, read_test=read_test), variant=variant
    )
    return read_plays(plays, folder)
