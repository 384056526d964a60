"""What worker processes do to measure headroom: play instances by given rules, and screen topologies for the oracle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from experiments.growth.problem import HeadroomSettings, Problem, Shape, data_of, problem_of
from lab.jobs import Job
from sightline.retrieval.jsonl import DurableLines, read_jsonl
from sightline.tamiyo_policy import GrowthEnvironment, GrowthTrainingConfig, load_trained_policy, train_policy
from sightline.tamiyo_policy.experiment import (
    METRICS,
    GrowthRecord,
    Method,
    MixedEnvironment,
    Probe,
    Rival,
    Schedule,
    greedy_counterfactual,
    learned,
    play_episodes,
    probing,
    scheduled,
    train_rivals,
)
from sightline.tamiyo_policy.growth import Topology, TopologyRun, train_topologies
from sightline.tamiyo_policy.hosts import DEPTHWISE, LORA, MLP_SMALL, NORM, TokenHost, token_blueprints

GREEDY = "greedy counterfactual"
_ROTATION = (DEPTHWISE, NORM, MLP_SMALL, LORA)


@dataclass(frozen=True)
class Trained:
    """A policy, drawing its actions at random."""

    folder: Path
    """Folder of its training."""


Way: TypeAlias = Schedule | Probe | Trained | Rival | Literal["greedy counterfactual"]
"""What acts in one episode."""

Play: TypeAlias = tuple[Problem, Way]

_PARTS = 4


class Screened(BaseModel):
    """What a topology reached on one instance in a few steps."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    topology: tuple[int, ...]
    """K blueprint ids."""
    score: float
    """J on the validation part."""
    affordable: bool
    """Whether the instance's budget pays for it."""


def play_jobs(settings: HeadroomSettings, plays: Sequence[Play], folder: Path, *, read_test: bool = False) -> list[Job]:
    """Return the jobs that play episodes, and write a record of each; `read_plays` puts these in order."""
    jobs = []
    for part, places in enumerate(_parts(plays)):
        file = folder / f"part{part}.jsonl"
        jobs.append(Job(file, len(places), _play, (settings, [plays[place] for place in places], read_test, file)))
    return jobs


def read_plays(plays: Sequence[Play], folder: Path) -> list[GrowthRecord]:
    """Return the records of `play_jobs`, in the order of the plays."""
    found: dict[int, GrowthRecord] = {}
    for part, places in enumerate(_parts(plays)):
        found |= dict(zip(places, read_jsonl(folder / f"part{part}.jsonl", GrowthRecord), strict=True))
    return [found[place] for place in range(len(plays))]


def screen_jobs(
    settings: HeadroomSettings, tasks: Sequence[tuple[Problem, Sequence[Topology]]], folder: Path
) -> list[Job]:
    """Return jobs that train every topology of every instance for a few steps, with its modules there from birth."""
    jobs = []
    for number, (problem, topologies) in enumerate(tasks):
        file = folder / screened_name(number)
        jobs.append(Job(file, len(topologies), _screen, (settings, problem, topologies, file)))
    return jobs


def screened_name(number: int) -> str:
    """Return the file that the screening of an instance writes, rows of `Screened`."""
    return f"instance{number}.jsonl"


def host_of(shape: Shape) -> TokenHost:
    """Return the host of a shape."""
    data = data_of(shape.data)
    return TokenHost(data.channels, data.tokens, data.num_classes, shape.channels)


def _parts(plays: Sequence[Play]) -> list[list[int]]:
    """Return the places of the plays of each job, alike plays together."""
    order = sorted(range(len(plays)), key=lambda place: (*_kind(plays[place]), place))
    size = -(-len(order) // _PARTS)
    return [part for start in range(0, len(order), size) if (part := order[start : start + size])]


def _kind(play: Play) -> tuple[Shape, str]:
    problem, way = play
    name = way.folder.name if isinstance(way, Trained) else type(way).__name__
    return problem.shape, way if isinstance(way, str) else name


def _stacks(settings: HeadroomSettings, plays: Sequence[Play]) -> Iterator[list[Play]]:
    for _, alike in groupby(plays, _kind):
        group = list(alike)
        for start in range(0, len(group), settings.stack):
            yield group[start : start + settings.stack]


def _play(settings: HeadroomSettings, plays: Sequence[Play], read_test: bool, file: Path) -> None:
    lines = DurableLines(file)
    complete, done = lines.cut(), 0
    for stack in _stacks(settings, plays):
        done += len(stack)
        if done <= complete:
            continue
        if complete > done - len(stack):
            complete = lines.cut(done - len(stack))
        records = _play_stack(settings, stack, read_test=read_test)
        lines.append(*(record.model_dump_json().encode() for record in records))


def _play_stack(settings: HeadroomSettings, stack: Sequence[Play], *, read_test: bool) -> list[GrowthRecord]:
    """Play alike episodes side by side."""
    shape, (_, first) = stack[0][0].shape, stack[0]
    if rivals := [(way, problem.episode) for problem, way in stack if isinstance(way, Rival)]:
        return train_rivals(rivals, data_of(shape.data), host_of(shape), config=settings.growth, read_test=read_test)
    environment = GrowthEnvironment(
        data_of(shape.data),
        len(stack),
        config=settings.growth,
        channels=shape.channels,
        counterfactuals=not isinstance(first, Schedule),
    )
    method = _method(settings, environment, [way for _, way in stack])
    (records,) = play_episodes(environment, [problem.episode for problem, _ in stack], method, read_test=read_test)
    return records


def _method(settings: HeadroomSettings, environment: GrowthEnvironment, ways: Sequence[Way]) -> Method:
    space = environment.action_space
    if schedules := [way for way in ways if isinstance(way, Schedule)]:
        return scheduled(space, schedules)
    if probes := [way for way in ways if isinstance(way, Probe)]:
        return probing(space, probes)
    if isinstance(ways[0], Trained):
        one = _training_environment(settings, 1)
        policy = load_trained_policy(ways[0].folder, one, training_of(settings))
        return learned(policy, deterministic=False, seed=settings.seed)
    return greedy_counterfactual(space, settings.growth.lifecycle, _ROTATION, keep_above=1.0)


def training_job(settings: HeadroomSettings, seed: int, folder: Path) -> Job:
    """Return the job that trains one policy on instances of the problem, in a folder of its own."""
    return Job(folder / METRICS, settings.training.rounds, _train, (settings, seed, folder))


def training_of(settings: HeadroomSettings) -> GrowthTrainingConfig:
    """Return the learner, for the families of the problem."""
    return settings.training.model_copy(update={"families": settings.families})


def _train(settings: HeadroomSettings, seed: int, folder: Path) -> None:
    train_policy(_training_environment(settings, settings.environments), training_of(settings), folder, seed=seed)


def _training_environment(settings: HeadroomSettings, num_envs: int) -> MixedEnvironment:
    def build(seed: int, hosts: int) -> GrowthEnvironment:
        shape = problem_of(settings, seed).shape
        return GrowthEnvironment(data_of(shape.data), hosts, config=settings.growth, channels=shape.channels)

    return MixedEnvironment(build, num_envs)


def _screen(settings: HeadroomSettings, problem: Problem, topologies: Sequence[Topology], file: Path) -> None:
    lines = DurableLines(file)
    lines.cut(0)  # a few seconds of work
    shape, data = problem.shape, data_of(problem.shape.data)
    runs = [TopologyRun(topology, problem.episode.family, problem.episode.seed) for topology in topologies]
    training = settings.growth.training.model_copy(update={"steps": settings.screening_steps})
    for results in train_topologies(
        runs,
        data,
        host_of(shape),
        token_blueprints(shape.channels, data.tokens),
        channels=shape.channels,
        training=training,
        reward=settings.growth.reward,
        stack=settings.stack,
    ):
        found = [
            Screened(topology=result.run.topology, score=result.score, affordable=result.affordable)
            for result in results
        ]
        lines.append(*(row.model_dump_json().encode() for row in found))
