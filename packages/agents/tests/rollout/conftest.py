from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from sightline.agents.rollout import ProcessEngine


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
