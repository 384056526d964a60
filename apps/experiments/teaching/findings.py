"""What the experiment found: seven verdicts, and the numbers behind them. No time is in any of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from experiments.teaching.evaluating import Suite, Summaries, summarise_suite
from experiments.teaching.labelling import TipGate
from experiments.teaching.predicting import FREE, Prediction, Ranking, quadrant_score, rank
from experiments.teaching.selecting import Chosen, Selection, compare_selections
from experiments.teaching.settings import TeachingSettings
from experiments.teaching.training import Trained
from sightline.teachability import LabelledSnapshot
from sightline.teachability.figures import (
    Finding,
    analyse_h1,
    analyse_h2,
    analyse_h3,
    analyse_h4,
    analyse_h5,
    analyse_h6,
    analyse_h7,
    pair_up,
)
from sightline.teachability.labels import Thresholds
from sightline.teachability.records import QUADRANTS, Bound
from sightline.teachability.training import RecoveryTrajectory
from sightline.teachability.training_records import MicroRow, RunPlan

NARROW = 0.05
"""Gap at which a value counts as known."""


@dataclass(frozen=True)
class Findings:
    """Everything that the stages have left."""

    settings: TeachingSettings
    """Settings of the experiment."""
    labelled: Sequence[LabelledSnapshot]
    """Labelled moments of all splits."""
    thresholds: Thresholds
    """Where high begins."""
    gate: TipGate
    """Whether tips mean something to the student."""
    micro: Sequence[MicroRow]
    """Trainings on single moments."""
    plans: Sequence[RunPlan]
    """Plans of the training matrix."""
    trained: Mapping[str, Trained]
    """Trainings of matrix and recovery, by run."""
    chosen: Chosen
    """What the arms of the selection chose."""
    recoveries: Sequence[RecoveryTrajectory]
    """How the teacher went on."""
    predictions: Sequence[Prediction]
    """Predictions out of fold."""
    suite: Suite
    """What all students played."""

    @cached_property
    def summaries(self) -> Summaries:
        """The tables of the matrix's and the recovery's students."""
        plans = {plan.run_id: plan for plan in self.plans}
        return summarise_suite(self.suite, plans, list(self.trained), self.settings.seed)

    @cached_property
    def selection(self) -> Selection:
        """The comparison of arms."""
        return compare_selections(self.chosen, self.suite, self.settings.seed)

    @cached_property
    def ranking(self) -> Ranking:
        """The scores by which moments can be ranked."""
        return rank(self.labelled, self.predictions, tips_work=self.gate.passed)

    @cached_property
    def hypotheses(self) -> list[Finding]:
        """The seven findings."""
        works, seed = self.gate.passed, self.settings.seed
        plans = {plan.run_id: plan for plan in self.plans if plan.run_id in self.trained}
        measured = [one for one in self.labelled if one.split in ("label", "calibration")]
        return [
            analyse_h1(measured, patches_work=works, seed=seed),
            analyse_h2(pair_up(self.micro, self.labelled), patches_work=works, seed=seed),
            analyse_h3(self.micro, seed=seed),
            analyse_h4(self.suite.rows, plans, self.summaries.transfer, seed=seed),
            analyse_h5(self.summaries.overall, self.summaries.retention),
            analyse_h6(
                self.ranking.scores,
                self.ranking.payoffs,
                [one.snapshot.group for one in self.ranking.labelled],
                free=FREE,
                seed=seed,
            ),
            analyse_h7(self.selection.rows, self.selection.leads, tasks=self.settings.test_goals),
        ]

    @property
    def lesson(self) -> str:
        """What was learnt, in one sentence."""
        grades = Counter(one.grade for one in self.labelled if one.grade)
        total = sum(grades.values())
        by_verdict = {
            verdict: [one.name for one in self.hypotheses if one.verdict == verdict]
            for verdict in ("supported", "not supported", "cannot tell")
        }
        verdicts = "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in by_verdict.items() if names)
        return (
            f"At {grades['improves']} of {total} moments of the student's episodes the teacher's action certainly "
            f"helps, at {grades['harmful']} it certainly harms; of seven hypotheses {verdicts}."
        )

    def claims(self) -> list[str]:
        """Return the sentences of the report, the most important first."""
        tips = "" if self.gate.passed else f"Tips are off, as the student failed their gate: {self.gate.reason}."
        refused = [f"{name}: {reason}" for name, reason in self.refused.items()]
        return [
            self.lesson,
            *([tips] if tips else []),
            *(f"{one.name}, {one.verdict}: {one.sentence}" for one in self.hypotheses),
            *([f"{len(refused)} trainings were refused before they began; first: {refused[0]}"] if refused else []),
            *([f"Nothing to compare in the selection: {self.chosen.stopped}"] if self.chosen.stopped else []),
        ]

    @property
    def refused(self) -> dict[str, str]:
        """Trainings whose examples were refused, with the reason."""
        everything = {**self.trained, **self.chosen.trained}
        return {name: one.refused for name, one in everything.items() if one.refused}


def results(findings: Findings) -> dict[str, Any]:
    """Return what `results.json` holds."""
    found, scored = findings.summaries, quadrant_score(findings.ranking)
    return {
        "lesson": findings.lesson,
        "verdicts": {
            one.name: {"claim": one.claim, "verdict": one.verdict, "sentence": one.sentence}
            for one in findings.hypotheses
        },
        "labels": label_numbers(findings.labelled),
        "thresholds": findings.thresholds.model_dump(mode="json", exclude={"groups"}),
        "tips": findings.gate.model_dump(mode="json"),
        "overall": [row.model_dump(mode="json") for row in (*found.overall, *found.greedy)],
        "retention": [row.model_dump(mode="json") for row in found.retention],
        "transfer": [row.model_dump(mode="json") for row in found.transfer],
        "selection": [row.model_dump(mode="json") for row in findings.selection.rows],
        "selection_stopped": findings.chosen.stopped,
        "refused": findings.refused,
        "empty_cells": sorted({f"{p.quadrant}: {p.empty}" for p in findings.plans if p.empty}),
        "predicted_quadrants": None if scored is None else {"macro_f1": scored[0], "confusion": scored[1].tolist()},
        "recoveries": {
            "trajectories": len(findings.recoveries),
            "successes": sum(one.success for one in findings.recoveries),
            "steps": sum(one.n_steps for one in findings.recoveries),
        },
        "adapters": {
            name: one.report.adapter_after
            for name, one in {**findings.trained, **findings.chosen.trained}.items()
            if one.report
        },
    }


def label_numbers(labelled: Sequence[LabelledSnapshot]) -> dict[str, Any]:
    """Return how well values are known, and where the moments stand."""
    measured = [one for one in labelled if one.values is not None]
    values = [one.values for one in measured if one.values]
    on = [one for one in measured if one.quadrant is not None]
    exact = [one.V.high - one.V.low for one in values if one.V.method == "graph"]
    return {
        "moments": len(labelled),
        "measured": len(measured),
        "errors": sum(one.error is not None for one in labelled),
        "by_quadrant": {name: sum(one.quadrant == name for one in on) for name in (*QUADRANTS, "undecided")},
        "undecided_share": sum(one.quadrant == "undecided" for one in on) / len(on) if on else None,
        "grades": dict(sorted(Counter(one.grade for one in measured if one.grade).items())),
        "value_known_within_0.05": sum(gap <= NARROW for gap in exact) / len(values) if values else None,
        "median_prompts": float(np.median([one.V.prompts for one in values])) if values else None,
        "V": _spread([one.V for one in values]),
        "L_local": _spread([one.L_local for one in values]),
        "L_upper": _spread([one.L_upper for one in values if one.L_upper]),
        "common_noise_variance_ratio": _noise_ratios(measured),
    }


def _spread(bounds: Sequence[Bound]) -> dict[str, float] | None:
    if not bounds:
        return None
    quantiles = np.quantile([one.estimate for one in bounds], [0, 0.25, 0.5, 0.75, 1]).tolist()
    return dict(zip(("least", "quarter", "median", "three_quarters", "most"), quantiles, strict=True))


def _noise_ratios(labelled: Sequence[LabelledSnapshot]) -> dict[str, float | None]:
    """Return the variance of a difference of independent episodes over that of coupled ones."""

    def ratio(some: Sequence[LabelledSnapshot]) -> float | None:
        apart = paired = 0.0
        for one in some:
            pairs = one.values.pairs if one.values else None
            if pairs is None or not pairs.pairs:
                continue
            first, second = pairs.first_only / pairs.pairs, pairs.second_only / pairs.pairs
            both = pairs.both / pairs.pairs
            apart += (first + both) * (1 - first - both) + (second + both) * (1 - second - both)
            paired += first + second - (first - second) ** 2
        return apart / paired if paired else None

    doubtful = [one for one in labelled if one.uncertainty and (one.uncertainty.pi_teacher or 0.0) < 0.95]
    return {"all": ratio(labelled), "pi_below_0.95": ratio(doubtful)}
