"""The beginning and the end that all experiments share."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.logging import RichHandler

from lab.report import SMOKE_NOTICE, Report, render_markdown, render_page
from lab.run import Making, RunDirectory, RunError, write_text
from lab.settings import Settings, parse_settings
from lab.terminal import print_table, say
from sightline.agents import Table


def start(
    app: str,
    settings_type: type[Settings],
    about: str | None = None,
    *,
    making: Mapping[str, Making] | None = None,
) -> tuple[Settings, RunDirectory]:
    """Return the settings that the command line gives, and the run's folder, OUTPUT/APP/NAME; begin to log.

    A wrong setting, or a folder that belongs to another run, is printed and ends the program.

    Args:
        app: name of the script, without its suffix.
        settings_type: settings of the experiment.
        about: docstring of the script; it heads the script's `--help`, and its first line is printed.
        making: name of a stage -> what is said when it begins.
    """
    settings = parse_settings(settings_type, sys.argv[1:], about)
    logging.basicConfig(format="%(message)s", handlers=[RichHandler(show_path=False, log_time_format="%H:%M:%S")])
    for ours in ("lab", "experiments", "sightline"):  # what other libraries load and choose is none of a reader's cares
        logging.getLogger(ours).setLevel(logging.INFO)
    path = settings.output / app / settings.name
    try:
        run = RunDirectory(path, settings.identity(), smoke=settings.smoke, making=making)
    except RunError as error:
        sys.exit(str(error))
    if about:
        say(about.splitlines()[0])
    say(f"Everything is kept in {path}. A run that is stopped goes on where it was, by the same command.")
    return settings, run


def conclude(
    run: RunDirectory,
    results: Mapping[str, Any],
    report: Report,
    *,
    shown: Sequence[Table],
    made_with: str = "",
    **notes: Any,
) -> None:
    """Write `results.json`, `metrics.jsonl`, `results.md` and `report.html`, and print the answer.

    Args:
        run: run that is over.
        results: what the experiment found; no time is in it.
        report: what it tells.
        shown: tables for the terminal.
        made_with: what else the page should say of how it was made, for example a number of threads.
        notes: what else the manifest should hold, for example seeds.
    """
    run.finish(results, **notes)
    command = f"uv run apps/{run.path.parent.name}.py"
    footer = " · ".join(part for part in (command, f"{run.seconds / 60:.1f} minutes", made_with) if part)
    page = run.path / "report.html"
    write_text(run.path / "results.md", render_markdown(report, smoke=run.smoke))
    write_text(page, render_page(report, footer, smoke=run.smoke))
    for table in shown:
        print_table(table)
    say("\n".join(["", *report.claims, "", *([SMOKE_NOTICE] if run.smoke else [])]))
    say(f"The whole answer is one page, to open or to send, figures included: {page}")
