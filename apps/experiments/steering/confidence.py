"""When an answer is right: questions that a model has not seen, a policy learned from them, and how honest it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss

from experiments.steering.data import Data
from sightline.jepa import JEPAModel, SourceIndex, Steering, fit_policy
from sightline.jepa.data import Ids, Split
from sightline.jepa.explaining import (
    ActionableSignal,
    AnswerPolicy,
    Evidence,
    Outcomes,
    PredictFunction,
    calibration_error_by_chance,
    gather_evidence,
    influence_agreement,
    judge,
    reliability,
    report_signals,
    risk_coverage,
)
from sightline.jepa.ranking import Method, method_scores

MIXED = ("none", "category", "unreliable")
"""Modes in which every question is asked for calibration, on validation and on test alike."""
_OUTCOMES = tuple(field.name for field in fields(Outcomes))


@dataclass(frozen=True)
class Ranking:
    """What ranks sources: a model, what it searches, and the words that add to its scores, if any do."""

    model: JEPAModel
    predict: PredictFunction
    index: SourceIndex
    words: Method | None


@dataclass(frozen=True)
class Observed:
    """Questions that a model has not seen, and what came of them; `B` rows, each question once per mode."""

    features: NDArray[np.float64]
    """`[B, F]`, as in `Evidence.features`."""
    outcomes: Outcomes
    """`B` of them."""
    groups: Ids
    """`[B]`, questions that depend on each other."""

    @classmethod
    def joined(cls, parts: Sequence[Observed]) -> Observed:
        """Return several as one."""
        return cls(
            np.concatenate([each.features for each in parts]),
            Outcomes.joined([each.outcomes for each in parts]),
            np.concatenate([each.groups for each in parts]),
        )

    def write(self, path: Path) -> None:
        """Write an `.npz` file that `read` reads."""
        outcomes = {name: getattr(self.outcomes, name) for name in _OUTCOMES}
        np.savez(path, features=self.features, groups=self.groups, **outcomes)

    @classmethod
    def read(cls, path: Path) -> Observed:
        """Read what `write` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["features"], Outcomes(**{name: file[name] for name in _OUTCOMES}), file["groups"])

    def policy(self) -> AnswerPolicy:
        """Return a policy fitted to these questions."""
        return fit_policy(self.features, self.outcomes, self.groups)


def observe(ranking: Ranking, data: Data, split: Split) -> tuple[Observed, Evidence]:
    """Ask all questions of a split, once under each of the mixed modes."""
    ids = data.dataset.queries(split)
    asked = [data.ask(split, mode).steering for mode in MIXED]
    steered = Steering(
        np.concatenate([each.vectors for each in asked]), np.concatenate([each.has_steering for each in asked])
    )
    evidence = gather_evidence(
        ranking.predict,
        ranking.index,
        np.tile(data.dataset.questions[ids], (len(MIXED), 1)),
        steered.vectors,
        steered.has_steering,
        added=None if ranking.words is None else method_scores(ranking.words, np.tile(ids, len(MIXED)), steered),
    )
    outcomes = judge(evidence, ranking.index, data.dataset.relevant(ids) * len(MIXED))
    return Observed(evidence.features, outcomes, np.tile(data.groups(ids), len(MIXED))), evidence


def measure_confidence(
    policy: AnswerPolicy, test: Observed, evidence: Evidence, others: Sequence[Observed]
) -> dict[str, Any]:
    """Return what a policy says of the test questions, and what came true, as JSON.

    Args:
        policy: policy, fitted to the others.
        test: the test questions.
        evidence: evidence of them.
        others: all other questions, in parts none of which depends on another.
    """
    decisions, right = policy.decide(test.features), test.outcomes.first_right
    bins, risk = reliability(decisions.confidence, right), risk_coverage(decisions.confidence, right)
    trusted = np.array([signal is ActionableSignal.TRUST for signal in decisions.signals], dtype=bool)
    return {
        **calibration(decisions.confidence, test),
        "of_all": cross_fitted_calibration([test, *others]),
        "brier": float(brier_score_loss(right, decisions.confidence)),
        "area_under_risk": risk.area,
        "surest_tenth": risk.accuracy_at(0.1),
        "stated": bins.stated.tolist(),
        "observed": bins.observed.tolist(),
        "trust_threshold": policy.trust.value,
        "signals": [_nan_free(asdict(row)) for row in report_signals(decisions.signals, test.outcomes)],
        "trusted_right": right[trusted].astype(int).tolist(),
        "trusted_groups": test.groups[trusted].tolist(),
        "questions": len(right),
        "influence_agreement": finite(influence_agreement(evidence)),
    }


def cross_fitted_calibration(parts: Sequence[Observed]) -> dict[str, float]:
    """Return the calibration of all questions, each stated by a policy that was fitted to the other parts."""
    stated = [
        Observed.joined([*parts[:place], *parts[place + 1 :]]).policy().decide(part.features).confidence
        for place, part in enumerate(parts)
    ]
    return calibration(np.concatenate(stated), Observed.joined(parts))


def calibration(confidence: NDArray[np.float64], observed: Observed) -> dict[str, float]:
    """Return the calibration error of `[B]` probabilities, and the error that honest ones would show by chance.

    By chance it is least if all rows are independent. It is most if questions that depend on each other share their
    luck.
    """
    return {
        "calibration_error": reliability(confidence, observed.outcomes.first_right).error,
        "error_by_chance_at_least": float(calibration_error_by_chance(confidence).mean()),
        "error_by_chance_at_most": float(calibration_error_by_chance(confidence, observed.groups).mean()),
    }


def finite(value: float) -> float | None:
    """Return a number as JSON knows it: None for what is not finite."""
    return float(value) if np.isfinite(value) else None


def _nan_free(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}
