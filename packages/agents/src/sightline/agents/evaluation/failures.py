"""Why episodes failed: how they ended, at which step they were lost, and whether what was needed had been read.

The judge is the expert, whose actions in the agent's own situation are kept with every step: any best one is right. The
decisive step of a failed episode begins its last stretch of departures from them; as a rule the agent never again did
what the expert would have done. This module knows nothing of models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from sightline.agents.evaluation.episodes import EpisodesBySeed, GoalEpisodes, by_goal, measured
from sightline.agents.evaluation.intervals import Interval, rate_interval, resampled_by, show_interval
from sightline.agents.evaluation.step_recall import PageChunk, chunks_of_step, target_read
from sightline.agents.tables import Table
from sightline.agents.trajectory import Step, Trajectory

if TYPE_CHECKING:
    from sightline.agents.grammar import TaskGrammar
    from sightline.agents.reading.types import ChunkScorer
    from sightline.retrieval import ChunkingConfig


_LOOP = "went to and fro between two pages"


class Evidence(StrEnum):
    """What the agent had read at the decisive step."""

    NOT_READ = "needed chunk not read"
    READ = "read, but acted otherwise"
    NO_CHUNK = "no single chunk was needed"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed episode."""

    trajectory: Trajectory
    """The episode."""
    ending: str
    """How it ended: one of the grammar's endings."""
    evidence: Evidence
    """What had been read at the decisive step."""
    step: int | None
    """Index of the decisive step, from 0; None where the agent never departed from the expert."""

    def chunks(
        self, grammar: TaskGrammar, chunking: ChunkingConfig, scorer: ChunkScorer | None = None
    ) -> tuple[PageChunk, ...]:
        """Return the chunks of the decisive step's page, in page order; none where there is no such step.

        Args:
            grammar: how the agent's pages were read.
            chunking: how they were cut.
            scorer: scorer of the agent, which gives every chunk its score; without it only the recorded ones have one.
        """
        if self.step is None:
            return ()
        chunks = chunks_of_step(self.trajectory.steps[self.step], self.trajectory.instruction, grammar, chunking)
        if scorer is None:
            return chunks
        situation, _ = next(islice(self.trajectory.situations(), self.step, None))
        (scores,) = scorer([situation], [[chunk.text for chunk in chunks]])
        return tuple(replace(chunk, score=float(score)) for chunk, score in zip(chunks, scores, strict=True))


def find_failures(trajectories: Iterable[Trajectory], grammar: TaskGrammar, chunking: ChunkingConfig) -> list[Failure]:
    """Return the failed episodes, in order; those that an error broke off are none.

    Args:
        trajectories: episodes of one agent, rolled out with an expert.
        grammar: how the agent's pages were read, and how episodes end.
        chunking: how the pages were cut.

    Raises:
        ValueError: the episodes were rolled out without an expert, or read with another chunking.
    """
    failed = [each for each in trajectories if each.error is None and each.steps and not each.success]
    # In a single episode the expert may never have wanted an action that the agent had.
    if failed and all(not step.best_actions for trajectory in failed for step in trajectory.steps):
        raise ValueError(f"{failed[0].episode_id!r} and all others hold no expert's actions; give roll_out an expert")
    return [_explain(trajectory, grammar, chunking) for trajectory in failed]


def typical_failures(failures: Sequence[Failure], count: int) -> list[Failure]:
    """Return the first failure of the `count` most frequent pairs of ending and evidence, most frequent first."""
    frequent = Counter((failure.ending, failure.evidence) for failure in failures).most_common(count)
    return [next(failure for failure in failures if (failure.ending, failure.evidence) == pair) for pair, _ in frequent]


def failure_table(episodes: EpisodesBySeed, failures: Iterable[Failure], grammar: TaskGrammar, *, seed: int) -> Table:
    """Return how often each ending occurred, as a share of all episodes, and what had been read.

    Args:
        episodes: all episodes of the agent by training seed, also those that succeeded.
        failures: what `find_failures` found among them.
        grammar: which endings there are.
        seed: seed of the bootstrap over goals, and training seeds where there are several.

    Raises:
        ValueError: a failure was found among other episodes.
    """
    failures = list(failures)
    goals = list(by_goal(episodes).values())
    known = {id(episode) for goal in goals for of_seed in goal for episode in of_seed}
    if any(id(failure.trajectory) not in known for failure in failures):
        raise ValueError("a failure is of another episode than these; find_failures among the same objects")
    shares = []
    rows = []
    for ending in [*grammar.endings, None]:
        found = [failure for failure in failures if ending in (None, failure.ending)]
        evidence = Counter(failure.evidence for failure in found)
        name = "all failures" if ending is None else str(ending)
        share = _share(goals, found, seed)
        shares.append(share)
        counts = (str(evidence[kind]) for kind in Evidence)
        loops = sum(failure.trajectory.loop_step is not None for failure in found)
        rows.append((name, str(len(found)), show_interval(share, ".1f", scale=100), *counts, str(loops)))
    return Table(
        columns=("how the episode ended", "episodes", "share of all, %", *(kind.value for kind in Evidence), _LOOP),
        rows=tuple(rows),
        caption="Failed episodes by their end, and what had been read at the decisive step, which begins the last "
        f"stretch of departures from the expert. Shares with 95 % intervals; resampled: {resampled_by(shares)}.",
    )


def _share(goals: Sequence[GoalEpisodes], found: Sequence[Failure], seed: int) -> Interval | None:
    failed = {id(failure.trajectory) for failure in found}
    if not goals:
        return None
    cells = measured(goals, lambda trajectory: float(id(trajectory) in failed))
    return rate_interval(cells.values, np.random.default_rng(seed), weights=cells.weights)


def _explain(trajectory: Trajectory, grammar: TaskGrammar, chunking: ChunkingConfig) -> Failure:
    steps = trajectory.steps
    decisive = _decisive_step(steps)
    hit = None
    if decisive is not None:
        hit = target_read(chunks_of_step(steps[decisive], trajectory.instruction, grammar, chunking))
    evidence = {None: Evidence.NO_CHUNK, False: Evidence.NOT_READ, True: Evidence.READ}[hit]
    return Failure(trajectory, grammar.ending(steps), evidence, decisive)


def _decisive_step(steps: Sequence[Step]) -> int | None:
    """Return the index of the step that begins the last stretch of departures from the expert.

    Steps whose expert's action the agent could not choose, such as a search in other words, are neither agreement nor
    departure.
    """
    decisive = None
    for index, step in reversed(list(enumerate(steps))):
        if step.action in step.best_actions:
            if decisive is not None:
                break
        elif step.best_actions:
            decisive = index
    return decisive
