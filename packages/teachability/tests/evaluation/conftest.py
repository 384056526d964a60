from __future__ import annotations

from collections.abc import Callable

import pytest

from sightline.teachability.evaluation.records import EpisodeRow


@pytest.fixture(scope="session")
def make_row() -> Callable[..., EpisodeRow]:
    def make(model: str, task: int, success: bool, seed: int = 0, **fields) -> EpisodeRow:
        defaults = {
            "dataset": "overall",
            "group": f"g{task}",
            "outcome": "success" if success else "failure",
            "ended": True,
            "reward": float(success),
            "steps": 4,
            "repeat_rate": 0.0,
            "loop": False,
            "state_loop": False,
        }
        return EpisodeRow.model_validate(
            defaults | {"model": model, "task": task, "success": success, "seed": seed} | fields
        )

    return make
