"""How batches of work are handed to many workers, some of which may die.

This module knows nothing of where the workers are, of journals or of what is done.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from sightline.agents.rollout.job import Batches, DoneBatch, ProgressFn, RolloutError, Work

logger = logging.getLogger(__name__)


class WorkerDeathError(RuntimeError):
    """A worker is gone, and what it was playing with it."""


class Worker(Protocol):
    """A `Player` elsewhere. Its first message says that it is ready."""

    def begin(self, batch: Sequence[Any]) -> None:
        """Give it a batch to play; it must have nothing else to do."""
        ...

    def receive(self) -> tuple[int, Any] | None:
        """Wait for a message: a result as `Player.play` yields it, or None when there is nothing (more) to do.

        Raises:
            WorkerDeathError: it is gone.
            RolloutError: its job raised.
        """
        ...

    def close(self) -> None:
        """Stop it, whatever it is doing."""
        ...


_Worker = TypeVar("_Worker", bound=Worker)


@dataclass
class Supervision(Generic[_Worker]):
    """Keeps workers busy until all batches are done.

    When a worker dies, its batch is done again, as a whole, by another one: results stay what they would have been.
    The second time, the items that no worker finished get what `work.lost` gives for them.
    """

    start: Callable[[], _Worker]
    """Function that starts a worker."""
    wait: Callable[[Sequence[_Worker]], Sequence[_Worker]]
    """Function that waits until some workers have a message or died, and returns those."""
    work: Work[Any, Any]
    """What is done."""
    batches: Batches[Any]
    """Batches to do."""
    progress: ProgressFn
    """Function that is told of finished items."""
    _waiting: deque[int] = field(init=False)
    _hands: dict[_Worker, int | None] = field(init=False, default_factory=dict)  # None before a worker is ready
    _idle: list[_Worker] = field(init=False, default_factory=list)  # until another batch lets one begin
    _done: set[int] = field(init=False, default_factory=set)
    _finished: dict[int, dict[int, Any]] = field(init=False, default_factory=dict)
    _lost: dict[int, dict[int, Any]] = field(init=False, default_factory=dict)  # with a first worker

    def run(self, count: int) -> Generator[DoneBatch[Any]]:
        """Do all batches with at most `count` workers at a time.

        Raises:
            RolloutError: a worker died before it was ready, or a job raised.
        """
        self._waiting = deque(self.batches)
        try:
            for _ in range(min(count, len(self.batches))):
                self._hands[self.start()] = None
            while self._hands:
                for worker in self.wait(list(self._hands)):
                    yield from self._hear(worker)
        finally:
            for worker in [*self._hands, *self._idle]:
                worker.close()

    def _hear(self, worker: _Worker) -> Iterator[DoneBatch[Any]]:
        try:
            message = worker.receive()
        except WorkerDeathError as death:
            yield from self._bury(worker, death)
            return
        number = self._hands[worker]
        if message is not None:
            assert number is not None
            self._finished[number][message[0]] = message[1]
            self.progress(1)
            return
        del self._hands[worker]
        self._idle.append(worker)
        if number is not None:
            yield from self._complete(number, self._finished.pop(number))
        self._employ()

    def _employ(self) -> None:
        """Give the idle workers what may begin; those for whom nothing is left to wait for go."""
        while self._idle:
            number = self.work.next_of(self._waiting, self._done)
            if number is None:
                break
            self._waiting.remove(number)
            worker = self._idle.pop()
            self._hands[worker] = number
            self._finished[number] = {}
            worker.begin(self.batches[number])
        if not self._waiting:
            while self._idle:
                self._idle.pop().close()

    def _complete(self, number: int, results: Mapping[int, Any]) -> Iterator[DoneBatch[Any]]:
        self._done.add(number)
        yield number, [results[place] for place in range(len(self.batches[number]))]

    def _bury(self, worker: _Worker, death: WorkerDeathError) -> Iterator[DoneBatch[Any]]:
        number = self._hands.pop(worker)
        worker.close()
        if number is None:
            raise RolloutError(f"a worker died before it was ready: {death}") from death
        logger.warning("A worker died while it did batch %d: %s", number, death)
        finished = self._finished.pop(number)
        self.progress(-len(finished))
        if number in self._lost:
            known = self._lost.pop(number) | finished
            rows = {
                place: known[place] if place in known else self.work.lost(item)
                for place, item in enumerate(self.batches[number])
            }
            self.progress(len(rows))
            yield from self._complete(number, rows)
        else:
            self._lost[number] = finished
            self._waiting.appendleft(number)
        self._employ()
        if self._waiting:
            self._hands[self.start()] = None
