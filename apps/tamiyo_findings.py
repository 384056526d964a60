"""What the growth experiment found: J of every method, differences with intervals, and sentences about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tamiyo_evaluation import BEST_FIXED, Records, Trainings, baselines
from tamiyo_search import Ranking
from tamiyo_settings import TamiyoSettings
from tamiyo_work import LEARNED

from sightline.tamiyo_policy.comparison import (
    Estimate,
    PairedComparison,
    compare_all,
    interquartile_estimate,
    mean_estimate,
)
from sightline.tamiyo_policy.growth import Topology
from sightline.tamiyo_policy.hosts import NOOP, token_blueprints


@dataclass(frozen=True)
class Findings:
    """Everything that a report shows.

    Attributes:
        settings: of the run.
        ranking: of fixed topologies.
        trainings: rows of every training seed, by policy.
        records: episodes of every training seed, by method.
    """

    settings: TamiyoSettings
    ranking: Ranking
    trainings: Trainings
    records: Mapping[str, Records]

    def values(self, method: str, field: str, family: str | None = None) -> NDArray[np.float64]:
        """[S, N]: a field of a method's records, of one family or all."""
        return np.array(
            [
                [getattr(record, field) for record in episodes if family in (None, record.family)]
                for episodes in self.records[method]
            ],
            np.float64,
        )

    def mean(self, method: str, field: str, family: str | None = None) -> Estimate:
        """The mean of a field, with its interval over training seeds and episodes."""
        return mean_estimate(self.values(method, field, family), seed=self.settings.seed)

    def interquartile(self, method: str) -> Estimate:
        """The interquartile mean of J on the test part."""
        return interquartile_estimate(self.values(method, "test_score"), seed=self.settings.seed)

    @cached_property
    def comparisons(self) -> list[PairedComparison]:
        """The learned policy against every baseline, J on the test part; adjusted together."""
        names = baselines(self.settings)
        tables = {name: self.values(name, "test_score") for name in (LEARNED, *names)}
        return compare_all(LEARNED, names, tables, seed=self.settings.seed)

    @cached_property
    def families(self) -> list[str]:
        """The families that occur."""
        return sorted({record.family for record in self.records[LEARNED][0]})

    def by_family(self, baseline: str) -> dict[str, Estimate]:
        """The difference from a baseline within each family; not adjusted, these are descriptions."""
        found = {}
        for family in self.families:
            tables = {name: self.values(name, "test_score", family) for name in (LEARNED, baseline)}
            found[family] = compare_all(LEARNED, [baseline], tables, seed=self.settings.seed)[0].difference
        return found

    def claims(self) -> list[str]:
        """The answer in sentences, the most important first."""
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
            f"{show(best.difference, '+.2f')} points."
        ]
        for outcome, words in verdict.items():
            names = [item.baseline for item in self.comparisons if item.outcome == outcome and item is not best]
            if names:
                sentences.append(f"It {words}: {', '.join(names)}.")
        return sentences


def topology_name(topology: Topology) -> str:
    """Names of the modules by slot, for example `mixer, mlp2x, nothing`."""
    names = {NOOP: "nothing"} | {index: blueprint.name for index, blueprint in token_blueprints().items()}
    return ", ".join(names[index] for index in topology)


def show(estimate: Estimate, style: str = ".2f") -> str:
    """A value and its interval."""
    value, low, high = (format(number, style) for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def results(findings: Findings) -> dict[str, Any]:
    """What `results.json` holds."""
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
                "test_score_by_seed": findings.values(name, "test_score").mean(1).tolist(),
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
