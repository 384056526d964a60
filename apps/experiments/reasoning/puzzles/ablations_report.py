"""What E2 found: which parts of TRM can be told to matter, at equal compute and at equal updates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.reasoning.chapters import Chapter
from experiments.reasoning.puzzles.ablations import BASE, NO_AVERAGE, VARIANTS
from experiments.reasoning.puzzles.comparison_report import solved_puzzles, trained_puzzles, verdict
from experiments.reasoning.puzzles.figures import differences
from experiments.reasoning.puzzles.trials import TrialResult
from experiments.reasoning.settings import ReasoningSettings
from lab.figures import save_figure
from lab.report import Section
from lab.run import RunDirectory
from sightline.agents import Table
from sightline.agents.evaluation import MethodDifference, compare_methods

COMPUTE, UPDATES = "equal compute", "equal updates"


def ablations_chapter(settings: ReasoningSettings, run: RunDirectory, results: Sequence[TrialResult]) -> Chapter:
    """Return the chapter of E2; its figures are written now."""
    part = settings.ablations
    by_regime = {
        COMPUTE: [result for result in results if result.milestone.minutes is not None],
        UPDATES: [result for result in results if result.milestone.steps is not None],
    }
    found = {regime: ablation_differences(chosen, settings.seed) for regime, chosen in by_regime.items()}
    table = _table(by_regime, found)
    figures = tuple(
        save_figure(
            differences({each.baseline: each.difference for each in comparisons}, f"points TRM is ahead, {regime}"),
            run.path / "plots" / f"ablations_{regime.replace(' ', '_')}.svg",
        )
        for regime, comparisons in found.items()
    )
    rates = {
        regime: np.mean([r.solved().mean() for r in chosen if r.method == BASE]) for regime, chosen in by_regime.items()
    }
    section = Section(
        "What of TRM does the work",
        paragraphs=(
            f"Compared early, where methods differ: after {60 * part.minutes:.0f} CPU seconds (TRM solves "
            f"{100 * rates[COMPUTE]:.1f} %) and after {part.steps} optimiser steps ({100 * rates[UPDATES]:.1f} %).",
        ),
        tables=(table,),
        figures=figures,
    )
    summary = {
        regime: {
            each.baseline: {
                "difference": each.difference.value,
                "low": each.difference.low,
                "high": each.difference.high,
                "adjusted_p_value": each.adjusted_p_value,
                "outcome": each.outcome,
            }
            for each in comparisons
        }
        for regime, comparisons in found.items()
    }
    return Chapter(_claims(found), [table], [section], {"ablations": summary})


def ablation_differences(results: Sequence[TrialResult], seed: int) -> list[MethodDifference]:
    """Compare TRM with each variant of it on the same puzzles, over puzzles and trainings."""
    base = [result for result in results if result.method == BASE]
    values = {name: solved_puzzles([r for r in results if r.method == name]) for name in (BASE, *VARIANTS)}
    values[NO_AVERAGE] = np.array([result.raw_solved() for result in base], dtype=np.float64).T
    return compare_methods(BASE, (*VARIANTS, NO_AVERAGE), values, seed=seed, unit="puzzles")


def _claims(found: dict[str, list[MethodDifference]]) -> list[str]:
    words = {"better": "TRM loses by it", "worse": "TRM gains by it", "undecided": "not told apart"}
    sentences = []
    for regime, comparisons in found.items():
        parts = [
            f"{word}: {', '.join(names)}"
            for outcome, word in words.items()
            if (names := [comparison.baseline for comparison in comparisons if comparison.outcome == outcome])
        ]
        sentences.append(f"One part left out, at {regime}: {'; '.join(parts)}.")
    return sentences


def _table(by_regime: dict[str, list[TrialResult]], found: dict[str, list[MethodDifference]]) -> Table:
    rows = []
    for regime, results in by_regime.items():
        verdicts = {comparison.baseline: verdict(comparison) for comparison in found[regime]}
        for name in (BASE, *VARIANTS, NO_AVERAGE):
            own = [result for result in results if result.method == (BASE if name == NO_AVERAGE else name)]
            rates = [
                (trained_puzzles(result).raw_exact or 0.0) if name == NO_AVERAGE else trained_puzzles(result).exact
                for result in own
            ]
            rows.append(
                (
                    regime,
                    name,
                    " ".join(f"{100 * rate:.1f}" for rate in rates),
                    " ".join(f"{result.report.seconds:.0f}" for result in own),
                    " ".join(f"{result.report.steps:,}" for result in own),
                    verdicts.get(name, ""),
                )
            )
    return Table(
        columns=("regime", "variant", "solved % by seed", "CPU s", "steps", "verdict"),
        rows=tuple(rows),
        caption="Differences on the same test puzzles with 95 % bootstrap intervals over puzzles and trainings, "
        "p-values adjusted by Holm's method for all variants of a regime.",
    )
