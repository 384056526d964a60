"""Work over Ray, on this machine or a cluster (extra `ray`).

This module knows nothing of what is done; `supervision.py` decides who does it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sightline.agents.rollout.job import Batches, DoneBatch, Item, ProgressFn, Result, RolloutError, Work
from sightline.agents.rollout.mapping import MapMethod
from sightline.agents.rollout.processes import use_one_thread
from sightline.agents.rollout.supervision import Supervision, WorkerDeathError

try:
    import ray
    from ray.exceptions import RayActorError, RayError, RayTaskError
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
    _kept: list[_Actor] | None = field(default=None, repr=False, compare=False)  # by `kept`

    def __post_init__(self) -> None:
        if self.count < 1 or self.gpus < 0:
            raise ValueError(f"count should be at least 1 and gpus at least 0, not {self.count!r} and {self.gpus!r}")

    @contextmanager
    def kept(self) -> Generator[RayEngine]:
        """Yield an engine whose actors stay for its next work, with all that they imported, until the block ends.

        Raises:
            ConnectionError: there is no cluster at the address.
        """
        kept: list[_Actor] = []
        with self._connected():
            try:
                yield RayEngine(self.count, self.address, self.gpus, kept)
            finally:
                while kept:
                    kept.pop().end()

    def run(
        self, work: Work[Item, Result], batches: Batches[Item], progress: ProgressFn
    ) -> Generator[DoneBatch[Result]]:
        """Do every batch.

        Raises:
            RolloutError: an actor could not begin, or what it called raised; the message has the actor's traceback.
            ConnectionError: there is no cluster at the address.
        """
        with self._connected():
            stored = ray.put(work.make_player)
            yield from Supervision(lambda: self._actor(stored), _with_news, work, batches, progress).run(self.count)

    @contextmanager
    def _connected(self) -> Generator[None]:
        if ray.is_initialized():
            yield
            return
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if self.address is None:
            ray.init(num_cpus=self.count, include_dashboard=False, **quiet)
        else:
            ray.init(address=self.address, **quiet)
        try:
            yield
        finally:
            ray.shutdown()

    def _actor(self, stored: Any) -> _Actor:
        """Return one that is kept, or a new one, which makes ready for this work."""
        while self._kept and not self._kept[-1].is_alive():
            self._kept.pop()
        actor = self._kept.pop() if self._kept else _Actor(self.gpus, self._kept)
        actor.begin_anew(stored)
        return actor


class _RemotePlayer:
    """What runs in an actor."""

    def __init__(self, path: Sequence[str]) -> None:
        # As a spawned process does, it finds the modules that the driver finds; then work can be unpickled.
        sys.path.extend(place for place in path if place not in sys.path)
        self._player: Any = None

    def is_alive(self) -> bool:
        """Answer."""
        return True

    def make_ready(self, stored: Sequence[Any]) -> None:
        """Make the player of some work; nothing of the work before stays in memory."""
        self._player = None
        self._player = ray.get(stored[0])()
        use_one_thread()

    def play(self, batch: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Stream the results of a batch."""
        yield from self._player.play(batch)


class _Actor:
    """An actor, seen from the driver.

    Args:
        gpus: share of a GPU that it takes.
        kept: where it waits for other work when it is closed; None if it ends then.
    """

    def __init__(self, gpus: float, kept: list[_Actor] | None) -> None:
        self._kept, self._busy = kept, False
        self._actor: Any = ray.remote(num_cpus=1, num_gpus=gpus)(_RemotePlayer).remote(sys.path)
        self.pending: Any = None

    def is_alive(self) -> bool:
        try:
            return ray.get(self._actor.is_alive.remote())
        except RayError:
            return False

    def begin_anew(self, stored: Any) -> None:
        """Give it work, for which it has to make ready."""
        self._busy = True
        self.pending = self._actor.make_ready.remote([stored])  # Ray would unpickle what is no list's element

    def begin(self, batch: Sequence[Any]) -> None:
        self._busy = True
        self.pending = self._actor.play.options(num_returns="streaming").remote(list(batch))

    def receive(self) -> tuple[int, Any] | None:
        try:
            ready = isinstance(self.pending, ray.ObjectRef)
            message: Any = ray.get(self.pending if ready else next(self.pending))
        except StopIteration:
            message = None
        except RayActorError as death:
            raise WorkerDeathError(f"its actor died: {str(death)[-_SHOWN_CHARACTERS:]}") from None
        except RayTaskError as failure:
            raise RolloutError(f"a worker's job raised:\n{str(failure)[-_SHOWN_CHARACTERS:]}") from None
        self._busy = message is not None
        return message

    def close(self) -> None:
        """Let it wait for other work if it is to be kept and has nothing to do, and end it otherwise."""
        if self._kept is None or self._busy:
            self.end()
        else:
            self._kept.append(self)

    def end(self) -> None:
        """Stop it, whatever it is doing."""
        ray.kill(self._actor)


def _with_news(workers: Sequence[_Actor]) -> list[_Actor]:
    ready, _ = ray.wait([worker.pending for worker in workers])
    return [worker for worker in workers if any(worker.pending is one for one in ready)]
