"""Does a learned policy grow networks better than rules and fixed topologies do?

    uv run apps/tamiyo.py                    # everything, about twenty minutes on two cores; resumes if stopped
    uv run apps/tamiyo.py --smoke            # a small version of about a minute
    uv run apps/tamiyo.py --no-memoryless --no-joint-ratio --training.rounds 200

Search for the best fixed topology -> training of policies, one per seed -> all methods on the same unseen episodes
-> paired differences -> tables, plots, report. Nothing that is trained or chosen reads the test split.
"""

from __future__ import annotations

import logging
import sys

from reporting import print_table
from rich.logging import RichHandler
from settings import parse_settings
from tamiyo_evaluation import train_and_evaluate
from tamiyo_findings import Findings, results
from tamiyo_jobs import Workers
from tamiyo_report import comparisons_table, methods_table, write_report
from tamiyo_search import search
from tamiyo_settings import SMOKE, TamiyoSettings

from sightline.agents.runs import RunDirectory


def main() -> None:
    """Run the experiment that the command line describes."""
    settings = parse_settings(TamiyoSettings, SMOKE, sys.argv[1:])  # ty: ignore[invalid-argument-type] - needs no more than a pydantic model
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    run = RunDirectory(settings.output / "tamiyo" / settings.name, settings.as_written())
    with Workers.of(settings.processes) as workers:
        ranking = search(settings, run, workers)
        trainings, records = train_and_evaluate(settings, run, workers, ranking.best)

    findings = Findings(settings, ranking, trainings, records)
    run.finish(results(findings), training_seeds=list(settings.training_seeds))
    minutes = sum(run.stage_seconds.values()) / 60
    write_report(run, findings, f"uv run apps/tamiyo.py · {minutes:.1f} minutes · {settings.processes} processes")
    print_table(methods_table(findings))
    print_table(comparisons_table(findings))
    print("\n" + "\n".join(findings.claims()) + f"\n\nReport: {run.path / 'report.html'}")


if __name__ == "__main__":
    main()
