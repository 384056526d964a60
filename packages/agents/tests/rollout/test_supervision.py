from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sightline.agents.rollout.in_process import InProcessEngine, rollout_work
from sightline.agents.rollout.job import RolloutError
from sightline.agents.rollout.processes import ProcessEngine

# Ray leaves the streams that it opens to the garbage collector, which may run in any test after the first.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_workers_and_ray_give_the_bytes_of_this_process(toys: ModuleType, engine: Any) -> None:
    goals = [*range(30), 7, 3, 3]
    environments = partial(toys.corridors, broken=[5, 6])
    # CompanyAgent's probabilities show how many situations came at once.
    job = toys.make_job(make_agent=toys.CompanyAgent, make_environments=environments, expert=toys.walker)
    expected = toys.run(job, goals, InProcessEngine())
    assert [one.goal for one in expected] == goals
    assert [one.goal for one in expected if one.error] == [5, 6]
    assert toys.lines(toys.run(job, goals, engine(2))) == toys.lines(expected)


def test_a_killed_workers_batch_is_played_again_in_full(
    toys: ModuleType, engine: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environments = partial(toys.corridors, deadly=[1, 9], deaths=tmp_path)
    job = toys.make_job(make_agent=toys.CompanyAgent, make_environments=environments)
    expected = toys.run(toys.make_job(make_agent=toys.CompanyAgent), range(14), InProcessEngine())
    assert toys.lines(toys.run(job, range(14), engine(2))) == toys.lines(expected)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "9"}
    assert [text for text in caplog.messages if "A worker died while it did batch" in text]


def test_goals_that_kill_two_workers_become_error_rows_and_the_others_go_on(
    toys: ModuleType, engine: Any, tmp_path: Path
) -> None:
    # In batch 1 (goals 4 to 7), goal 6 kills the worker in the second tick, before any episode ends.
    job = toys.make_job(make_environments=partial(toys.corridors, deadly=[6]))
    found = toys.run(job, range(14), engine(2), journal=tmp_path / "journal")
    whole = toys.run(toys.make_job(), range(14), InProcessEngine())
    assert toys.lines(found[:4] + found[8:]) == toys.lines(whole[:4] + whole[8:])
    for goal, row in enumerate(found[4:8], start=4):
        assert (row.goal, row.episode_id, row.steps, row.agent) == (goal, f"hash-seed0-goal{goal}", (), "hash")
        assert row.error == "WorkerDeathError: two workers died before this episode ended"
    assert toys.run(job, range(14), InProcessEngine(), journal=tmp_path / "journal") == found


def test_episodes_that_ended_before_the_second_death_are_kept(toys: ModuleType) -> None:
    # Goals 8 and 12 end with their second step; goal 9 dies in its third room.
    job = toys.make_job(make_environments=partial(toys.corridors, deadly=[9], death_room=2), batch_size=3)
    found = toys.run(job, [8, 9, 12], ProcessEngine(2))
    whole = toys.run(toys.make_job(batch_size=3), [8, 9, 12], InProcessEngine())
    assert [row.error is None for row in found] == [True, False, True]
    assert toys.lines([found[0], found[2]]) == toys.lines([whole[0], whole[2]])


def test_what_an_agent_raises_ends_the_rollout_with_its_traceback(toys: ModuleType, engine: Any) -> None:
    with pytest.raises(RolloutError, match="no idea") as caught:
        toys.run(toys.make_job(make_agent=toys.ConfusedAgent), range(6), engine(1))
    assert "rollout_toys.py" in str(caught.value)


def test_a_job_that_cannot_be_made_is_an_error_with_its_cause(toys: ModuleType, engine: Any) -> None:
    with pytest.raises(RolloutError, match="FileNotFoundError: no plan of 4 corridors"):
        toys.run(toys.make_job(make_environments=toys.no_corridors), range(6), engine(1))


def test_finished_batches_survive_a_fatal_error_in_the_journal(toys: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    toys.run(toys.make_job(), range(14), ProcessEngine(2), journal=path)
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(content[:3]))
    with pytest.raises(RolloutError):
        toys.run(toys.make_job(make_environments=toys.no_corridors), range(14), ProcessEngine(2), journal=path)
    assert path.read_bytes() == b"".join(content[:3])
    assert toys.run(toys.make_job(), range(14), ProcessEngine(2), journal=path) == toys.run(
        toys.make_job(), range(14), InProcessEngine()
    )


def test_progress_counts_each_episode_once_even_when_a_worker_dies(toys: ModuleType, tmp_path: Path) -> None:
    told: list[int] = []
    job = toys.make_job(make_environments=partial(toys.corridors, deadly=[6], deaths=tmp_path))
    for _ in ProcessEngine(2).run(rollout_work(job), {0: range(4), 1: range(4, 8)}, told.append):
        pass
    assert sum(told) == 8
    told.clear()
    job = toys.make_job(make_environments=partial(toys.corridors, deadly=[6]))
    for _ in ProcessEngine(2).run(rollout_work(job), {0: range(4), 1: range(4, 8)}, told.append):
        pass
    assert sum(told) == 8
