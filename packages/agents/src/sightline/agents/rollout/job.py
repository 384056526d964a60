"""What a rollout consists of, and what an engine that plays it must offer.

The goals of a rollout are cut into batches, and the episodes of a batch are played in lock-step. Which episodes share
a call of the agent therefore depends on the rollout alone, not on the engine or on the number of workers.
This module knows nothing of processes, clusters, journals or how an agent decides.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sightline.agents.grammar import TaskGrammar
from sightline.agents.protocols import ActionValues, Agent, Demonstrator, Environment
from sightline.agents.trajectory import Trajectory

Batches = Mapping[int, Sequence[int]]
"""Number of a batch -> its goals."""

PlayedBatch = tuple[int, list[Trajectory]]
"""Number of a batch, and one trajectory for each of its goals, in their order."""

ProgressFn = Callable[[int], None]
"""Is told how many episodes were finished; fewer than 0 when a worker was lost with what it had finished."""


class RolloutError(RuntimeError):
    """A rollout cannot go on: a worker could not begin, or its agent raised."""


@dataclass(frozen=True, kw_only=True)
class RolloutJob:
    """What is played, described so that any process can make it.

    For workers, the functions are sent by pickle: functions of an importable module, or a `functools.partial` of one.
    Each worker calls both `make_environments` and `make_agent` once.

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
    """Plays batches of episodes somewhere."""

    def play(self, job: RolloutJob, batches: Batches, progress: ProgressFn) -> Generator[PlayedBatch]:
        """Play every batch.

        Args:
            job: rollout to play.
            batches: goals to play; each batch has 1 to `job.batch_size` goals.
            progress: function that is told of finished episodes.

        Yields:
            Every batch once, when it is complete, in any order.
        """
        ...
