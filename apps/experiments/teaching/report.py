"""The report of the experiment with teachable moments: figures, tables and sentences on one page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.teaching.evaluating import write_summaries
from experiments.teaching.findings import Findings, label_numbers
from experiments.teaching.selecting import write_selection
from experiments.teaching.settings import Stage
from lab.figures import save_figure
from lab.report import Report, Section
from lab.run import RunDirectory, write_text
from sightline.agents import Table
from sightline.teachability import tables
from sightline.teachability.figures import (
    Finding,
    draw_h1,
    draw_h2,
    draw_h3,
    draw_h4,
    draw_h5,
    draw_h6,
    draw_h7,
    pair_up,
)
from sightline.teachability.records import QUADRANTS

TITLE = "Which moments of a student's failures teach?"


def write_report(run: RunDirectory, findings: Findings) -> Report:
    """Return the report; figures go into `plots`, tables into `tables`, the five CSV files into `evaluation` now."""
    write_summaries(run.path / "evaluation", findings.summaries)
    write_selection(run.path / "selection", findings.chosen, findings.selection)
    for one in findings.hypotheses:
        write_text(run.path / "tables" / f"{one.name.lower()}.md", one.table.markdown())
        write_text(run.path / "tables" / f"{one.name.lower()}.tex", one.table.latex())
    drawn = _draw(run.path / "plots", findings)
    sections = [
        Section("Verdicts", tuple(findings.claims()[1:]), (verdicts_table(findings),)),
        Section("The moments", _label_sentences(findings), (labels_table(findings), tips_table(findings))),
        *(_section(one, drawn) for one in findings.hypotheses),
        Section(
            "Files",
            ("What every stage has left, one JSON object a line.",),
            links={
                name: f"stages/{stage}/{name}"
                for stage, name in (
                    (Stage.EPISODES, "rollouts.jsonl"),
                    (Stage.MOMENTS, "failure_snapshots.jsonl"),
                    (Stage.LABELS, "labeled_snapshots.jsonl"),
                    (Stage.RECOVERY, "recovery_trajectories.jsonl"),
                )
            },
        ),
    ]
    shown = [verdicts_table(findings), labels_table(findings), tips_table(findings)]
    return Report(TITLE, findings.claims(), [*shown, *(as_table(one.table) for one in findings.hypotheses)], sections)


def as_table(table: tables.Table) -> Table:
    """Return a table of the package as one of the report's."""
    return Table(table.columns, tuple(tuple(tables.show(cell) for cell in row) for row in table.rows), table.caption)


def verdicts_table(findings: Findings) -> Table:
    """Return the seven verdicts."""
    return Table(
        ("", "hypothesis", "verdict"),
        tuple((one.name, one.claim, one.verdict) for one in findings.hypotheses),
        "Supported: the whole 95 % interval (groups resampled) lies on the side of the claim. Not supported: it holds "
        "nothing that would matter. Cannot tell: all else.",
    )


def labels_table(findings: Findings) -> Table:
    """Return how many moments stand in each quadrant, by split."""
    splits = ("label", "calibration", "panel")
    rows = []
    for quadrant in (*QUADRANTS, "undecided", None):
        of = [one for one in findings.labelled if one.quadrant == quadrant]
        counts = [str(sum(one.split == split for one in of)) for split in splits]
        rows.append((quadrant or "outside the map", *counts, str(len(of))))
    return Table(
        ("quadrant", *splits, "all"),
        tuple(rows),
        f"U from {findings.thresholds.u:.3f} on, and L_local from {findings.thresholds.l_local:.3f} on, count as high; "
        "the first is the median of the calibration moments.",
    )


def tips_table(findings: Findings) -> Table:
    """Return how often the teacher's action is taken under each kind of tip."""
    return Table(
        ("tip", "probability of the teacher's action"),
        tuple((name, f"{value:.3f}") for name, value in findings.gate.followed.items()),
        f"Mean over {findings.gate.moments} calibration moments. Tips count "
        + ("" if findings.gate.passed else f"for nothing here: {findings.gate.reason}."),
    )


def _label_sentences(findings: Findings) -> tuple[str, ...]:
    numbers = label_numbers(findings.labelled)
    known, ratios = numbers["value_known_within_0.05"], numbers["common_noise_variance_ratio"]
    shown = {name: "not measured" if ratio is None else f"{ratio:.2f}" for name, ratio in ratios.items()}
    return (
        f"{numbers['measured']} of {numbers['moments']} moments were measured, {numbers['errors']} failed in the "
        "environment. The chance of success is certified within .05 for "
        f"{100 * (known or 0):.0f} %, from {numbers['median_prompts'] or 0:.0f} answers of the student (median).",
        "Common noise makes the variance of a difference smaller by the factor "
        f"{shown['all']} over all sampled moments, and {shown['pi_below_0.95']} where the student does not take the "
        "teacher's action anyway.",
    )


def _section(finding: Finding, drawn: dict[str, Path]) -> Section:
    figures = (drawn[finding.name],) if finding.name in drawn else ()
    text = (finding.claim, f"{finding.verdict.capitalize()}. {finding.sentence}")
    return Section(finding.name, text, (as_table(finding.table),), figures)


def _draw(plots: Path, findings: Findings) -> dict[str, Path]:
    """Draw one figure for each hypothesis; where there is nothing to draw there is none."""
    works, found, ranking = findings.gate.passed, findings.summaries, findings.ranking
    drawings: dict[str, tuple[object, Callable[[], Any]]] = {
        "H1": (findings.labelled, lambda: draw_h1(findings.labelled, findings.thresholds, patches_work=works)),
        "H2": (findings.micro, lambda: draw_h2(pair_up(findings.micro, findings.labelled))),
        "H3": (findings.micro, lambda: draw_h3(findings.micro)),
        "H4": (found.transfer, lambda: draw_h4(found.transfer)),
        "H5": (found.overall, lambda: draw_h5(found.overall, found.retention)),
        "H6": (len(ranking.payoffs), lambda: draw_h6(ranking.scores, ranking.payoffs)),
        "H7": (findings.selection.rows, lambda: draw_h7(findings.selection.rows)),
    }
    return {name: save_figure(draw(), plots / f"{name.lower()}.svg") for name, (data, draw) in drawings.items() if data}
