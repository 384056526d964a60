from __future__ import annotations

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
