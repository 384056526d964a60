"""The report of the growth experiment: tables, figures and sentences on one page."""

from __future__ import annotations

from pathlib import Path

from experiments.growth.evaluation import BEST_FIXED
from experiments.growth.findings import Findings, topology_name
from experiments.growth.plots import action_mix, entropy_curves, growth_timeline, score_curves
from experiments.growth.work import HEURISTIC, LEARNED, NO_GROWTH, RANDOM
from lab.figures import differences_with_intervals, save_figure
from lab.report import Report, Section
from lab.run import RunDirectory
from sightline.agents import Table
from sightline.agents.evaluation import resampled_by, show_interval
from sightline.tamiyo_policy.hosts import token_blueprints

_LEVELS = (NO_GROWTH, RANDOM, HEURISTIC, BEST_FIXED)


def write_report(run: RunDirectory, findings: Findings) -> Report:
    """Return the report; its figures are written into the run's `plots` now."""
    tables = (methods_table(findings), validation_table(findings), comparisons_table(findings))
    plots = run.path / "plots"
    sections = [
        _outcome_section(plots, findings),
        _family_section(findings),
        _training_section(plots, findings),
        _timeline_section(plots, findings),
        _search_section(findings),
    ]
    title = "Does a learned policy grow networks better than rules and fixed topologies?"
    return Report(title, findings.claims(), tables, sections)


def methods_table(findings: Findings) -> Table:
    """Return how every method did on the test split."""
    return Table(
        columns=("method", "seeds x episodes", "J", "J, interquartile mean", "accuracy %", "parameters", "resampled"),
        rows=tuple(
            (
                name,
                f"{len(records)} x {len(records[0])}",
                show_interval(findings.mean(name, "test_score"), ".2f"),
                show_interval(findings.interquartile(name), ".2f"),
                show_interval(findings.mean(name, "test_accuracy"), ".2f"),
                f"{findings.values(name, 'parameters').mean():.0f}",
                findings.mean(name, "test_score").resampled,
            )
            for name, records in findings.records.items()
        ),
        caption="On the test split, which nothing that was trained or chosen has read. J is accuracy minus rent for "
        "parameters, in points. Means with 95 % bootstrap intervals; the last column says what they allow for. Rows "
        "with fewer episodes played the first of them.",
    )


def validation_table(findings: Findings) -> Table:
    """Return how every method did on the validation split, which rewarded the policies and chose the topology."""
    return Table(
        columns=("method", "J", "accuracy %", "resampled"),
        rows=tuple(
            (name, show_interval(score, ".2f"), show_interval(accuracy, ".2f"), resampled_by((score, accuracy)))
            for name in findings.records
            for score, accuracy in [(findings.mean(name, "score"), findings.mean(name, "accuracy"))]
        ),
        caption="The same episodes on the validation split, by which policies were rewarded; 95 % bootstrap intervals.",
    )


def comparisons_table(findings: Findings) -> Table:
    """Return the declared comparisons."""
    return Table(
        columns=("learned minus", "difference in J, test", "p", "p, Holm", "outcome", "by training seed", "resampled"),
        rows=tuple(
            (
                item.baseline,
                show_interval(item.difference, "+.2f"),
                f"{item.p_value:.4f}",
                f"{item.adjusted_p_value:.4f}",
                item.outcome,
                "  ".join(f"{value:+.2f}" for value in item.by_seed),
                item.difference.resampled,
            )
            for item in findings.comparisons
        ),
        caption="Paired by episode: the same hosts, first weights and order of data. 95 % bootstrap intervals; the "
        "training seeds of both sides are resampled, each for itself; p-values adjusted for all rows together.",
    )


def _outcome_section(plots: Path, findings: Findings) -> Section:
    differences = {item.baseline: item.difference for item in findings.comparisons}
    drawing = differences_with_intervals(differences, "J of the learned policy minus J of the method, points")
    figure = save_figure(drawing, plots / "differences.svg")
    tables = (comparisons_table(findings), methods_table(findings), validation_table(findings))
    few = "An interval over few training seeds is itself uncertain; every seed is shown beside it."
    return Section("On unseen episodes", (*findings.claims()[1:], few), tables, (figure,))


def _family_section(findings: Findings) -> Section:
    rows = []
    for name in findings.records:
        cells = (f"{findings.values(name, 'test_score', family).mean():.2f}" for family in findings.families)
        rows.append((name, *cells))
    differences = findings.by_family(BEST_FIXED)
    sentence = "Against the best fixed topology, family by family and without adjustment: " + ", ".join(
        f"{family} {show_interval(difference, '+.2f')}" for family, difference in differences.items()
    )
    resampled = resampled_by(differences.values())
    table = Table(
        columns=("method", *(f"family {family}" for family in findings.families)),
        rows=tuple(rows),
        caption="Mean J on the test split. The family of a host is hidden from all methods.",
    )
    return Section("By host family", (f"{sentence} (95 % intervals; resampled: {resampled}).",), (table,))


def _training_section(plots: Path, findings: Findings) -> Section:
    trainings = findings.trainings
    levels = {name: findings.mean(name, "score").value for name in _LEVELS}
    figures = (
        save_figure(score_curves(trainings, levels), plots / "scores.svg"),
        save_figure(action_mix(trainings[LEARNED]), plots / "operations.svg"),
        save_figure(entropy_curves(trainings[LEARNED]), plots / "entropy.svg"),
    )
    sentences = (
        "J on the validation split at the end of training episodes, which differ from round to round; dashed, means of "
        "methods that do not learn, on the evaluation episodes.",
        "Below: which operations were executed, and how open the choice of every head is (1: uniform over what is "
        "legal).",
    )
    return Section("Training", sentences, (), figures)


def _timeline_section(plots: Path, findings: Findings) -> Section:
    names = {index: blueprint.name for index, blueprint in token_blueprints().items()}
    episodes = findings.records[LEARNED][0]
    shown = [next(record for record in episodes if record.family == family) for family in findings.families]
    figure = save_figure(growth_timeline(shown, names), plots / "timeline.svg")
    counts: dict[str, int] = {}
    for records in findings.records[LEARNED]:
        for record in records:
            counts[topology_name(record.topology)] = counts.get(topology_name(record.topology), 0) + 1
    total = sum(counts.values())
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]
    table = Table(
        columns=("what was there at the end", "% of episodes"),
        rows=tuple((name, f"{100 * count / total:.1f}") for name, count in common),
        caption="The ten most frequent, slot by slot, over all training seeds.",
    )
    sentence = "The first evaluation episode of each family, played by the first training seed."
    return Section("What the learned policy grows", (sentence,), (table,), (figure,))


def _search_section(findings: Findings) -> Section:
    settings, ranking = findings.settings, findings.ranking
    sentence = (
        f"All {ranking.topologies} topologies were trained in {settings.search_episodes} episodes of "
        f"{settings.search_steps} steps each, the best {len(ranking.finalists)} of them again in "
        f"{settings.finalist_episodes} episodes of {settings.growth.training.steps} steps, on episodes and splits that "
        "no final figure uses."
    )
    table = Table(
        columns=("topology, slot by slot", "J, validation"),
        rows=tuple((topology_name(topology), f"{score:.2f}") for topology, score in ranking.finalists[:10]),
        caption="The best ten. The winner's own figure is too high, as it was chosen for it.",
    )
    return Section("The best fixed topology", (sentence,), (table,))
