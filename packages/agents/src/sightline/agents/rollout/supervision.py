"""How batches of episodes are handed to many workers, some of which may die.

This module knows nothing of where the workers are, of journals or of how an agent decides.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from sightline.agents.rollout.episode import episode_id
from sightline.agents.rollout.job import Batches, PlayedBatch, ProgressFn, RolloutError, RolloutJob
from sightline.agents.trajectory import Trajectory

logger = logging.getLogger(__name__)


class WorkerDeathError(RuntimeError):
    """A worker is gone, and what it was playing with it."""


class Worker(Protocol):
    """A `Player` elsewhere. Its first message says that it is ready."""

    def begin(self, goals: Sequence[int]) -> None:
        """Give it a batch to play; it must have nothing else to do."""
        ...

    def receive(self) -> tuple[int, Trajectory] | None:
        """Wait for a message: an episode as `Player.play` yields it, or None when there is nothing (more) to do.

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
    """Keeps workers busy until all batches are played.

    When a worker dies, its batch is played again, as a whole, by another one: results stay what they would have been.
    The second time, the goals whose episodes no worker finished get an error row.
    """

    start: Callable[[], _Worker]
    """Function that starts a worker."""
    wait: Callable[[Sequence[_Worker]], Sequence[_Worker]]
    """Function that waits until some workers have a message or died, and returns those."""
    job: RolloutJob
    """Rollout to play."""
    batches: Batches
    """Batches to play."""
    progress: ProgressFn
    """Function that is told of finished episodes."""
    _waiting: deque[int] = field(init=False)
    _hands: dict[_Worker, int | None] = field(init=False, default_factory=dict)  # None before a worker is ready
    _finished: dict[int, dict[int, Trajectory]] = field(init=False, default_factory=dict)
    _lost: dict[int, dict[int, Trajectory]] = field(init=False, default_factory=dict)  # with a first worker

    def run(self, count: int) -> Generator[PlayedBatch]:
        """Play all batches with at most `count` workers at a time.

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
            for worker in self._hands:
                worker.close()

    def _hear(self, worker: _Worker) -> Iterator[PlayedBatch]:
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
        if number is not None:
            yield number, self._in_order(number, self._finished.pop(number))
        if not self._waiting:
            del self._hands[worker]
            worker.close()
            return
        following = self._waiting.popleft()
        self._hands[worker] = following
        self._finished[following] = {}
        worker.begin(self.batches[following])

    def _bury(self, worker: _Worker, death: WorkerDeathError) -> Iterator[PlayedBatch]:
        number = self._hands.pop(worker)
        worker.close()
        if number is None:
            raise RolloutError(f"a worker died before it was ready: {death}") from death
        logger.warning("A worker died while it played batch %d: %s", number, death)
        finished = self._finished.pop(number)
        self.progress(-len(finished))
        if number in self._lost:
            rows = self._error_rows(number) | self._lost.pop(number) | finished
            self.progress(len(rows))
            yield number, self._in_order(number, rows)
        else:
            self._lost[number] = finished
            self._waiting.appendleft(number)
        if self._waiting:
            self._hands[self.start()] = None

    def _in_order(self, number: int, finished: Mapping[int, Trajectory]) -> list[Trajectory]:
        return [finished[place] for place in range(len(self.batches[number]))]

    def _error_rows(self, number: int) -> dict[int, Trajectory]:
        return {
            place: Trajectory(
                episode_id=episode_id(self.job.agent_name, self.job.seed, goal),
                goal=goal,
                agent=self.job.agent_name,
                seed=self.job.seed,
                instruction="",
                steps=(),
                final_observation="",
                total_reward=0.0,
                terminated=False,
                truncated=False,
                error="WorkerDeathError: two workers died before this episode ended",
            )
            for place, goal in enumerate(self.batches[number])
        }
