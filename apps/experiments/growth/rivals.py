"""Growth methods of the field on the instances of a growth problem, each at as many parameters as the oracle's choice.

They are told how much to grow, which every other method must find out; what and where is left to them. What that is
worth is seen beside it, at as many parameters as the best schedule grows, which knows nothing of an instance. Over
which part of an episode a method grows is chosen on instances of their own, by the validation part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from experiments.growth.bounds import ORACLE, SCHEDULE, Bounds, play_stage
from experiments.growth.playing import Play
from experiments.growth.problem import HeadroomSettings, problems_from
from experiments.growth.stages import HeadroomStage
from lab.jobs import Workers
from lab.run import RunDirectory
from sightline.tamiyo_policy.experiment import SELECTION_SEED, GrowthRecord, Rival, RivalName

_SPREADING: tuple[RivalName, ...] = ("Net2Net", "GradMax", "Firefly")
"""Methods that leave open when they grow; AutoGrow does not."""
_SPREADS = (0.0, 1 / 3, 2 / 3)
"""Shares of an episode over which these may grow."""
_INSTANCES = 18
"""Instances on which the spread of growth is chosen, where a search's steps suffice for so many."""


@dataclass(frozen=True)
class Rivals:
    """What growth methods of the field did."""

    ways: tuple[Rival, ...]
    """The methods, as they were chosen."""
    records: dict[str, list[list[GrowthRecord]]]
    """At the oracle's parameters: one list of episodes for each, by name, in the order of the instances."""
    untold: dict[str, list[list[GrowthRecord]]]
    """The same at the best schedule's parameters."""
    searched_steps: int
    """Environment steps of the choice."""


def play_rivals_stages(settings: HeadroomSettings, run: RunDirectory, workers: Workers, bounds: Bounds) -> Rivals:
    """Choose over which part of an episode each method grows, and play all instances at the oracle's parameters."""
    ways, steps = _choose(settings, run, workers)
    found = []
    for other, variant in ((ORACLE, "instances"), (SCHEDULE, "instances-of-the-schedules-size")):
        (records,) = bounds.records[other]
        plays: list[Play] = [
            (problem, replace(way, parameters=record.parameters))
            for way in ways
            for problem, record in zip(bounds.problems, records, strict=True)
        ]
        played = play_stage(settings, run, workers, HeadroomStage.RIVALS, plays, variant=variant, read_test=True)
        count = len(bounds.problems)
        found.append({str(way.name): [played[at * count : (at + 1) * count]] for at, way in enumerate(ways)})
    return Rivals(ways, *found, steps)


def _choose(settings: HeadroomSettings, run: RunDirectory, workers: Workers) -> tuple[tuple[Rival, ...], int]:
    """Return all methods, with the best spread by mean J on the validation part, and the environment steps it took."""
    candidates = [Rival(name, until) for name in _SPREADING for until in _SPREADS]
    steps = settings.growth.training.steps
    instances = min(_INSTANCES, max(1, settings.search_steps // (steps * len(candidates))))
    problems = problems_from(settings, SELECTION_SEED, instances)
    plays: list[Play] = [(problem, way) for way in candidates for problem in problems]
    records = play_stage(settings, run, workers, HeadroomStage.RIVALS, plays, variant="spreads")
    scores = np.array([record.score for record in records]).reshape(len(_SPREADING), len(_SPREADS), instances).mean(2)
    best = zip(_SPREADING, scores.argmax(1), strict=True)
    return (*(Rival(name, _SPREADS[at]) for name, at in best), Rival("AutoGrow")), len(plays) * steps


def rival_text(way: Rival) -> str:
    """Return in words when a method grows."""
    if way.name == "AutoGrow":
        return "AutoGrow at a pace of its own"
    return f"{way.name} {'before the first step' if way.until == 0 else f'over the first {100 * way.until:.0f} %'}"
