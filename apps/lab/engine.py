"""The engine that plays a run's episodes and does its other work."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from lab.settings import EngineSettings
from sightline.agents.rollout import InProcessEngine, ProcessEngine

if TYPE_CHECKING:
    from sightline.agents.rollout import RayEngine


def open_engine(settings: EngineSettings) -> InProcessEngine | ProcessEngine | RayEngine:
    """Return the engine that the settings ask for; where Ray is wanted and not installed, say so and end."""
    if settings.engine == "in-process":
        return InProcessEngine()
    if settings.engine == "processes":
        return ProcessEngine(settings.workers)
    # Under `uv run`, Ray would build the project's environment once more for its workers.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        from sightline.agents.rollout import RayEngine
    except ImportError as error:
        sys.exit(f"--engine ray: {error}")
    return RayEngine(settings.workers, address=settings.address)
