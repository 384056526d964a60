"""Does a policy that learned on token hosts know when and where the shop's student should grow?

    uv run apps/grown_student.py                     # three policies, five seeds of every arm; resumes if stopped
    uv run apps/grown_student.py --smoke             # a small version of about a minute
    uv run apps/grown_student.py --policies runs/headroom/default/stages/6-policies-learned/learned-seed0

An expert's demonstrations in the shop -> its decisions in tokens -> policies, trained on token hosts as in
`apps/headroom.py` unless they are given -> trainings of the student with equal compute: at its final size from the
start, small to the end, with all blocks that it lacks at half of the compute, by the rule of fifteen lines, and grown
by the policies -> loss and agreement on test goals, paired by goal and seed.

Compute is counted in floating-point operations of training. Every training is cut into as many equal shares of it as
policies know decisions; a student that has grown takes fewer steps in a share. Policies see what they see of token
hosts, and nothing of the shop was shown to them before.
"""

from __future__ import annotations

from experiments.growth.student.settings import GrownStudentSettings
from lab.main import conclude, start


def main() -> None:
    """Train what the command line describes."""
    settings, run = start("grown_student", GrownStudentSettings, __doc__)

    # These load PyTorch, which neither `--help` nor a wrong flag shall wait for.
    from experiments.growth.student.arms import students_stage
    from experiments.growth.student.examples import encode_stage, read_decisions, yardsticks
    from experiments.growth.student.report import GrownStudents, arms_table, differences_table, results, write_report
    from experiments.shopping.settings import Phase1Settings
    from experiments.shopping.world import collect_demonstrations_stage, open_world
    from lab.engine import open_engine
    from lab.jobs import Workers

    shop = Phase1Settings(
        seed=settings.seed,
        training_goals=settings.training_goals,
        validation_goals=settings.validation_goals,
        test_goals=settings.test_goals,
    )
    with open_engine(settings) as engine:
        episodes = collect_demonstrations_stage(shop, run, open_world(shop), engine)
        decisions = encode_stage(settings, run, episodes)
        records = students_stage(settings, run, Workers(engine), decisions)
    test = read_decisions(decisions, settings.validation_decisions).test
    students = GrownStudents(settings, records, yardsticks(test))

    plots = run.path / "plots"
    plots.mkdir(exist_ok=True)
    report = write_report(students, plots)
    conclude(
        run,
        results(students),
        report,
        shown=(differences_table(students), arms_table(students)),
        made_with=f"{settings.workers} workers",
    )


if __name__ == "__main__":
    main()
