"""How much there is to learn about growing: the oracle against what was fixed beforehand, in tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from experiments.growth.bounds import FIFTEEN_LINES, NO_GROWTH, ORACLE, PROBE, SCHEDULE, Bounds
from experiments.growth.learning import LeftOut
from experiments.growth.playing import GREEDY
from experiments.growth.problem import HeadroomSettings
from experiments.growth.rivals import Rivals, rival_text
from experiments.growth.work import LEARNED
from lab.report import Report, Section
from sightline.agents import Table
from sightline.agents.evaluation import (
    Interval,
    MethodDifference,
    bootstrap_interval,
    compare_methods,
    interquartile_interval,
    paired_difference,
    resampled_by,
    show_interval,
)
from sightline.tamiyo_policy.experiment import GrowthRecord, Probe, Schedule
from sightline.tamiyo_policy.hosts import token_blueprints

LEAST: Final = 5.0
"""Points of J by which the oracle must lead the best schedule for a problem to count."""
_UNIT = "instances"


@dataclass(frozen=True)
class Headroom:
    """What was measured."""

    settings: HeadroomSettings
    """Settings of the run."""
    bounds: Bounds
    """Episodes of rules and of the oracle."""
    rivals: Rivals
    """Episodes of growth methods of the field."""
    learned: list[list[GrowthRecord]]
    """Episodes of each training seed; none if nothing was trained."""
    controls: Mapping[str, list[list[GrowthRecord]]]
    """Episodes of each training seed of other learners, by their name."""
    left_out: list[LeftOut]
    """Policies on what they never saw."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, the oracle last."""
        learned = (LEARNED,) if self.learned else ()
        rules = (NO_GROWTH, FIFTEEN_LINES, GREEDY, SCHEDULE, PROBE)
        return (*rules, *self.rivals.records, *self.controls, *learned, ORACLE)

    @property
    def records(self) -> Mapping[str, Sequence[Sequence[GrowthRecord]]]:
        """Episodes by method and training seed."""
        return {**self.bounds.records, **self.rivals.records, **self.controls, LEARNED: self.learned}

    def values(self, method: str, field: str = "test_score") -> NDArray[np.float64]:
        """Return `[instances, training seeds]`: a field of a method's records; one column where nothing was trained."""
        return _table(self.records[method], field)

    def mean(self, method: str, field: str = "test_score") -> Interval:
        """Return a field's mean over instances."""
        return bootstrap_interval(self.values(method, field), self.generator(), unit=_UNIT)

    def regret(self, method: str) -> Interval:
        """Return the interquartile mean over instances of what the oracle reaches more."""
        return interquartile_interval(self.values(ORACLE) - self.values(method), self.generator(), unit=_UNIT)

    @cached_property
    def comparisons(self) -> list[MethodDifference]:
        """The oracle minus every other method, J on the test part; adjusted together."""
        return self._compare(ORACLE, self.methods[:-1])

    @cached_property
    def learned_comparisons(self) -> list[MethodDifference]:
        """The learned policies minus every method but the oracle, likewise; none if nothing was trained."""
        others = [name for name in self.methods if name not in (LEARNED, ORACLE)]
        return self._compare(LEARNED, others) if self.learned else []

    def _compare(self, candidate: str, others: Sequence[str]) -> list[MethodDifference]:
        tables = {name: self.values(name) for name in self.methods}
        return compare_methods(candidate, others, tables, seed=self.settings.seed, unit=_UNIT)

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
        leads = [f"{show_interval(by_name[name], '+.2f')} ({name})" for name in self.rivals.records]
        count = len(self.bounds.problems)
        return [
            f"On {count} instances an oracle leads the best schedule by {show_interval(self.headroom, '+.2f')} points "
            f"of J (95 % interval; resampled: {self.headroom.resampled}). At a threshold of {LEAST:g}, the problem "
            f"{self.verdict}.",
            "Against a probing rule, which looks at gradients and contributions, the oracle's lead is "
            f"{show_interval(by_name[PROBE], '+.2f')}.",
            "Against growth methods of the field, which grow as many parameters as the oracle's choice on each "
            f"instance, its lead is {', '.join(leads)}.",
            *self._learned_claims(),
            f"The oracle tried {self.bounds.tried / count:.0f} topologies and schedules per instance and chose by the "
            f"validation part. The searches took {self.bounds.searched_steps[0]:,} and "
            f"{self.bounds.searched_steps[1]:,} environment steps.",
            f"The best schedule: {schedule_text(self.bounds.schedule)}. The best probing rule: "
            f"{probe_text(self.bounds.probe)}. When methods of the field grow: "
            f"{', '.join(map(rival_text, self.rivals.ways))}; chosen on {self.rivals.searched_steps:,} steps.",
        ]

    def _learned_claims(self) -> list[str]:
        return [
            f"Learned (training seeds: {len(self.learned)}) minus {item.baseline}: "
            f"{show_interval(item.difference, '+.2f')}, {item.outcome} (resampled: {item.difference.resampled})."
            for item in self.learned_comparisons
            if item.baseline in (SCHEDULE, PROBE)
        ]

    def generator(self) -> np.random.Generator:
        """Return the generator of all intervals."""
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
        columns=("method", "J", "accuracy %", "parameters", "oracle minus it", "interquartile mean of that", "p, Holm"),
        rows=tuple(
            (
                name,
                show_interval(headroom.mean(name), ".2f"),
                f"{headroom.values(name, 'test_accuracy').mean():.2f}",
                f"{headroom.values(name, 'parameters').mean():.0f}",
                show_interval(regret[name].difference, "+.2f") if name in regret else "",
                show_interval(headroom.regret(name), "+.2f") if name in regret else "",
                f"{regret[name].adjusted_p_value:.4f}" if name in regret else "",
            )
            for name in headroom.methods
        ),
        caption="On the test split, which nothing that was chosen has read. J is accuracy minus rent, in points, and "
        "rent grows with a module's share of its host. 95 % bootstrap intervals; resampled: "
        f"{resampled_by(item.difference for item in headroom.comparisons)}. Equal parameters: "
        f"{', '.join(headroom.rivals.records)} may grow as many on each instance as the oracle's choice has there, in "
        "whole hidden units, so that a few are left over; AutoGrow may end earlier. They are told this number, and no "
        "other method is.",
    )


def sizes_table(headroom: Headroom) -> Table:
    """Return growth methods of the field at the oracle's parameters and at those of the best schedule."""
    rows, leads = [], []
    for name in headroom.rivals.records:
        fields = ("test_score", "parameters")
        score, parameters = (_table(headroom.rivals.untold[name], field) for field in fields)
        mean = bootstrap_interval(score, headroom.generator(), unit=_UNIT)
        leads.append(paired_difference(headroom.values(ORACLE), score, headroom.generator(), unit=_UNIT))
        told = show_interval(headroom.mean(name), ".2f"), f"{headroom.values(name, 'parameters').mean():.0f}"
        rows.append(
            (name, *told, show_interval(mean, ".2f"), f"{parameters.mean():.0f}", show_interval(leads[-1], "+.2f"))
        )
    return Table(
        columns=(
            "method",
            "J, oracle's size",
            "parameters",
            "J, best schedule's size",
            "parameters",
            "oracle minus it",
        ),
        rows=tuple(rows),
        caption="What it is worth to be told how much to grow: the best schedule's size tells nothing of an instance "
        "but what its budget pays for. On the test split, not adjusted; 95 % bootstrap intervals; resampled: "
        f"{resampled_by(leads)}.",
    )


def parts_table(headroom: Headroom) -> Table:
    """Return mean J by data set, family and drift: descriptions without adjustment."""
    groups = _groups(headroom)
    return Table(
        columns=("instances", "number", *headroom.methods),
        rows=tuple(
            (
                name,
                str(len(places)),
                *(f"{headroom.values(method)[list(places)].mean():.2f}" for method in headroom.methods),
            )
            for name, places in groups.items()
        ),
        caption="Mean J on the test split.",
    )


def learned_table(headroom: Headroom) -> Table:
    """Return the learned policies against everything but the oracle."""
    return Table(
        columns=("learned minus", "difference in J, test", "p, Holm", "outcome", "by training seed"),
        rows=tuple(
            (
                item.baseline,
                show_interval(item.difference, "+.2f"),
                f"{item.adjusted_p_value:.4f}",
                item.outcome,
                "  ".join(f"{value:+.2f}" for value in item.by_seed),
            )
            for item in headroom.learned_comparisons
        ),
        caption="Paired by instance; 95 % bootstrap intervals; resampled: "
        f"{resampled_by(item.difference for item in headroom.learned_comparisons)}.",
    )


def left_out_table(headroom: Headroom) -> Table:
    """Return policies on the family or data set that they never saw, beside the best schedule, which saw it."""
    rows = []
    for part in headroom.left_out:
        mine = np.array([[record.test_score for record in of] for of in part.records], np.float64).T
        schedule = headroom.values(SCHEDULE)[list(part.places)]
        difference = paired_difference(mine, schedule, np.random.default_rng(headroom.settings.seed), unit=_UNIT)
        cells = (f"{mine.mean():.2f}", f"{schedule.mean():.2f}", show_interval(difference, "+.2f"))
        rows.append((part.name, str(len(part.places)), *cells, difference.resampled))
    return Table(
        columns=("never seen", "instances", "J, learned", "J, best schedule", "difference", "resampled"),
        rows=tuple(rows),
        caption="On the test split, not adjusted; 95 % bootstrap intervals.",
    )


def write_report(headroom: Headroom) -> Report:
    """Return the report."""
    learned = ((learned_table(headroom),) if headroom.learned else ()) + (
        (left_out_table(headroom),) if headroom.left_out else ()
    )
    tables = (methods_table(headroom), *learned, sizes_table(headroom), parts_table(headroom))
    sections = [
        Section("On unseen instances", tuple(headroom.claims()[1:]), tables[:-1]),
        Section("By kind of instance", (), tables[-1:]),
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
        "comparisons": [
            asdict(item) | {"outcome": item.outcome} for item in (*headroom.comparisons, *headroom.learned_comparisons)
        ],
        "methods": [
            {
                "method": name,
                "test_score": asdict(headroom.mean(name)),
                "test_score_by_seed": headroom.values(name).mean(0).tolist(),
                "validation_score": asdict(headroom.mean(name, "score")),
                "test_accuracy": asdict(headroom.mean(name, "test_accuracy")),
                "parameters": headroom.values(name, "parameters").mean(),
            }
            for name in headroom.methods
        ],
        "methods_at_the_schedules_size": [
            {"method": name, **{field: _table(records, field).mean() for field in ("test_score", "parameters")}}
            for name, records in headroom.rivals.untold.items()
        ],
        "instances": [
            {
                **asdict(problem.shape),
                **asdict(problem.episode),
                **{name: [_row(of[place]) for of in records] for name, records in headroom.records.items()},
            }
            for place, problem in enumerate(headroom.bounds.problems)
        ],
        "never_seen": [
            {"part": part.name, "instances": part.places, LEARNED: [[_row(one) for one in of] for of in part.records]}
            for part in headroom.left_out
        ],
        "best_schedule": schedule_text(headroom.bounds.schedule),
        "best_probing_rule": probe_text(headroom.bounds.probe),
        "methods_of_the_field": [asdict(way) for way in headroom.rivals.ways],
        "searched_steps": [*headroom.bounds.searched_steps, headroom.rivals.searched_steps],
        "oracle_tried": headroom.bounds.tried,
    }


def _table(records: Sequence[Sequence[GrowthRecord]], field: str) -> NDArray[np.float64]:
    """Return `[instances, training seeds]`: a field of records."""
    return np.array([[getattr(record, field) for record in of] for of in records], np.float64).T


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
