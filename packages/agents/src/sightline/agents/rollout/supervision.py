"""What a rollout consists of, and how its batches of episodes are played in one process or handed to many workers.

The goals of a rollout are cut into batches, and the episodes of a batch are played in lock-step. Which episodes share
a call of the agent therefore depends on the rollout alone, not on the engine or on the number of workers.
This module knows nothing of processes, clusters, journals or how an agent decides.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from sightline.agents.protocols import Agent, Demonstrator, Environment
from sightline.agents.rollout.episode import Episode, episode_id
from sightline.agents.trajectory import Trajectory

logger = logging.getLogger(__name__)

Batches = Mapping[int, Sequence[int]]
"""Number of a batch -> its goals."""

PlayedBatch = tuple[int, list[Trajectory]]
"""Number of a batch, and one trajectory for each of its goals, in their order."""

Report = Callable[[int], None]
"""Is told how many episodes were finished; fewer than 0 when a worker was lost with what it had finished."""


class RolloutError(RuntimeError):
    """A rollout cannot go on: a worker could not begin, or its agent raised."""


class WorkerDeathError(RuntimeError):
    """A worker is gone, and what it was playing with it."""


@dataclass(frozen=True, kw_only=True)
class RolloutJob:
    """What is played, described so that any process can make it.

    For workers, the functions are sent by pickle: functions of an importable module, or a `functools.partial` of one.
    Each worker calls both `make_environments` and `make_agent` once.

    Attributes:
        agent_name: what `make_agent`'s agents are called.
        make_environments: makes that many interchangeable environments; they may share whatever no episode changes.
        make_agent: makes the agent.
        seed: given to every reset.
        max_steps: steps after which an episode is truncated, if the environment has not ended it.
        expert: its action goes into each situation, where only agents that are bounds look at it.
        batch_size: consecutive goals that are played in lock-step, so that the agent decides for them in one call.

    Raises:
        ValueError: `max_steps` or `batch_size` is not positive.
    """

    agent_name: str
    make_environments: Callable[[int], Sequence[Environment]]
    make_agent: Callable[[], Agent]
    seed: int
    max_steps: int
    expert: Demonstrator | None = None
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, not {getattr(self, name)!r}")


class Engine(Protocol):
    """Plays batches of episodes somewhere."""

    def play(self, job: RolloutJob, batches: Batches, report: Report) -> Generator[PlayedBatch]:
        """Play every batch.

        Args:
            job: what is played.
            batches: what is to be played; each has 1 to `job.batch_size` goals.
            report: is told of finished episodes.

        Yields:
            Every batch once, when it is complete, in any order.
        """
        ...


class Player:
    """Plays the batches of a job one after another, in this process.

    Raises:
        ValueError: the job makes an agent of another name, or too few environments.
    """

    def __init__(self, job: RolloutJob) -> None:
        self._job = job
        self._agent = job.make_agent()
        self._environments = job.make_environments(job.batch_size)
        if self._agent.name != job.agent_name:
            raise ValueError(f"the job names the agent {job.agent_name!r}, but makes one called {self._agent.name!r}")
        if len(self._environments) < job.batch_size:
            made = len(self._environments)
            raise ValueError(f"make_environments({job.batch_size}) should make as many, not {made}")

    def play(self, goals: Sequence[int]) -> Iterator[tuple[int, Trajectory]]:
        """Play a batch in lock-step.

        Yields:
            (place of the goal in the batch, its trajectory) as episodes end.
        """
        job = self._job
        episodes = {
            place: Episode(
                environment,
                agent=job.agent_name,
                goal=goal,
                seed=job.seed,
                max_steps=job.max_steps,
                expert=job.expert,
            )
            for place, (goal, environment) in enumerate(zip(goals, self._environments, strict=False))
        }
        while episodes:
            situations = {place: situation for place, one in episodes.items() if (situation := one.situation)}
            for place in episodes.keys() - situations.keys():
                yield place, episodes.pop(place).trajectory()
            decisions = self._agent.choose(list(situations.values())) if situations else []
            for place, decision in zip(situations, decisions, strict=True):
                episodes[place].take(decision)


@dataclass(frozen=True, slots=True)
class InProcess:
    """Plays one batch after another in this process."""

    def play(self, job: RolloutJob, batches: Batches, report: Report) -> Generator[PlayedBatch]:
        """Play every batch; what the agent raises is passed on as it is."""
        player = Player(job)
        for number, goals in batches.items():
            finished = {}
            for place, trajectory in player.play(goals):
                finished[place] = trajectory
                report(1)
            yield number, [finished[place] for place in range(len(goals))]


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
        """End it, whatever it is doing."""
        ...


_Worker = TypeVar("_Worker", bound=Worker)


@dataclass
class Supervision(Generic[_Worker]):
    """Keeps workers busy until all batches are played.

    When a worker dies, its batch is played again, as a whole, by another one: results stay what they would have been.
    The second time, the goals whose episodes no worker finished get an error row.

    Attributes:
        start: starts a worker.
        wait: of some workers, those that have a message or died; blocks until there is one.
        job: what is played.
        batches: what is to be played.
        report: is told of finished episodes.
    """

    start: Callable[[], _Worker]
    wait: Callable[[Sequence[_Worker]], Sequence[_Worker]]
    job: RolloutJob
    batches: Batches
    report: Report
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
            self.report(1)
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
        self.report(-len(finished))
        if number in self._lost:
            rows = self._error_rows(number) | self._lost.pop(number) | finished
            self.report(len(rows))
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
