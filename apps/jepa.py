"""Does a learned predictor use steering better than simple baselines, and do its explanations tell the truth?

    uv run apps/jepa.py                        # both data sets, five seeds; resumes if stopped
    uv run apps/jepa.py --smoke                # a small version of about a minute
    uv run apps/jepa.py --data documentation   # one data set only

Texts -> embeddings -> baselines and predictors, once per seed -> all of them on the same test questions under every
kind of steering -> calibration, obedience and faithfulness -> the aims, met or not -> tables, plots, report.
"""

from __future__ import annotations

import logging
import sys

import torch
from jepa_data import open_data
from jepa_explaining import explain
from jepa_findings import DataFindings, results
from jepa_methods import PREDICTORS, score_methods
from jepa_report import claims_table, methods_table, write_report
from jepa_settings import SMOKE, DataName, JEPASettings
from reporting import print_table
from rich.logging import RichHandler
from settings import parse_settings

from sightline.agents.runs import RunDirectory


def main() -> None:
    """Run the experiment that the command line describes."""
    settings = parse_settings(JEPASettings, SMOKE, sys.argv[1:])  # ty: ignore[invalid-argument-type] - needs no more than a pydantic model
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    logging.getLogger("sightline.jepa.training.trainer").setLevel(
        logging.WARNING
    )  # every epoch is in the run's metrics
    torch.set_num_threads(settings.threads)
    run = RunDirectory(
        settings.output / "jepa" / settings.name,
        settings.model_dump(mode="json", exclude={"config", "output", "threads"}),
    )
    findings = [measure(settings, run, name) for name in settings.data]
    run.finish(results(findings), seeds=list(settings.seeds))
    minutes = sum(run.stage_seconds.values()) / 60
    write_report(run, findings, f"uv run apps/jepa.py · {minutes:.1f} minutes · {settings.threads} threads")
    for found in findings:
        print_table(methods_table(found))
        print_table(claims_table(found))
    lines = [str(claim) for found in findings for claim in found.claims()]
    print("\n".join(["", *lines, "", *(found.recommendation() for found in findings)]))
    print(f"\nReport: {run.path / 'report.html'}")


def measure(settings: JEPASettings, run: RunDirectory, name: DataName) -> DataFindings:
    """Everything on one data set."""
    data = open_data(settings, run, name)
    scores = score_methods(settings, run, data)
    explained = {predictor: explain(settings, run, data, predictor) for predictor in PREDICTORS}
    return DataFindings(settings, data, scores, explained)


if __name__ == "__main__":
    main()
