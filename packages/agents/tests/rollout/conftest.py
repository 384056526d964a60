from __future__ import annotations

from typing import Any

import pytest

from sightline.agents.rollout import ProcessEngine


@pytest.fixture(params=["workers", "ray"])
def engine(request: pytest.FixtureRequest) -> Any:
    return ProcessEngine if request.param == "workers" else request.getfixturevalue("cluster")
