"""How much can be gained by deciding, host by host, what to grow, and does a policy learn to?

    uv run apps/headroom.py                    # an oracle on 50 instances, three policies; resumes if stopped
    uv run apps/headroom.py --training-seeds   # the bounds alone
    uv run apps/headroom.py --smoke            # a small version of about a minute
    uv run apps/headroom.py --full             # ten policies and controls, some that never saw a family or a data set
    uv run apps/headroom.py --instances 100 --workers 8

Search for a schedule and for a probing rule, each with a training's environment steps -> an oracle that searches on
every instance -> training of policies -> growth methods of the field, with as many parameters as the oracle's choice
-> paired differences on the test split, by instance. Growing is worth learning only where the oracle leads the best
schedule clearly: by at least 5 points of J.

The work is spread over workers (`--engine`). A job writes its episodes to a file of its own, so that one that was
stopped goes on after its last complete stack.
"""

from __future__ import annotations

from experiments.growth.problem import HeadroomSettings
from lab.main import conclude, start


def main() -> None:
    """Measure what the command line describes."""
    settings, run = start("headroom", HeadroomSettings, __doc__)

    # These load PyTorch, which neither `--help` nor a wrong flag shall wait for.
    from experiments.growth.bounds import measure_bounds_stages
    from experiments.growth.headroom import Headroom, results, write_report
    from experiments.growth.learning import (
        leave_out_stages,
        train_and_play_controls_stages,
        train_and_play_stages,
    )
    from experiments.growth.rivals import play_rivals_stages
    from lab.jobs import Workers

    with Workers.of(settings) as workers:
        bounds = measure_bounds_stages(settings, run, workers)
        learned = train_and_play_stages(settings, run, workers, bounds.problems)
        controls = train_and_play_controls_stages(settings, run, workers, bounds.problems)
        left_out = leave_out_stages(settings, run, workers, bounds.problems)
        rivals = play_rivals_stages(settings, run, workers, bounds)

    headroom = Headroom(settings, bounds, rivals, learned, controls, left_out)
    report = write_report(headroom)
    conclude(
        run,
        results(headroom),
        report,
        shown=report.tables,
        made_with=f"{settings.workers} workers",
    )


if __name__ == "__main__":
    main()
