"""What the growth experiment found: J of every method, differences with intervals, and sentences about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.growth.evaluation import BEST_FIXED, Records, Trainings, baselines
from experiments.growth.search import Ranking
from experiments.growth.settings import GrowthSettings
from experiments.growth.work import LEARNED
from sightline.agents.evaluation import (
    Interval,
    MethodDifference,
    bootstrap_interval,
    compare_methods,
    interquartile_interval,
    show_interval,
)
from sightline.tamiyo_policy.growth import Topology
from sightline.tamiyo_policy.hosts import NOOP, token_blueprints

_UNIT = "episodes"
"""What intervals call the rows of a table of values."""


@dataclass(frozen=True)
class Findings:
    """Everything that a report shows."""

    settings: GrowthSettings
    """Settings of the run."""
    ranking: Ranking
    """Ranking of fixed topologies."""
    trainings: Trainings
    """Rows of every training seed, by policy."""
    records: Mapping[str, Records]
    """Episodes of every training seed, by method."""

    def values(self, method: str, field: str, family: str | None = None) -> NDArray[np.float64]:
        """Return `[episodes, training seeds]`: a field of a method's records, of one family or all."""
        return np.array(
            [
                [getattr(record, field) for record in episodes if family in (None, record.family)]
                for episodes in self.records[method]
            ],
            np.float64,
        ).T

    def mean(self, method: str, field: str, family: str | None = None) -> Interval:
        """Return the mean of a field, with its interval over training seeds and episodes."""
        rng = np.random.default_rng(self.settings.seed)
        return bootstrap_interval(self.values(method, field, family), rng, unit=_UNIT)

    def interquartile(self, method: str) -> Interval:
        """Return the interquartile mean of J on the test part, with its interval."""
        rng = np.random.default_rng(self.settings.seed)
        return interquartile_interval(self.values(method, "test_score"), rng, unit=_UNIT)

    @cached_property
    def comparisons(self) -> list[MethodDifference]:
        """Comparisons of the learned policy with every baseline, J on the test part; adjusted together."""
        names = baselines(self.settings)
        tables = {name: self.values(name, "test_score") for name in (LEARNED, *names)}
        return compare_methods(LEARNED, names, tables, seed=self.settings.seed, unit=_UNIT)

    @cached_property
    def families(self) -> list[str]:
        """The families that occur."""
        return sorted({record.family for record in self.records[LEARNED][0]})

    def by_family(self, baseline: str) -> dict[str, Interval]:
        """Return the difference from a baseline within each family; not adjusted, these are descriptions."""
        found = {}
        for family in self.families:
            tables = {name: self.values(name, "test_score", family) for name in (LEARNED, baseline)}
            (only,) = compare_methods(LEARNED, [baseline], tables, seed=self.settings.seed, unit=_UNIT)
            found[family] = only.difference
        return found

    def claims(self) -> list[str]:
        """Return the answer in sentences, the most important first."""
        by_name = {comparison.baseline: comparison for comparison in self.comparisons}
        best = by_name[BEST_FIXED]
        verdict = {
            "better": "scores higher than",
            "worse": "scores lower than",
            "undecided": "cannot be told apart from",
        }
        sentences = [
            f"On unseen hosts and the untouched test split, the learned policy {verdict[best.outcome]} the best fixed "
            f"topology of {self.ranking.topologies} ({topology_name(self.ranking.best)}): the difference in J is "
            f"{show_interval(best.difference, '+.2f')} points (95 % interval; resampled: {best.difference.resampled})."
        ]
        for outcome, words in verdict.items():
            names = [item.baseline for item in self.comparisons if item.outcome == outcome and item is not best]
            if names:
                sentences.append(f"It {words}: {', '.join(names)}.")
        return sentences


def topology_name(topology: Topology) -> str:
    """Return the names of the modules by slot, for example `mixer, mlp2x, nothing`."""
    names = {NOOP: "nothing"} | {index: blueprint.name for index, blueprint in token_blueprints().items()}
    return ", ".join(names[index] for index in topology)


def results(findings: Findings) -> dict[str, Any]:
    """Return what `results.json` holds."""
    settings = findings.settings
    steps = settings.environments * settings.growth.training.steps * settings.training.rounds
    return {
        "claims": findings.claims(),
        "methods": [
            {
                "method": name,
                "training_seeds": len(records),
                "episodes": len(records[0]),
                "test_score": asdict(findings.mean(name, "test_score")),
                "test_score_interquartile": asdict(findings.interquartile(name)),
                "test_score_by_seed": findings.values(name, "test_score").mean(0).tolist(),
                "test_score_by_family": {
                    family: findings.values(name, "test_score", family).mean() for family in findings.families
                },
                "test_accuracy": asdict(findings.mean(name, "test_accuracy")),
                "validation_score": asdict(findings.mean(name, "score")),
                "validation_accuracy": asdict(findings.mean(name, "accuracy")),
                "parameters": findings.values(name, "parameters").mean(),
                "rollbacks": findings.values(name, "rollbacks").mean(),
            }
            for name, records in findings.records.items()
        ],
        "comparisons": [asdict(item) | {"outcome": item.outcome} for item in findings.comparisons],
        "best_topologies": [
            {"topology": list(topology), "names": topology_name(topology), "score": score}
            for topology, score in findings.ranking.finalists
        ],
        "training_steps_per_seed": steps,
    }
