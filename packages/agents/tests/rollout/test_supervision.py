from __future__ import annotations

import gc
import logging
import multiprocessing
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sightline.agents.grammar import webshop_grammar
from sightline.agents.rollout.in_process import InProcessEngine
from sightline.agents.rollout.job import RolloutError, RolloutJob
from sightline.agents.rollout.processes import ProcessEngine
from sightline.agents.rollout.rollout import run_job
from sightline.agents.trajectory import Trajectory

# Ray leaves the streams that it opens to the garbage collector, which may run in any test after the first.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """The Ray engine, on a cluster of two CPUs that all tests of a session share."""
    with pytest.MonkeyPatch.context() as patch:
        # Under `uv run`, Ray would build the project's environment once more for its workers.
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        import ray

        from sightline.agents.rollout.ray import RayEngine

        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            if not ray.is_initialized():
                quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
                ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, **quiet)
            gc.collect()  # Ray leaves the streams and processes that it starts to the garbage collector
        yield RayEngine
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            ray.shutdown()
            gc.collect()


@pytest.fixture(params=["workers", "ray"])
def engine(request: pytest.FixtureRequest) -> Any:
    return ProcessEngine if request.param == "workers" else request.getfixturevalue("cluster")


def make_job(toys: ModuleType, *, make_agent: Any = None, **changes: Any) -> RolloutJob:
    make_agent = make_agent or toys.HashAgent
    arguments: dict[str, Any] = {"make_environments": toys.corridors, "batch_size": 4} | changes
    return RolloutJob(
        agent_name=make_agent.name, make_agent=make_agent, grammar=webshop_grammar, seed=0, max_steps=6, **arguments
    )


def run(job: RolloutJob, goals: Any, engine: Any, **arguments: Any) -> list[Trajectory]:
    return run_job(job, goals, engine=engine, progress=False, **arguments)


def lines(trajectories: list[Trajectory]) -> list[str]:
    return [trajectory.model_dump_json() for trajectory in trajectories]


def test_workers_and_ray_give_the_bytes_of_this_process(toys: ModuleType, engine: Any) -> None:
    goals = [*range(30), 7, 3, 3]
    environments = partial(toys.corridors, broken=[5, 6])
    # CompanyAgent's probabilities show how many situations came at once.
    job = make_job(toys, make_agent=toys.CompanyAgent, make_environments=environments, expert=toys.walker)
    expected = run(job, goals, InProcessEngine())
    assert [one.goal for one in expected] == goals
    assert [one.goal for one in expected if one.error] == [5, 6]
    assert lines(run(job, goals, engine(2))) == lines(expected)


@pytest.mark.parametrize("count", [1, 3, 20])
def test_the_number_of_workers_changes_nothing(toys: ModuleType, count: int) -> None:
    job = make_job(toys, make_agent=toys.CompanyAgent)
    assert lines(run(job, range(14), ProcessEngine(count))) == lines(run(job, range(14), InProcessEngine()))


def test_a_killed_workers_batch_is_played_again_in_full(
    toys: ModuleType, engine: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environments = partial(toys.corridors, deadly=[1, 9], deaths=tmp_path)
    job = make_job(toys, make_agent=toys.CompanyAgent, make_environments=environments)
    expected = run(make_job(toys, make_agent=toys.CompanyAgent), range(14), InProcessEngine())
    assert lines(run(job, range(14), engine(2))) == lines(expected)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "9"}
    assert [text for text in caplog.messages if "A worker died while it played batch" in text]


def test_goals_that_kill_two_workers_become_error_rows_and_the_others_go_on(
    toys: ModuleType, engine: Any, tmp_path: Path
) -> None:
    # In batch 1 (goals 4 to 7), goal 6 kills the worker in the second tick, before any episode ends.
    job = make_job(toys, make_environments=partial(toys.corridors, deadly=[6]))
    found = run(job, range(14), engine(2), journal=tmp_path / "journal")
    whole = run(make_job(toys), range(14), InProcessEngine())
    assert lines(found[:4] + found[8:]) == lines(whole[:4] + whole[8:])
    for goal, row in enumerate(found[4:8], start=4):
        assert (row.goal, row.episode_id, row.steps, row.agent) == (goal, f"hash-seed0-goal{goal}", (), "hash")
        assert row.error == "WorkerDeathError: two workers died before this episode ended"
    assert run(job, range(14), InProcessEngine(), journal=tmp_path / "journal") == found


def test_episodes_that_ended_before_the_second_death_are_kept(toys: ModuleType) -> None:
    # Goals 8 and 12 end with their second step; goal 9 dies in its third room.
    job = make_job(toys, make_environments=partial(toys.corridors, deadly=[9], death_room=2), batch_size=3)
    found = run(job, [8, 9, 12], ProcessEngine(2))
    whole = run(make_job(toys, batch_size=3), [8, 9, 12], InProcessEngine())
    assert [row.error is None for row in found] == [True, False, True]
    assert lines([found[0], found[2]]) == lines([whole[0], whole[2]])


def test_what_an_agent_raises_ends_the_rollout_with_its_traceback(toys: ModuleType, engine: Any) -> None:
    with pytest.raises(RolloutError, match="no idea") as caught:
        run(make_job(toys, make_agent=toys.ConfusedAgent), range(6), engine(1))
    assert "rollout_toys.py" in str(caught.value)


def test_a_job_that_cannot_be_made_is_an_error_with_its_cause(toys: ModuleType, engine: Any) -> None:
    with pytest.raises(RolloutError, match="FileNotFoundError: no plan of 4 corridors"):
        run(make_job(toys, make_environments=toys.no_corridors), range(6), engine(1))


def test_a_worker_that_dies_before_it_is_ready_ends_the_rollout(toys: ModuleType) -> None:
    with pytest.raises(RolloutError, match="died before it was ready"):
        run(make_job(toys, make_environments=toys.make_corridors_or_die), range(6), ProcessEngine(2))


def test_finished_batches_survive_a_fatal_error_in_the_journal(toys: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    run(make_job(toys), range(14), ProcessEngine(2), journal=path)
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(content[:3]))
    with pytest.raises(RolloutError):
        run(make_job(toys, make_environments=toys.no_corridors), range(14), ProcessEngine(2), journal=path)
    assert path.read_bytes() == b"".join(content[:3])
    assert run(make_job(toys), range(14), ProcessEngine(2), journal=path) == run(
        make_job(toys), range(14), InProcessEngine()
    )


def test_a_job_of_lambdas_is_refused_with_the_remedy(toys: ModuleType) -> None:
    job = make_job(toys, make_environments=lambda count: toys.corridors(count))
    with pytest.raises(TypeError, match="an importable module"):
        run(job, range(6), ProcessEngine(1))


def test_no_goals_start_no_worker(toys: ModuleType) -> None:
    assert run(make_job(toys, make_environments=toys.make_corridors_or_die), [], ProcessEngine(2)) == []


def test_no_process_is_left_behind(toys: ModuleType) -> None:
    run(make_job(toys), range(9), ProcessEngine(2))
    with pytest.raises(RolloutError):
        run(make_job(toys, make_agent=toys.ConfusedAgent), range(9), ProcessEngine(2))
    assert multiprocessing.active_children() == []


def test_a_job_whose_parts_do_not_fit_is_refused(toys: ModuleType) -> None:
    job = make_job(toys, make_environments=lambda count: toys.corridors(count - 1))
    with pytest.raises(ValueError, match=r"make_environments\(4\) should make as many, not 3"):
        run(job, [1], InProcessEngine())
    wrong = RolloutJob(
        agent_name="other",
        make_environments=toys.corridors,
        make_agent=toys.HashAgent,
        grammar=webshop_grammar,
        seed=0,
        max_steps=1,
    )
    with pytest.raises(ValueError, match="names the agent 'other', but makes one called 'hash'"):
        run(wrong, [1], InProcessEngine())
    with pytest.raises(ValueError, match="batch_size should be at least 1, not 0"):
        make_job(toys, batch_size=0)
    with pytest.raises(ValueError, match="count should be at least 1, not 0"):
        ProcessEngine(0)


def test_a_ray_actor_gets_the_share_of_a_gpu_that_it_asks_for(toys: ModuleType, cluster: Any) -> None:
    job = make_job(toys, make_environments=toys.corridors_with_gpu)
    assert lines(run(job, range(5), cluster(1, gpus=0.5))) == lines(run(make_job(toys), range(5), InProcessEngine()))
    with pytest.raises(RolloutError, match="no GPU"):
        run(job, range(5), cluster(1))


def test_progress_counts_each_episode_once_even_when_a_worker_dies(toys: ModuleType, tmp_path: Path) -> None:
    told: list[int] = []
    job = make_job(toys, make_environments=partial(toys.corridors, deadly=[6], deaths=tmp_path))
    for _ in ProcessEngine(2).play(job, {0: range(4), 1: range(4, 8)}, told.append):
        pass
    assert sum(told) == 8
    told.clear()
    job = make_job(toys, make_environments=partial(toys.corridors, deadly=[6]))
    for _ in ProcessEngine(2).play(job, {0: range(4), 1: range(4, 8)}, told.append):
        pass
    assert sum(told) == 8
