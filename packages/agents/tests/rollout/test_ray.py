from __future__ import annotations

import os
import signal
from types import ModuleType
from typing import Any

import pytest

from sightline.agents.rollout.in_process import InProcessEngine
from sightline.agents.rollout.job import RolloutError

# Ray leaves the streams that it opens to the garbage collector, which may run in any test after the first.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_a_ray_actor_gets_the_share_of_a_gpu_that_it_asks_for(toys: ModuleType, cluster: Any) -> None:
    job = toys.make_job(make_environments=toys.corridors_with_gpu)
    assert toys.lines(toys.run(job, range(5), cluster(1, gpus=0.5))) == toys.lines(
        toys.run(toys.make_job(), range(5), InProcessEngine())
    )
    with pytest.raises(RolloutError, match="no GPU"):
        toys.run(job, range(5), cluster(1))


def test_actors_that_are_kept_do_the_next_work_and_only_those_that_died_are_replaced(
    toys: ModuleType, cluster: Any
) -> None:
    job, squares = toys.make_job(make_agent=toys.CompanyAgent), [0, 1, 4, 9, 16]
    with cluster(1).kept() as engine:
        (first,) = set(engine.map(toys.process_id, range(3)))
        expected = toys.lines(toys.run(job, range(14), InProcessEngine()))
        assert toys.lines(toys.run(job, range(14), engine)) == expected
        assert engine.map(toys.process_id, [0]) == [first]
        os.kill(first, signal.SIGKILL)
        (second,) = engine.map(toys.process_id, [0])
        assert second != first
        with pytest.raises(RolloutError, match="no idea of"):
            engine.map(toys.refuse, range(5))
        assert engine.map(toys.square, range(5)) == squares
    (outside,) = cluster(1).map(toys.process_id, [0])
    assert outside not in (first, second)
