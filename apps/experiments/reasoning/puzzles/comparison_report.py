"""What E1 found: tables, figures and sentences about TRM, HRM and plain networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.reasoning.chapters import Chapter
from experiments.reasoning.puzzles.comparison import DEEP, HRM_NAME, PLAIN, TRM_NAME, depth_name
from experiments.reasoning.puzzles.figures import rates_by_minute, rates_by_step
from experiments.reasoning.puzzles.trials import TrialResult
from experiments.reasoning.settings import ReasoningSettings
from lab.figures import save_figure
from lab.report import Section
from lab.run import RunDirectory, slug
from sightline.agents import Table
from sightline.agents.evaluation import Interval, MethodDifference, compare_methods, rate_interval, show_interval
from sightline.agents.reasoning import PuzzleReport

ByMethod = Mapping[str, Sequence[TrialResult]]


def puzzles_chapter(
    settings: ReasoningSettings,
    run: RunDirectory,
    results: Sequence[TrialResult],
    easy: Mapping[str, Mapping[int, Interval]],
) -> Chapter:
    """Return the chapter of E1; its figures are written now.

    Args:
        settings: settings of the run.
        run: whose folder takes the figures.
        results: results of all trainings.
        easy: method -> cells left empty -> share solved.
    """
    part = settings.puzzles
    plots = run.path / "plots"
    main = by_method([result for result in results if result.task == part.task])
    methods = {name: main[name] for name in (TRM_NAME, HRM_NAME, PLAIN, DEEP)}
    depths = {depth_name(segments): main[depth_name(segments)] for segments in part.depths}
    trained = trained_puzzles(main[TRM_NAME][0]).segments
    curves = depths | {depth_name(trained): main[TRM_NAME]}
    tables = [methods_table(part.task, methods), halting_table(main), easy_table(easy)]
    sections = [
        Section(
            f"Recursive reasoners and plain networks on {part.task}",
            paragraphs=(_fairness(),),
            tables=(tables[0],),
            figures=(save_figure(rates_by_minute(methods), plots / f"minutes_{slug(part.task)}.svg"),),
        ),
        Section(
            "Thinking longer at test time",
            paragraphs=(
                "Each line is a training with at most K segments, and goes on to 2 K at test time; the dot is at K.",
            ),
            figures=(save_figure(rates_by_step(curves), plots / "test_time_steps.svg"),),
        ),
        Section("Halting", tables=(tables[1],)),
        Section("Puzzles with hardly a cell empty", tables=(tables[2],)),
    ]
    for task in part.harder:
        harder = by_method([result for result in results if result.task == task])
        tables.append(methods_table(task, harder))
        sections.append(
            Section(
                f"The harder {task}",
                tables=(tables[-1],),
                figures=(
                    save_figure(rates_by_minute(harder), plots / f"minutes_{slug(task)}.svg"),
                    save_figure(rates_by_step({TRM_NAME: harder[TRM_NAME]}), plots / f"steps_{slug(task)}.svg"),
                ),
            )
        )
    return Chapter(claims(settings, main), tables, sections, {"puzzles": [_summary(result) for result in results]})


def by_method(results: Sequence[TrialResult]) -> dict[str, list[TrialResult]]:
    """Return the results of each method, one for each seed."""
    return {method: [r for r in results if r.method == method] for method in dict.fromkeys(r.method for r in results)}


def trained_puzzles(result: TrialResult) -> PuzzleReport:
    """Return the judgement of the test puzzles."""
    assert result.report.puzzles is not None
    return result.report.puzzles


def solved_puzzles(results: Sequence[TrialResult]) -> NDArray[np.float64]:
    """Return which test puzzles were solved, [puzzles, trainings]."""
    return np.array([result.solved() for result in results], dtype=np.float64).T


def claims(settings: ReasoningSettings, main: ByMethod) -> list[str]:
    """Return what E1 answers in sentences."""
    task = settings.puzzles.task
    trm = main[TRM_NAME]
    minutes = settings.puzzles.minutes
    rates = {name: pooled(main[name], settings.seed) for name in (TRM_NAME, PLAIN)}
    sentences = [
        f"After {minutes:g} CPU minutes TRM solves {share(rates[TRM_NAME])} of the {task} test puzzles, all of "
        f"symmetry classes it has never seen; a plain network of as many parameters solves {share(rates[PLAIN])} after "
        "as many minutes."
    ]
    values = {name: solved_puzzles(main[name]) for name in (TRM_NAME, HRM_NAME, PLAIN, DEEP)}
    found = compare_methods(TRM_NAME, (HRM_NAME, PLAIN, DEEP), values, seed=settings.seed, unit="puzzles")
    sentences += [verdict(comparison) for comparison in found]
    first = np.mean([trained_puzzles(result).exact_by_step[0] for result in trm])
    last = np.mean([trained_puzzles(result).exact_by_step[-1] for result in trm])
    sentences.append(
        f"With more segments at test time TRM's share goes from {100 * first:.1f} % after one to {100 * last:.1f} % "
        f"after {len(trained_puzzles(trm[0]).exact_by_step)}."
    )
    halted = np.mean([trained_puzzles(result).halted_exact for result in trm])
    steps = np.mean([trained_puzzles(result).halted_steps for result in trm])
    full = np.mean([trained_puzzles(result).exact for result in trm])
    segments = trained_puzzles(trm[0]).segments
    sentences.append(
        f"Halting at a confidence chosen on validation puzzles solves {100 * halted:.1f} % in {steps:.1f} segments on "
        f"average, where all {segments} solve {100 * full:.1f} %."
    )
    return sentences


def verdict(comparison: MethodDifference) -> str:
    """Return what may be said of a difference: beats, is worse than, or cannot be told apart from."""
    words = {"better": "beats", "worse": "is worse than", "undecided": "cannot be told apart from"}
    numbers = show_interval(comparison.difference, "+.1f", scale=100)
    return (
        f"{comparison.candidate} {words[comparison.outcome]} {comparison.baseline} ({numbers} points, adjusted "
        f"p {comparison.adjusted_p_value:.3f})."
    )


def pooled(results: Sequence[TrialResult], seed: int) -> Interval | None:
    """Return the share of test puzzles solved, over puzzles and trainings."""
    return rate_interval(solved_puzzles(results), np.random.default_rng(seed), unit="puzzles")


def share(interval: Interval | None) -> str:
    """Return a rate in per cent with its interval."""
    return f"{show_interval(interval, '.1f', scale=100)} %"


def methods_table(task: str, methods: ByMethod) -> Table:
    """Return how every training did."""
    rows = []
    for name, results in methods.items():
        for result in results:
            puzzles = trained_puzzles(result)
            low, high = puzzles.exact_interval
            rows.append(
                (
                    name,
                    str(result.seed),
                    f"{result.report.parameters:,}",
                    f"{result.report.seconds:.0f}",
                    f"{result.report.steps:,}",
                    f"{result.report.counts['samples']:,.0f}",
                    f"{100 * puzzles.exact:.1f} [{100 * low:.1f}, {100 * high:.1f}]",
                    f"{100 * (puzzles.raw_exact or 0):.1f}",
                    "" if puzzles.exact_with_guesses is None else f"{100 * puzzles.exact_with_guesses:.1f}",
                    f"{100 * puzzles.exact_by_step[-1]:.1f}",
                )
            )
    return Table(
        columns=(
            *("method", "seed", "parameters", "CPU s", "steps", "puzzles seen", "solved %", "not averaged %"),
            *("needing guesses %", "in twice the segments %"),
        ),
        rows=tuple(rows),
        caption=f"{task}: test puzzles of unseen symmetry classes, judged by the rules after K segments with averaged "
        "weights; Wilson intervals at 95 %.",
    )


def halting_table(methods: ByMethod) -> Table:
    """Return what halting costs and how far confidence can be trusted."""
    rows = []
    for name, results in methods.items():
        for result in results:
            puzzles = trained_puzzles(result)
            if puzzles.segments == 1:
                continue
            rows.append(
                (
                    name,
                    str(result.seed),
                    f"{100 * puzzles.exact:.1f} ({puzzles.segments})",
                    f"{puzzles.threshold:.3f}",
                    f"{100 * puzzles.halted_exact:.1f} ({puzzles.halted_steps:.2f})",
                    f"{100 * puzzles.halted_at_half_exact:.1f} ({puzzles.halted_at_half_steps:.2f})",
                    f"{100 * puzzles.most_confident_exact:.1f}",
                    f"{abs(puzzles.confidence - puzzles.exact):.3f}",
                    f"{puzzles.calibration_error:.3f}",
                )
            )
    return Table(
        columns=(
            *("method", "seed", "all segments % (segments)", "threshold", "halted there % (segments)"),
            *("halted at one half % (segments)", "most confident %", "calibration gap", "binned gap"),
        ),
        rows=tuple(rows),
        caption="The threshold was chosen on validation puzzles; the gap is the distance of mean confidence from the "
        "share solved, also as the mean over ten bins.",
    )


def easy_table(easy: Mapping[str, Mapping[int, Interval]]) -> Table:
    """Return how models do where nearly everything is given."""
    counts = list(next(iter(easy.values())))
    return Table(
        columns=("method", *(f"{count} empty" for count in counts)),
        rows=tuple((name, *(share(rates[count]) for count in counts)) for name, rates in easy.items()),
        caption="Test puzzles in which all but so many of the empty cells were filled in, first seed: recursive "
        "reasoners are said to fail some of these (arXiv 2601.10679).",
    )


def _fairness() -> str:
    return (
        "All methods have the same trainer, puzzles and CPU seconds. A plain network takes one segment, so it sees "
        "many more puzzles in them; the table counts them."
    )


def _summary(result: TrialResult) -> dict[str, object]:
    return {
        "method": result.method,
        "task": result.task,
        "seed": result.seed,
        "milestone": result.milestone.model_dump(exclude_none=True),
        "puzzles": trained_puzzles(result).model_dump(mode="json"),
    }


def model_folder(stages: Path, result: TrialResult) -> Path:
    """Return where a trial's model lies."""
    return stages / f"{slug(result.task)}-{slug(result.method)}-{result.seed}" / "model"
