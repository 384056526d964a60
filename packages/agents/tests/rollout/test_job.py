from __future__ import annotations

from types import ModuleType

import pytest

from sightline.agents.grammar import webshop_grammar
from sightline.agents.rollout.in_process import InProcessEngine
from sightline.agents.rollout.job import RolloutJob
from sightline.agents.rollout.processes import ProcessEngine


def test_a_job_whose_parts_do_not_fit_is_refused(toys: ModuleType) -> None:
    job = toys.make_job(make_environments=lambda count: toys.corridors(count - 1))
    with pytest.raises(ValueError, match=r"make_environments\(4\) should make as many, not 3"):
        toys.run(job, [1], InProcessEngine())
    wrong = RolloutJob(
        agent_name="other",
        make_environments=toys.corridors,
        make_agent=toys.HashAgent,
        grammar=webshop_grammar,
        seed=0,
        max_steps=1,
    )
    with pytest.raises(ValueError, match="names the agent 'other', but makes one called 'hash'"):
        toys.run(wrong, [1], InProcessEngine())
    with pytest.raises(ValueError, match="batch_size should be at least 1, not 0"):
        toys.make_job(batch_size=0)
    with pytest.raises(ValueError, match="count should be at least 1, not 0"):
        ProcessEngine(0)


def test_workers_keep_the_states_of_steps_if_the_job_asks(toys: ModuleType) -> None:
    job = toys.make_job(snapshots=True)
    here = toys.run(job, range(6), InProcessEngine())
    assert all(step.snapshot for trajectory in here for step in trajectory.steps)
    assert toys.lines(toys.run(job, range(6), ProcessEngine(2))) == toys.lines(here)


def test_a_job_that_asks_states_of_an_environment_without_any_is_refused(toys: ModuleType) -> None:
    with pytest.raises(TypeError, match=r"Plain has no snapshot\(\); play the job with snapshots=False"):
        toys.run(toys.make_job(make_environments=toys.plain_corridors, snapshots=True), range(2), InProcessEngine())
