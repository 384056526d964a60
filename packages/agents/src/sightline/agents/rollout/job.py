"""What a rollout consists of, and what an engine that does such work, or any other, must offer.

The goals of a rollout are cut into batches, and the episodes of a batch are played in lock-step. Which episodes share
a call of the agent therefore depends on the rollout alone, not on the engine or on the number of workers.
This module knows nothing of processes, clusters, journals or how an agent decides.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from sightline.agents.grammar import TaskGrammar
from sightline.agents.protocols import ActionValues, Agent, Demonstrator, Environment

Item = TypeVar("Item")
Result = TypeVar("Result")

Batches: TypeAlias = Mapping[int, Sequence[Item]]
"""Number of a batch -> its items; those of a rollout are goals."""

DoneBatch: TypeAlias = tuple[int, list[Result]]
"""Number of a batch, and one result for each of its items, in their order; those of a rollout are trajectories."""

ProgressFn = Callable[[int], None]
"""Is told how many items were finished; fewer than 0 when a worker was lost with what it had finished."""


class RolloutError(RuntimeError):
    """A rollout, or other work, cannot go on: a worker could not begin, or what it called raised."""


class Player(Protocol):
    """Does the items of a batch."""

    def play(self, batch: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Yield (place of an item in the batch, its result) as items are done."""
        ...


@dataclass(frozen=True)
class Work(Generic[Item, Result]):
    """What workers do, whatever it is."""

    make_player: Callable[[], Player]
    """Makes what does it. Each worker calls it once; it is sent to workers by pickle."""
    lost: Callable[[Item], Result]
    """Gives the result of an item that two workers died over, or raises where nothing can stand for it."""
    after: Mapping[int, int] = field(default_factory=dict)
    """Number of a batch -> batch that must be finished before it begins."""

    def next_of(self, waiting: Iterable[int], done: Container[int]) -> int | None:
        """Return the first of the waiting batches that may begin once those of `done` are finished, None for none."""
        return next((each for each in waiting if each not in self.after or self.after[each] in done), None)


@dataclass(frozen=True, kw_only=True)
class RolloutJob:
    """What is played, described so that any process can make it.

    For workers, the functions are sent by pickle; those of no importable module, lambdas among them, with all that they
    hold. Each worker calls both `make_environments` and `make_agent` once.

    Raises:
        ValueError: `max_steps` or `batch_size` is not positive.
    """

    agent_name: str
    """Name of `make_agent`'s agents."""
    make_environments: Callable[[int], Sequence[Environment]]
    """Makes that many interchangeable environments; they may share whatever no episode changes."""
    make_agent: Callable[[], Agent]
    """Makes the agent."""
    grammar: TaskGrammar
    """What can be chosen on a page."""
    seed: int
    """Seed of every reset."""
    max_steps: int
    """Steps after which an episode is truncated, if the environment has not ended it."""
    expert: Demonstrator | None = None
    """Demonstrator whose action goes into each situation, where only agents that are bounds look at it."""
    values: ActionValues | None = None
    """Function that says what each candidate is worth, likewise only for bounds and labels."""
    snapshots: bool = False
    """Whether each step keeps the environment's state before it."""
    batch_size: int = 16
    """Consecutive goals that are played in lock-step, so that the agent decides for them in one call."""

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, not {getattr(self, name)!r}")


class Engine(Protocol):
    """Does batches of work somewhere."""

    def run(
        self, work: Work[Item, Result], batches: Batches[Item], progress: ProgressFn
    ) -> Generator[DoneBatch[Result]]:
        """Do every batch.

        Args:
            work: what is done.
            batches: items, at least one in each batch.
            progress: function that is told of finished items.

        Yields:
            Every batch once, when it is complete, in any order.
        """
        ...
