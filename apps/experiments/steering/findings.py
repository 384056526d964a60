"""What the experiment found: means and paired differences with intervals, and every aim as met or not met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.steering.data import FILTERED, MODES, Data
from experiments.steering.methods import (
    DEFAULT_WITH_BM25,
    DEFAULT_WITH_TUNING,
    METRICS,
    PLAIN,
    PREDICTORS,
    ROUTED,
    STAGED,
    Scores,
)
from experiments.steering.settings import SteeringSettings
from sightline.agents.evaluation import Interval, bootstrap_interval, paired_difference, ratio_interval, show_interval

STEERED_ADAPTER, UNSTEERED_ADAPTER, COSINE = "adapter, steered", "adapter, unsteered", "cosine"
SOFT_FILTER = "adapter, soft filter"
AIMED_GAIN = 0.02
"""MRR above the steered adapter, with given steering."""
AIMED_LOSS = 0.005
"""MRR that may be lost to cosine where no steering is given."""
AIMED_ERROR = 0.05
"""Expected calibration error."""
AIMED_PRECISION = 0.9
"""Share of TRUST answers that are right."""

_RESAMPLES = 2000


@dataclass(frozen=True)
class Claim:
    """One aim, and what came of it."""

    data: str
    """Name of the data set."""
    method: str
    """Name of the predictor."""
    aim: str
    """What was aimed at."""
    found: str
    """What was measured."""
    met: bool
    """Whether the aim is met."""

    def __str__(self) -> str:
        return f"{'Met' if self.met else 'Not met'} ({self.data}, {self.method}): {self.aim}. Found: {self.found}."


@dataclass(frozen=True)
class DataFindings:
    """What was found on one data set."""

    settings: SteeringSettings
    """Settings of the run."""
    data: Data
    """The data set."""
    scores: Scores
    """Scores of all methods."""
    explained: Mapping[str, Sequence[Mapping[str, Any]]]
    """Predictor -> what was measured of its explanations, once per seed."""
    _intervals: dict[tuple[str, ...], Interval] = field(default_factory=dict, init=False, repr=False)

    def interval(self, method: str, mode: str, metric: str = "reciprocal_rank") -> Interval:
        """Return the mean of a metric over questions and training seeds, both of which are resampled."""
        key = (method, mode, metric)
        if key not in self._intervals:
            self._intervals[key] = bootstrap_interval(
                self.scores.of(method, mode, metric).T,
                np.random.default_rng(self.settings.seed),
                groups=self.scores.groups,
                unit="questions",
                resamples=_RESAMPLES,
            )
        return self._intervals[key]

    def difference(self, method: str, mode: str, baseline: str, baseline_mode: str) -> Interval:
        """Return MRR of one method minus MRR of another on the same questions; training seeds are resampled apart."""
        key = (method, mode, baseline, baseline_mode)
        if key not in self._intervals:
            self._intervals[key] = paired_difference(
                self.scores.of(method, mode).T,
                self.scores.of(baseline, baseline_mode).T,
                np.random.default_rng(self.settings.seed),
                groups=self.scores.groups,
                unit="questions",
            )
        return self._intervals[key]

    def mean_explained(self, predictor: str, key: str, section: str | None = None) -> NDArray[np.float64]:
        """Return the mean over seeds of a number, or of a list of numbers; NaN where no seed has one."""
        rows = [row if section is None else row[section] for row in self.explained[predictor]]
        values = np.array([row[key] for row in rows], dtype=np.float64)
        defined = np.isfinite(values)
        return np.where(
            defined.any(axis=0), np.where(defined, values, 0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1), np.nan
        )

    def trusted(self, predictor: str) -> tuple[Interval | None, float]:
        """Return the share of TRUST answers that are right, and the share of questions trusted, over all seeds.

        The interval is None where fewer than two groups of questions are trusted.
        """
        rows = self.explained[predictor]
        coverage = sum(len(row["trusted_right"]) for row in rows) / sum(row["questions"] for row in rows)
        groups = np.unique(np.concatenate([np.array(row["trusted_groups"], dtype=np.int64) for row in rows]))
        if len(groups) < 2:
            return None, coverage
        trusted, right = np.zeros((2, len(groups), len(rows)))
        for seed, row in enumerate(rows):
            places = np.searchsorted(groups, np.array(row["trusted_groups"], dtype=np.int64))
            np.add.at(trusted[:, seed], places, 1)
            np.add.at(right[:, seed], places, row["trusted_right"])
        rng = np.random.default_rng(self.settings.seed)
        return ratio_interval(right, trusted, rng, unit="clusters of questions"), coverage

    def claims(self) -> list[Claim]:
        """Return every aim, those of ranking before those of explanations."""
        return [claim for name in self.scores.ranked for claim in (*self._ranking(name), *self._trust(name))]

    @property
    def default(self) -> str:
        """What an answerer ranks by, with the tuned encoder to choose from where the run has tuned one."""
        return DEFAULT_WITH_TUNING if self.scores.tuned else DEFAULT_WITH_BM25

    @property
    def models_that_meet_the_aims(self) -> list[str]:
        """Models that meet every aim of ranking on this data."""
        ranked = self.scores.ranked
        failed = {claim.method for name in ranked for claim in self._ranking(name) if not claim.met}
        return [name for name in ranked if name not in failed]

    def recommendation(self) -> str:
        """Return which models meet the aims on this data, and what validation recommends for each kind of steering."""
        good = self.models_that_meet_the_aims
        opening = (
            f"the {' and the '.join(good)} {'meets' if len(good) == 1 else 'meet'} every aim of ranking"
            if good
            else "no model meets every aim of ranking"
        )
        modes = {
            "where categories are given and right": "category",
            "where they are unreliable": "unreliable",
            "with keywords": "keywords",
            "without steering": "none",
        }
        advice = "; ".join(f"{when} {self.preferred(mode)!r}" for when, mode in modes.items())
        staged, seeds = list(self.scores.kept).count(STAGED), len(self.scores.kept)
        default = f"The default is the {STAGED} with {staged} of {seeds} training seeds, else the scorer"
        if tuned := self.scores.tuned:
            default += f". The {DEFAULT_WITH_TUNING} has the tuned encoder with {sum(tuned)} of {len(tuned)} seeds"
        return f"On {self.data.name}, {opening}. {default}. The best by MRR on validation questions: {advice}."

    def preferred(self, mode: str) -> str:
        """Return the method that validation prefers under a mode, behind a hard filter or not.

        Of methods that are equal to the third digit it is the default. Parts of ablations are no methods.
        """
        validation = self.scores.validation
        options = [
            (name, each)
            for name in validation
            if not name.startswith(f"{PLAIN}, ")
            for each in (mode, *(filtered for filtered, steered in FILTERED.items() if steered == mode))
        ]
        name, best = max(
            options, key=lambda option: (round(validation[option[0]][option[1]], 3), option[0] == self.default)
        )
        return f"{name}{' behind a hard filter' if best in FILTERED else ''}"

    def best_other(self, method: str, mode: str) -> tuple[str, Interval]:
        """Return the best other method on test under a kind of steering, behind a hard filter or not, and the gain.

        The gain is MRR of the method minus that of the other one, which is flattered as the best of many.
        """
        options = [
            (name, each)
            for name in self.scores.values
            for each in (mode, *(filtered for filtered, steered in FILTERED.items() if steered == mode))
            if name != method and not name.startswith(f"{PLAIN}, ")
        ]
        name, best = max(options, key=lambda option: self.scores.of(*option).mean())
        shown = f"{name}{' behind a hard filter' if best in FILTERED else ''}"
        return shown, self.difference(method, mode, name, best)

    def _ranking(self, predictor: str) -> list[Claim]:
        gain = self.difference(predictor, "category", STEERED_ADAPTER, "category")
        by_seed = (self.scores.of(predictor, "none") - self.scores.of(COSINE, "none")).mean(axis=1)
        rivals = {
            name: self.difference(predictor, "unreliable", name, "filter, unreliable")
            for name in (STEERED_ADAPTER, UNSTEERED_ADAPTER)
        }
        share = f"{self.settings.unreliable_share:.0%}"
        claims = (
            (
                f"with given steering at least {AIMED_GAIN:+.2f} MRR over the steered adapter, lower bound above 0",
                show_interval(gain, "+.3f"),
                gain.value >= AIMED_GAIN and gain.low > 0,
            ),
            (
                f"without steering never more than {AIMED_LOSS} MRR below cosine",
                f"worst training seed {by_seed.min():+.3f}, mean {by_seed.mean():+.3f}",
                bool(by_seed.min() >= -AIMED_LOSS),
            ),
            (
                f"with {share} of categories wrong or missing, MRR above filter + adapter, lower bound above 0",
                "; ".join(f"minus filter + {name} {show_interval(value, '+.3f')}" for name, value in rivals.items()),
                all(value.low > 0 for value in rivals.values()),
            ),
        )
        return [Claim(self.data.name, predictor, *claim) for claim in claims]

    def _trust(self, predictor: str) -> list[Claim]:
        precision, coverage = self.trusted(predictor)
        few = "fewer than two independent questions are trusted" if coverage else "none is trusted"
        shown = few if precision is None else show_interval(precision, ".3f")
        claims = (
            (f"expected calibration error at most {AIMED_ERROR} on test", *self._calibration(predictor)),
            (
                f"expected calibration error at most {AIMED_ERROR} of all questions",
                *self._calibration(predictor, "of_all"),
            ),
            (
                f"TRUST answers right at least {AIMED_PRECISION:.0%} of the time",
                f"{shown} at a coverage of {coverage:.1%}",
                precision is not None and precision.value >= AIMED_PRECISION,
            ),
        )
        return [Claim(self.data.name, predictor, *claim) for claim in claims]

    def _calibration(self, predictor: str, section: str | None = None) -> tuple[str, bool]:
        """Return the calibration error beside what chance would show, and whether it is as low as is aimed at."""
        error, least, most = (
            float(self.mean_explained(predictor, key, section))
            for key in ("calibration_error", "error_by_chance_at_least", "error_by_chance_at_most")
        )
        return f"{error:.3f}, where honest probabilities show {least:.3f} to {most:.3f} by chance", error <= AIMED_ERROR


def results(findings: Sequence[DataFindings]) -> dict[str, Any]:
    """Return all figures as JSON."""
    return {
        found.data.name: {
            "questions": len(found.scores.groups),
            "groups": len(np.unique(found.scores.groups)),
            "methods": {
                name: {
                    mode: {metric: asdict(found.interval(name, mode, metric)) for metric in METRICS}
                    for mode in (*MODES, *FILTERED)
                }
                for name in found.scores.values
            },
            "claims": [asdict(claim) for claim in found.claims()],
            "recommendation": found.recommendation(),
            "obedience": {name: [row["obedience"] for row in found.explained[name]] for name in PREDICTORS},
            "faithfulness": [row["faithfulness"] for row in found.explained[ROUTED]],
        }
        for found in findings
    }
