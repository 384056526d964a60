from __future__ import annotations

import multiprocessing
import threading
from types import ModuleType

import pytest

from sightline.agents.rollout.in_process import InProcessEngine
from sightline.agents.rollout.job import RolloutError
from sightline.agents.rollout.processes import ProcessEngine

# Ray leaves the streams that it opens to the garbage collector, which may run in any test after the first.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.mark.parametrize("count", [1, 3, 20])
def test_the_number_of_workers_changes_nothing(toys: ModuleType, count: int) -> None:
    job = toys.make_job(make_agent=toys.CompanyAgent)
    assert toys.lines(toys.run(job, range(14), ProcessEngine(count))) == toys.lines(
        toys.run(job, range(14), InProcessEngine())
    )


def test_a_worker_that_dies_before_it_is_ready_ends_the_rollout(toys: ModuleType) -> None:
    with pytest.raises(RolloutError, match="died before it was ready"):
        toys.run(toys.make_job(make_environments=toys.make_corridors_or_die), range(6), ProcessEngine(2))


def test_a_job_of_lambdas_is_sent_by_value_and_one_that_holds_a_lock_is_refused(toys: ModuleType) -> None:
    job = toys.make_job(make_environments=lambda count: toys.corridors(count))
    assert toys.lines(toys.run(job, range(6), ProcessEngine(1))) == toys.lines(
        toys.run(toys.make_job(), range(6), InProcessEngine())
    )
    lock = threading.Lock()
    with pytest.raises(TypeError, match="cannot be sent to another process"):
        toys.run(toys.make_job(make_environments=lambda count: [lock] * count), range(6), ProcessEngine(1))


def test_no_goals_start_no_worker(toys: ModuleType) -> None:
    assert toys.run(toys.make_job(make_environments=toys.make_corridors_or_die), [], ProcessEngine(2)) == []


def test_processes_that_are_kept_do_the_next_work_and_only_those_that_died_are_replaced(toys: ModuleType) -> None:
    job, squares = toys.make_job(make_agent=toys.CompanyAgent), [0, 1, 4, 9, 16]
    with ProcessEngine(2).kept() as engine:
        assert engine.map(toys.square, range(5)) == squares
        processes = multiprocessing.active_children()
        assert len(processes) == 2
        expected = toys.lines(toys.run(job, range(14), InProcessEngine()))
        assert toys.lines(toys.run(job, range(14), engine)) == expected
        assert set(multiprocessing.active_children()) == set(processes)
        dead, alive = processes
        dead.kill()
        dead.join()
        assert engine.map(toys.square, range(5)) == squares
        assert alive in multiprocessing.active_children()
        with pytest.raises(RolloutError, match="no idea of"):
            engine.map(toys.refuse, range(5))
        assert engine.map(toys.square, range(5)) == squares
    assert multiprocessing.active_children() == []


def test_no_process_is_left_behind(toys: ModuleType) -> None:
    toys.run(toys.make_job(), range(9), ProcessEngine(2))
    with pytest.raises(RolloutError):
        toys.run(toys.make_job(make_agent=toys.ConfusedAgent), range(9), ProcessEngine(2))
    assert multiprocessing.active_children() == []
