"""Does a learned policy grow networks better than rules and fixed topologies do?

    uv run apps/tamiyo.py                    # everything, about twenty minutes on two cores; resumes if stopped
    uv run apps/tamiyo.py --smoke            # a small version of about a minute
    uv run apps/tamiyo.py --no-memoryless --no-joint-ratio --training.rounds 200
    uv run apps/tamiyo.py --workers 16       # the same results, sooner
    uv run apps/tamiyo.py --training-seeds 0 1 2 --evaluation-episodes 100 --name fewer
    uv run apps/tamiyo.py --config settings.yaml --name again --seed 1   # flags win over the file

Search for the best fixed topology -> training of policies, one per seed -> all methods on the same unseen episodes
-> paired differences -> tables, plots, report. Nothing that is trained or chosen reads the test split.

The work is spread over workers (`--engine`). A job writes its episodes to a file of its own, so that one that was
stopped goes on after its last complete stack.
"""

from __future__ import annotations

from experiments.growth.settings import GrowthSettings
from lab.main import conclude, start


def main() -> None:
    """Run the experiment that the command line describes."""
    settings, run = start("tamiyo", GrowthSettings, __doc__)

    # These load PyTorch, which neither `--help` nor a wrong flag shall wait for.
    from experiments.growth.evaluation import train_and_evaluate_stage
    from experiments.growth.findings import Findings, results
    from experiments.growth.report import comparisons_table, methods_table, write_report
    from experiments.growth.search import search_topologies_stages
    from lab.jobs import Workers

    with Workers.of(settings) as workers:
        ranking = search_topologies_stages(settings, run, workers)
        trainings, records = train_and_evaluate_stage(settings, run, workers, ranking.best)

    findings = Findings(settings, ranking, trainings, records)
    conclude(
        run,
        results(findings),
        write_report(run, findings),
        shown=(methods_table(findings), comparisons_table(findings)),
        made_with=f"{settings.workers} workers",
        training_seeds=list(settings.training_seeds),
    )


if __name__ == "__main__":
    main()
