"""Does a learned predictor use steering better than simple baselines, and do its explanations tell the truth?

    uv run apps/jepa.py                        # all data sets, five seeds; resumes if stopped
    uv run apps/jepa.py --smoke                # a small version of about a minute
    uv run apps/jepa.py --data documentation   # one data set only

Texts -> embeddings -> baselines and predictors, once per seed -> all of them on the same test questions under every
kind of steering -> calibration, steering strength and faithfulness -> the aims, met or not -> tables, plots, report.
"""

from __future__ import annotations

import logging

from experiments.steering.settings import SteeringSettings
from lab.main import conclude, start


def main() -> None:
    """Run the experiment that the command line describes."""
    settings, run = start("jepa", SteeringSettings, __doc__)

    # These load PyTorch, which neither `--help` nor a wrong flag shall wait for.
    import torch

    from experiments.steering.data import build_data_stage
    from experiments.steering.explaining import explain_stages
    from experiments.steering.findings import DataFindings, results
    from experiments.steering.methods import score_methods_stages
    from experiments.steering.report import claims_table, methods_table, scorer_tables, write_report

    logging.getLogger("sightline.jepa.training").setLevel(logging.WARNING)  # each epoch is in the run's metrics
    torch.set_num_threads(settings.threads)

    findings = []
    for name in settings.data:
        data = build_data_stage(settings, run, name)
        scores = score_methods_stages(settings, run, data)
        explained = {predictor: explain_stages(settings, run, data, predictor, scores) for predictor in scores.ranked}
        findings.append(DataFindings(settings, data, scores, explained))

    conclude(
        run,
        results(findings),
        write_report(run, findings),
        shown=[
            table for found in findings for table in (methods_table(found), *scorer_tables(found), claims_table(found))
        ],
        made_with=f"{settings.threads} threads",
        seeds=list(settings.seeds),
    )


if __name__ == "__main__":
    main()
