"""How an experiment is told: tables in files and in the terminal, and one HTML page."""

from __future__ import annotations

from findings import TRAINED, ZERO_SHOT, Findings, results
from rich.console import Console
from rich.table import Table as TerminalTable
from sections import PREDICTORS, next_action_figure, report_sections, retrieval_table

from sightline.agents.evaluation import comparisons_table, results_csv, results_table
from sightline.agents.report import Table, render_report
from sightline.agents.runs import RunDirectory, write_text

__all__ = [
    "PREDICTORS",
    "TRAINED",
    "ZERO_SHOT",
    "Findings",
    "next_action_figure",
    "print_table",
    "results",
    "retrieval_table",
    "write_report",
]


def write_report(run: RunDirectory, findings: Findings, footer: str) -> None:
    """Write tables (Markdown, CSV), plots and `report.html`."""
    table = results_table(findings.summaries())
    write_text(run.path / "results.md", table.markdown() + "\n" + comparisons_table(findings.comparisons()).markdown())
    write_text(run.path / "results.csv", results_csv(findings.summaries()))
    title = "Does state-gated retrieval beat ReAct and query RAG in the shop?"
    page = render_report(title, findings.claims()[0], report_sections(run, findings), footer)
    write_text(run.path / "report.html", page)


def print_table(table: Table) -> None:
    """Show a table in the terminal."""
    shown = TerminalTable(*table.columns, caption=table.caption, caption_justify="left")
    for row in table.rows:
        shown.add_row(*row)
    Console(width=None if Console().is_terminal else 160).print(shown)
