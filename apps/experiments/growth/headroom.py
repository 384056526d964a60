"""How much there is to learn about growing: the oracle against what was fixed beforehand, in tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from experiments.growth.bounds import FIFTEEN_LINES, NO_GROWTH, ORACLE, PROBE, SCHEDULE, Bounds
from experiments.growth.playing import GREEDY
from experiments.growth.problem import HeadroomSettings
from lab.report import Report, Section
from sightline.agents import Table
from sightline.agents.evaluation import (
    Interval,
    MethodDifference,
    bootstrap_interval,
    compare_methods,
    interquartile_interval,
    show_interval,
)
from sightline.tamiyo_policy.experiment import GrowthRecord, Probe, Schedule
from sightline.tamiyo_policy.hosts import token_blueprints

LEAST: Final = 5.0
"""Points of J by which the oracle must lead the best schedule for a problem to count."""
_UNIT = "instances"
_METHODS = (NO_GROWTH, FIFTEEN_LINES, GREEDY, SCHEDULE, PROBE, ORACLE)


@dataclass(frozen=True)
class Headroom:
    """What was measured."""

    settings: HeadroomSettings
    """Settings of the run."""
    bounds: Bounds
    """Episodes of all methods."""

    def values(self, method: str, field: str = "test_score") -> NDArray[np.float64]:
        """Return `[instances]`: a field of a method's records."""
        return np.array([getattr(record, field) for record in self.bounds.records[method]], np.float64)

    def mean(self, method: str, field: str = "test_score") -> Interval:
        """Return a field's mean over instances."""
        return bootstrap_interval(self.values(method, field), self._generator(), unit=_UNIT)

    def interquartile(self, method: str) -> Interval:
        """Return the interquartile mean of J on the test part."""
        return interquartile_interval(self.values(method), self._generator(), unit=_UNIT)

    @cached_property
    def comparisons(self) -> list[MethodDifference]:
        """The oracle minus every other method, J on the test part; adjusted together. A method's regret is this."""
        others = [name for name in _METHODS if name != ORACLE]
        tables = {name: self.values(name)[:, None] for name in _METHODS}
        return compare_methods(ORACLE, others, tables, seed=self.settings.seed, unit=_UNIT)

    @property
    def headroom(self) -> Interval:
        """The oracle minus the best schedule."""
        return next(item.difference for item in self.comparisons if item.baseline == SCHEDULE)

    @property
    def verdict(self) -> str:
        """Whether the problem counts."""
        if self.headroom.low >= LEAST:
            return "counts"
        if self.headroom.value >= LEAST:
            return "counts by its mean, but its interval reaches below the threshold"
        return "does not count"

    def claims(self) -> list[str]:
        """Return the answer in sentences."""
        by_name = {item.baseline: item.difference for item in self.comparisons}
        count = len(self.bounds.problems)
        return [
            f"On {count} instances an oracle leads the best schedule by {show_interval(self.headroom, '+.2f')} points "
            f"of J (95 % interval; resampled: {self.headroom.resampled}). At a threshold of {LEAST:g}, the problem "
            f"{self.verdict}.",
            "Against a probing rule, which looks at gradients and contributions, the oracle's lead is "
            f"{show_interval(by_name[PROBE], '+.2f')}.",
            f"The oracle tried {self.bounds.tried / count:.0f} topologies and schedules per instance and chose by the "
            f"validation part. The searches took {self.bounds.searched_steps[0]:,} and "
            f"{self.bounds.searched_steps[1]:,} environment steps.",
            f"The best schedule: {schedule_text(self.bounds.schedule)}. The best probing rule: "
            f"{probe_text(self.bounds.probe)}.",
        ]

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(self.settings.seed)


def schedule_text(schedule: Schedule) -> str:
    """Return a schedule in words."""
    plan = ", then ".join(f"{_name(blueprint)} in slot {slot}" for slot, blueprint in schedule.plan)
    return f"{plan or 'nothing'}; from step {schedule.start} on, tempo {schedule.tempo.name.lower()}"


def probe_text(probe: Probe) -> str:
    """Return a probing rule in words."""
    return f"{', '.join(map(_name, probe.rotation))}; kept above {probe.keep_above:g} points"


def methods_table(headroom: Headroom) -> Table:
    """Return how every method did, and what the oracle reaches more."""
    regret = {item.baseline: item for item in headroom.comparisons}
    return Table(
        columns=("method", "J", "J, interquartile mean", "accuracy %", "parameters", "oracle minus it", "p, Holm"),
        rows=tuple(
            (
                name,
                show_interval(headroom.mean(name), ".2f"),
                show_interval(headroom.interquartile(name), ".2f"),
                f"{headroom.values(name, 'test_accuracy').mean():.2f}",
                f"{headroom.values(name, 'parameters').mean():.0f}",
                show_interval(regret[name].difference, "+.2f") if name in regret else "",
                f"{regret[name].adjusted_p_value:.4f}" if name in regret else "",
            )
            for name in _METHODS
        ),
        caption="On the test split, which nothing that was chosen has read. J is accuracy minus rent, in points, and "
        "rent grows with a module's share of its host. 95 % bootstrap intervals; resampled: instances.",
    )


def parts_table(headroom: Headroom) -> Table:
    """Return mean J by data set, family and drift: descriptions without adjustment."""
    groups = _groups(headroom)
    return Table(
        columns=("instances", "number", *_METHODS),
        rows=tuple(
            (name, str(len(places)), *(f"{headroom.values(method)[list(places)].mean():.2f}" for method in _METHODS))
            for name, places in groups.items()
        ),
        caption="Mean J on the test split.",
    )


def write_report(headroom: Headroom) -> Report:
    """Return the report."""
    tables = (methods_table(headroom), parts_table(headroom))
    sections = [
        Section("On unseen instances", tuple(headroom.claims()[1:]), tables[:1]),
        Section("By kind of instance", (), tables[1:]),
    ]
    return Report(
        "How much can be gained by deciding, host by host, what to grow?", headroom.claims(), tables, sections
    )


def results(headroom: Headroom) -> dict[str, Any]:
    """Return what `results.json` holds."""
    return {
        "claims": headroom.claims(),
        "headroom": asdict(headroom.headroom),
        "verdict": headroom.verdict,
        "threshold": LEAST,
        "comparisons": [asdict(item) | {"outcome": item.outcome} for item in headroom.comparisons],
        "methods": [
            {
                "method": name,
                "test_score": asdict(headroom.mean(name)),
                "test_score_interquartile": asdict(headroom.interquartile(name)),
                "validation_score": asdict(headroom.mean(name, "score")),
                "test_accuracy": asdict(headroom.mean(name, "test_accuracy")),
                "parameters": headroom.values(name, "parameters").mean(),
            }
            for name in _METHODS
        ],
        "instances": [
            {
                **asdict(problem.shape),
                **asdict(problem.episode),
                **{name: _row(headroom.bounds.records[name][place]) for name in _METHODS},
            }
            for place, problem in enumerate(headroom.bounds.problems)
        ],
        "best_schedule": schedule_text(headroom.bounds.schedule),
        "best_probing_rule": probe_text(headroom.bounds.probe),
        "searched_steps": list(headroom.bounds.searched_steps),
        "oracle_tried": headroom.bounds.tried,
    }


def _row(record: GrowthRecord) -> dict[str, Any]:
    return {"test_score": record.test_score, "score": record.score, "topology": list(record.topology)}


def _groups(headroom: Headroom) -> Mapping[str, Sequence[int]]:
    groups: dict[str, list[int]] = {}
    instances = headroom.settings.growth.training.instances
    for place, problem in enumerate(headroom.bounds.problems):
        drifts = instances.draw(problem.episode.seed, 3).drift_at < 1
        for name in (problem.shape.data, f"family {problem.episode.family}", "drift" if drifts else "no drift"):
            groups.setdefault(name, []).append(place)
    return dict(sorted(groups.items()))


def _name(blueprint: int) -> str:
    return token_blueprints()[blueprint].name
