"""The engine that plays a run's episodes and does its other work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from lab.settings import EngineSettings
from sightline.agents.rollout import InProcessEngine, ProcessEngine

if TYPE_CHECKING:
    from sightline.agents.rollout import RayEngine


AnyEngine: TypeAlias = "InProcessEngine | ProcessEngine | RayEngine"

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_splits(
    engine: AnyEngine,
    function: Callable[[tuple[str, Sequence[Item]]], Sequence[Result]],
    splits: Mapping[str, Sequence[Item]],
    at_once: int,
) -> Iterator[tuple[str, list[Result]]]:
    """Yield (split, results for its items, in their order) of all splits, which workers share in parts.

    Args:
        engine: what does the work.
        function: function of a split's name and some of its items, which returns their results in order.
        splits: items by split.
        at_once: items that a worker is given at a time.
    """
    parts = [
        (split, items[start : start + at_once])
        for split, items in splits.items()
        for start in range(0, len(items), at_once)
    ]
    found = list(zip(parts, engine.map(function, parts), strict=True))
    for split in splits:
        yield split, list(chain.from_iterable(results for (name, _), results in found if name == split))


@contextmanager
def open_engine(settings: EngineSettings) -> Generator[AnyEngine]:
    """Yield the engine that the settings ask for; its workers start once for all stages of the block.

    Where Ray is wanted and not installed, say so and end.
    """
    if settings.engine == "in-process":
        yield InProcessEngine()
        return
    kind = ProcessEngine(settings.workers) if settings.engine == "processes" else _on_ray(settings)
    with kind.kept() as engine:
        yield engine


def _on_ray(settings: EngineSettings) -> RayEngine:
    # Under `uv run`, Ray would build the project's environment once more for its workers.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        from sightline.agents.rollout import RayEngine
    except ImportError as error:
        sys.exit(f"--engine ray: {error}")
    return RayEngine(settings.workers, address=settings.address)
