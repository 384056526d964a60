"""Policies that are trained on a growth problem and judged on its instances, also on what they never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.growth.bounds import play_stage
from experiments.growth.playing import Play, Trained, training_job
from experiments.growth.problem import HeadroomSettings, Problem
from experiments.growth.stages import HeadroomStage
from experiments.growth.work import JOINT, LEARNED, MEMORYLESS, training_config
from lab.jobs import Workers
from lab.run import RunDirectory, slug
from sightline.tamiyo_policy.experiment import GrowthRecord

CONTROLS = (MEMORYLESS, JOINT)
"""The learner without memory, and the one with a single ratio for a whole action."""


@dataclass(frozen=True)
class LeftOut:
    """A part of the problem that policies never saw."""

    name: str
    """What it is, for example "wine"."""
    places: tuple[int, ...]
    """Places of the instances that belong to it."""
    records: list[list[GrowthRecord]]
    """Episodes on these instances, of each training seed."""


def train_and_play_stages(
    settings: HeadroomSettings, run: RunDirectory, workers: Workers, problems: Sequence[Problem]
) -> list[list[GrowthRecord]]:
    """Train a policy for each seed and play all instances; return the episodes of each seed."""
    return _learn(settings, run, workers, problems, settings.training_seeds, LEARNED)


def train_and_play_controls_stages(
    settings: HeadroomSettings, run: RunDirectory, workers: Workers, problems: Sequence[Problem]
) -> dict[str, list[list[GrowthRecord]]]:
    """Train the controls for each of their seeds and play all instances; return the episodes of each by seed."""
    found = {}
    for control in CONTROLS if settings.control_seeds else ():
        other = settings.model_copy(update={"training": training_config(settings.training, control)})
        found[control] = _learn(other, run, workers, problems, settings.control_seeds, control)
    return found


def leave_out_stages(
    settings: HeadroomSettings, run: RunDirectory, workers: Workers, problems: Sequence[Problem]
) -> list[LeftOut]:
    """Train policies without one family or one data set, and play the instances of what was left out."""
    found = []
    for field, values in (("families", settings.families), ("data_sets", settings.data_sets)):
        for value in sorted(set(values)) if settings.leave_out_seeds and len(set(values)) > 1 else ():
            places = tuple(place for place, problem in enumerate(problems) if value in _traits(problem))
            if len(places) < 2:  # nothing to say with an interval
                continue
            without = settings.model_copy(update={field: tuple(other for other in values if other != value)})
            chosen = [problems[place] for place in places]
            records = _learn(without, run, workers, chosen, settings.leave_out_seeds, f"without {value}")
            found.append(LeftOut(str(value), places, records))
    return found


def _traits(problem: Problem) -> tuple[str, str]:
    return problem.episode.family, problem.shape.data


def _learn(
    settings: HeadroomSettings,
    run: RunDirectory,
    workers: Workers,
    problems: Sequence[Problem],
    seeds: Sequence[int],
    name: str,
) -> list[list[GrowthRecord]]:
    if not seeds:
        return []
    variant = slug(name)
    folder = workers.stage(
        run,
        HeadroomStage.POLICIES,
        lambda work: [training_job(settings, seed, work / f"{variant}-seed{seed}") for seed in seeds],
        variant=variant,
    )
    plays: list[Play] = [(problem, Trained(folder / f"{variant}-seed{seed}")) for seed in seeds for problem in problems]
    played = play_stage(settings, run, workers, HeadroomStage.PLAYED, plays, variant=variant, read_test=True)
    count = len(problems)
    return [played[at * count : (at + 1) * count] for at in range(len(seeds))]
