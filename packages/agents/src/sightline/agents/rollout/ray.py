"""Work over Ray, on this machine or a cluster (extra `ray`).

This module knows nothing of what is done; `supervision.py` decides who does it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.agents.rollout.job import Batches, DoneBatch, Item, ProgressFn, Result, RolloutError, Work
from sightline.agents.rollout.mapping import MapMethod
from sightline.agents.rollout.processes import use_one_thread
from sightline.agents.rollout.supervision import Supervision, WorkerDeathError

try:
    import ray
    from ray.exceptions import RayActorError, RayTaskError
except ImportError as error:
    raise ImportError("Ray is not installed; install it with: pip install 'sightline-agents[ray]'") from error

_SHOWN_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class RayEngine(MapMethod):
    """Does batches in Ray actors, one CPU and one thread each.

    What they do is stored in the cluster once, whatever its functions hold with it, and every actor reads that copy.
    Where Ray is running already it is used as it is; otherwise it is started, and shut down at the end.

    Raises:
        ValueError: `count` is not positive, or `gpus` is negative.
    """

    count: int
    """Most actors at a time."""
    address: str | None = None
    """Address of the cluster, for example `auto` or `ray://host:10001`; None for this machine."""
    gpus: float = 0.0
    """Share of a GPU that each actor takes."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.gpus < 0:
            raise ValueError(f"count should be at least 1 and gpus at least 0, not {self.count!r} and {self.gpus!r}")

    def run(
        self, work: Work[Item, Result], batches: Batches[Item], progress: ProgressFn
    ) -> Generator[DoneBatch[Result]]:
        """Do every batch.

        Raises:
            RolloutError: an actor could not begin, or what it called raised; the message has the actor's traceback.
            ConnectionError: there is no cluster at the address.
        """
        own = not ray.is_initialized()
        if own:
            self._connect()
        try:
            actor = ray.remote(num_cpus=1, num_gpus=self.gpus)(_RemotePlayer)
            stored = ray.put(work.make_player)
            yield from Supervision(lambda: _Actor(actor, stored), _with_news, work, batches, progress).run(self.count)
        finally:
            if own:
                ray.shutdown()

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if self.address is None:
            ray.init(num_cpus=self.count, include_dashboard=False, **quiet)
        else:
            ray.init(address=self.address, **quiet)


class _RemotePlayer:
    """What runs in an actor."""

    def __init__(self, stored: Sequence[Any], path: Sequence[str]) -> None:
        # As a spawned process does, it finds the modules that the driver finds; then the work can be unpickled.
        sys.path.extend(place for place in path if place not in sys.path)
        self._player = ray.get(stored[0])()
        use_one_thread()

    def ready(self) -> None:
        """Return when the actor is made."""

    def play(self, batch: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Stream the results of a batch."""
        yield from self._player.play(batch)


class _Actor:
    """An actor, seen from the driver."""

    def __init__(self, actor: Any, stored: Any) -> None:
        self._actor = actor.remote([stored], sys.path)  # Ray would unpickle what is no list's element
        self.pending: Any = self._actor.ready.remote()

    def begin(self, batch: Sequence[Any]) -> None:
        self.pending = self._actor.play.options(num_returns="streaming").remote(list(batch))

    def receive(self) -> tuple[int, Any] | None:
        try:
            ready = isinstance(self.pending, ray.ObjectRef)
            message: Any = ray.get(self.pending if ready else next(self.pending))
        except StopIteration:
            return None
        except RayActorError as death:
            raise WorkerDeathError(f"its actor died: {str(death)[-_SHOWN_CHARACTERS:]}") from None
        except RayTaskError as failure:
            raise RolloutError(f"a worker's job raised:\n{str(failure)[-_SHOWN_CHARACTERS:]}") from None
        return message

    def close(self) -> None:
        ray.kill(self._actor)


def _with_news(workers: Sequence[_Actor]) -> list[_Actor]:
    ready, _ = ray.wait([worker.pending for worker in workers])
    return [worker for worker in workers if any(worker.pending is one for one in ready)]
