"""What E2 found: which parts of TRM can be told to matter, at equal compute and at equal updates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.reasoning.ablations import BASE, NO_AVERAGE, VARIANTS
from experiments.reasoning.chapters import Chapter
from experiments.reasoning.figures import differences
from experiments.reasoning.puzzles_report import compared, trained_puzzles
from experiments.reasoning.settings import ReasoningSettings
from experiments.reasoning.trials import TrialResult
from lab.figures import save_figure
from lab.report import Section
from lab.run import RunDirectory
from sightline.agents import Table
from sightline.agents.evaluation import Interval, paired_difference

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
            differences(values, f"points of TRM's share solved lost or won, {regime}"),
            run.path / "plots" / f"ablations_{regime.replace(' ', '_')}.svg",
        )
        for regime, values in found.items()
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
        regime: {name: (value.mean, value.low, value.high) for name, value in values.items()}
        for regime, values in found.items()
    }
    return Chapter(_claims(found), [table], [section], {"ablations": summary})


def ablation_differences(results: Sequence[TrialResult], seed: int) -> dict[str, Interval]:
    """Return each variant's share solved minus TRM's, on the same puzzles, over puzzles and trainings."""
    base = np.array([result.solved() for result in results if result.method == BASE]).T
    variants = {name: np.array([r.solved() for r in results if r.method == name]).T for name in VARIANTS}
    variants[NO_AVERAGE] = np.array([result.raw_solved() for result in results if result.method == BASE]).T
    return {name: paired_difference(values, base, np.random.default_rng(seed)) for name, values in variants.items()}


def _claims(found: dict[str, dict[str, Interval]]) -> list[str]:
    sentences = []
    for regime, values in found.items():
        worse = [name for name, value in values.items() if value.high < 0]
        better = [name for name, value in values.items() if value.low > 0]
        same = [name for name in values if name not in (*worse, *better)]
        parts = [
            f"{verb}: {', '.join(names)}"
            for verb, names in (("worse", worse), ("better", better), ("not told apart", same))
            if names
        ]
        sentences.append(f"TRM with one part left out, at {regime}: {'; '.join(parts)}.")
    return sentences


def _table(by_regime: dict[str, list[TrialResult]], found: dict[str, dict[str, Interval]]) -> Table:
    rows = []
    for regime, results in by_regime.items():
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
                    "" if name == BASE else f"{name} {compared(found[regime][name])} TRM",
                )
            )
    return Table(
        columns=("regime", "variant", "solved % by seed", "CPU s", "steps", "verdict"),
        rows=tuple(rows),
        caption="Differences on the same test puzzles with 95 % bootstrap intervals over puzzles, trainings as they are.",
    )
