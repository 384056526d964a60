"""How far do small recursive reasoners and search get, and what of them does the work?

    uv run apps/reasoning.py                     # everything, at most 25 minutes on two cores; resumes if stopped
    uv run apps/reasoning.py --smoke             # a small version of about a minute
    uv run apps/reasoning.py --full              # harder puzzles and more seeds: hours, or a GPU
    uv run apps/reasoning.py --only puzzles      # or ablations, hybrid, search, selfplay, shop, teaching
    uv run apps/reasoning.py --only selfplay --network conv trm --name boards
    uv run apps/reasoning.py --puzzles.task sudoku-9-30-36 --puzzles.minutes 10

Puzzles of unseen symmetry classes for TRM, HRM and plain networks -> what of TRM does the work -> TRM with search ->
players who learn by playing themselves -> search in the shop -> tables, plots, report. Whatever is chosen is chosen on
validation puzzles; test puzzles are read once.

An experiment that needs another's models runs that one as well; its chapter stands in the report only where it was
named. Minutes of training are of CPU time, so that other work on the machine hardly changes what is learnt.
"""

from __future__ import annotations

from experiments.reasoning.settings import ReasoningSettings
from lab.main import conclude, start


def main() -> None:
    """Run the experiments that the command line names."""
    settings, run = start("reasoning", ReasoningSettings, __doc__)

    # These load PyTorch, which neither `--help` nor a wrong flag shall wait for.
    from experiments.reasoning.experiments import run_experiments
    from lab.jobs import Workers
    from lab.report import Report

    with Workers.of(settings) as workers:
        chapters = run_experiments(settings, run, workers)
    report = Report(
        "How far do small recursive reasoners and search get, and what of them does the work?",
        [claim for chapter in chapters for claim in chapter.claims],
        [table for chapter in chapters for table in chapter.tables],
        [section for chapter in chapters for section in chapter.sections],
    )
    conclude(
        run,
        {name: value for chapter in chapters for name, value in chapter.results.items()},
        report,
        shown=report.tables,
        made_with=f"{settings.workers} workers",
    )


if __name__ == "__main__":
    main()
