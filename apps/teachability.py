"""Which moments of a student's failures teach, and can a cheap predictor choose them?

    uv run apps/teachability.py                    # everything, three quarters of an hour on two cores; resumes
    uv run apps/teachability.py --smoke            # a small version of about a minute
    uv run apps/teachability.py --model ID         # teach any Hugging Face causal language model
    uv run apps/teachability.py --teacher chat --chat.model NAME --chat.base-url http://localhost:8000/v1
    uv run apps/teachability.py --config apps/experiments/teaching/gpu.yaml

Episodes of a student -> moments with a teacher's hints -> certified values, uncertainty, leverage, tips -> quadrants
-> trainings on single moments, by quadrant and format, by arm of selection, on recoveries -> all students on the same
unseen goals -> seven verdicts -> tables, plots, report.

Every stage also runs alone on files from elsewhere; `uv run apps/teachability.py COMMAND --help` shows how:

    predict, select, recover, train-recovery, evaluate, tip-student
"""

from __future__ import annotations

import sys

from experiments.teaching.settings import Stage, TeachingSettings
from lab.main import conclude, start

COMMANDS = ("predict", "select", "recover", "train-recovery", "evaluate", "tip-student")


CELLS = 14
"""Cells of the training matrix that are compared with the student before training."""


def main() -> None:
    """Run the experiment, or the one stage, that the command line describes."""
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        from experiments.teaching.commands import run_command

        run_command(sys.argv.pop(1))
        return
    settings, run = start("teachability", TeachingSettings, __doc__)

    # These load PyTorch, which neither `--help` nor a wrong flag shall wait for.
    from experiments.teaching.evaluating import play_suite
    from experiments.teaching.findings import Findings, results
    from experiments.teaching.labelling import label_stages, tip_gate_stage
    from experiments.teaching.moments import collect_episodes_stage, mine_moments_stage
    from experiments.teaching.predicting import predict_stage
    from experiments.teaching.report import labels_table, verdicts_table, write_report
    from experiments.teaching.selecting import Recipe, adapters_of, select_and_train
    from experiments.teaching.training import matrix_stage, micro_stage, recovery_stages
    from experiments.teaching.world import open_world_stage
    from lab.jobs import Workers
    from lab.terminal import print_table
    from sightline.agents.evaluation import power_table

    print_table(power_table(settings.test_goals, tests=CELLS))
    world = open_world_stage(settings, run)
    with Workers.of(settings) as workers:
        episodes = collect_episodes_stage(settings, run, workers, world)
        hinted = mine_moments_stage(settings, run, world, episodes)
        labelled, thresholds = label_stages(settings, run, workers, episodes, hinted)
        gate = tip_gate_stage(run, labelled)
        micro = micro_stage(settings, run, workers, labelled)
        plans, trained = matrix_stage(settings, run, workers, labelled)
        predictions = predict_stage(settings, run, labelled, episodes)
        recipe = Recipe(settings.arms, settings.select, settings.selection_seeds, predictions, gate.passed)
        chosen = select_and_train(settings, run, workers, Stage.SELECTION, labelled, recipe)
        recoveries, recovered = recovery_stages(settings, run, workers, labelled)
        adapters = adapters_of(run, Stage.MATRIX, trained) | adapters_of(run, Stage.SELECTION, chosen.trained)
        adapters |= adapters_of(run, Stage.RECOVERY, recovered, "trainings")
        panel_goals = world.manifest.members("panel")
        suite = play_suite(settings, run, workers, Stage.SUITE, adapters, labelled, extra_goals=panel_goals)

    findings = Findings(
        settings, labelled, thresholds, gate, micro, plans, {**trained, **recovered}, chosen, recoveries, predictions,
        suite,
    )  # fmt: skip
    conclude(
        run,
        results(findings),
        write_report(run, findings),
        shown=(verdicts_table(findings), labels_table(findings)),
        made_with=f"{settings.workers} workers",
        training_seeds=list(settings.training_seeds),
    )


if __name__ == "__main__":
    main()
