"""How often agents read the chunk they needed, and did what was best, by step of the episode and by kind of page.

The chunks that were needed are those that hold what a best action in the agent's own situation acts on, so these
figures speak of the pages that the agent saw, not of the expert's. This module knows nothing of models.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sightline.agents.evaluation.episodes import EpisodesBySeed, by_goal
from sightline.agents.evaluation.intervals import Interval, rate_interval
from sightline.agents.reading.pages import page_chunks
from sightline.agents.trajectory import Step

if TYPE_CHECKING:
    from sightline.agents.grammar import TaskGrammar
    from sightline.retrieval import ChunkingConfig

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class PageChunk:
    """One chunk of a page, and what became of it."""

    text: str
    """The chunk."""
    score: float | None
    """The agent's score; None where it was not recorded."""
    read: bool
    """Whether the actor saw it."""
    target: bool
    """Whether it holds what a best action acts on."""


@dataclass(frozen=True, slots=True)
class DecisionRate:
    """The share of decisions at which something holds, such as that the needed chunk was read."""

    goals: int
    """Goals with at least one decision that counts."""
    decisions: int
    """Decisions that count: where one of the page's chunks was needed, or where it is known what was best."""
    interval: Interval | None
    """Interval of the mean over goals; None for fewer than two."""


def chunks_of_step(
    step: Step, instruction: str, grammar: TaskGrammar, chunking: ChunkingConfig
) -> tuple[PageChunk, ...]:
    """Return the chunks of a step's page in page order; an agent that records no attention has read the whole page.

    Args:
        step: a decision.
        instruction: instruction of its episode.
        grammar: how the agent's pages were read.
        chunking: how they were cut.

    Raises:
        ValueError: the agent read a chunk that this chunking does not give.
    """
    texts = page_chunks(step.observation, instruction, grammar, chunking)
    recorded = {item.text: item for item in step.attention}
    if unknown := recorded.keys() - set(texts):
        raise ValueError(
            f"the agent read {min(unknown)[:80]!r}, which is no chunk of its page; give the chunking it read with"
        )
    targets = set(grammar.target_chunks_of(step.best_actions, texts))
    return tuple(
        PageChunk(
            text=text,
            score=recorded[text].score if text in recorded else None,
            read=not recorded or (text in recorded and recorded[text].selected),
            target=index in targets,
        )
        for index, text in enumerate(texts)
    )


def target_read(chunks: Sequence[PageChunk]) -> bool | None:
    """Return whether a chunk with the target was read; None where none or all hold it and nothing was to be chosen."""
    targets = [chunk for chunk in chunks if chunk.target]
    if not targets or len(targets) == len(chunks):
        return None
    return any(chunk.read for chunk in targets)


def recall_by_step(
    episodes: EpisodesBySeed, grammar: TaskGrammar, chunking: ChunkingConfig, *, seed: int
) -> dict[int, DecisionRate]:
    """Return the recall of the needed chunk by number of the step, counted from 1, in ascending order.

    Args:
        episodes: episodes of an agent that retrieves, by training seed; those that an error broke off are left out.
        grammar: how its pages were read.
        chunking: how they were cut.
        seed: seed of the bootstrap over goals, and training seeds where there are several.

    Returns:
        Only steps at which a chunk was needed; empty for agents that read whole pages.

    Raises:
        ValueError: the agent read chunks that this chunking does not give.
    """
    found = _rates(episodes, _reads_the_needed(grammar, chunking), lambda number, _: number, seed)
    return dict(sorted(found.items()))


def recall_by_page(
    episodes: EpisodesBySeed, grammar: TaskGrammar, chunking: ChunkingConfig, *, seed: int
) -> dict[str, DecisionRate]:
    """Return the recall of the needed chunk by kind of page; otherwise as `recall_by_step`."""
    return _by_page(episodes, _reads_the_needed(grammar, chunking), grammar, seed)


def agreement_by_page(episodes: EpisodesBySeed, grammar: TaskGrammar, *, seed: int) -> dict[str, DecisionRate]:
    """Return how often an agent did what was best, by kind of page.

    Args:
        episodes: episodes by training seed, with values or an expert's actions; those that an error broke off, and
            steps where it is not known what was best, are left out.
        grammar: which kinds of pages there are.
        seed: seed of the bootstrap over goals, and training seeds where there are several.
    """

    def agrees(step: Step, _: str) -> bool | None:
        return step.action in step.best_actions if step.best_actions else None

    return _by_page(episodes, agrees, grammar, seed)


def _reads_the_needed(grammar: TaskGrammar, chunking: ChunkingConfig) -> Callable[[Step, str], bool | None]:
    def reads(step: Step, instruction: str) -> bool | None:
        return target_read(chunks_of_step(step, instruction, grammar, chunking)) if step.attention else None

    return reads


def _by_page(
    episodes: EpisodesBySeed, judge: Callable[[Step, str], bool | None], grammar: TaskGrammar, seed: int
) -> dict[str, DecisionRate]:
    found = _rates(episodes, judge, lambda _, step: grammar.page_kind(step.available_actions), seed)
    return {kind: found[kind] for kind in grammar.page_kinds if kind in found}


def _rates(
    episodes: EpisodesBySeed,
    judge: Callable[[Step, str], bool | None],
    key: Callable[[int, Step], Key],
    seed: int,
) -> dict[Key, DecisionRate]:
    """Return the rate of each group of decisions; `judge` gets a step and its instruction, None does not count."""
    # group -> goal -> for every training seed, whether it holds at each decision
    held: dict[Key, dict[int, list[list[bool]]]] = defaultdict(lambda: defaultdict(lambda: [[] for _ in episodes]))
    for goal, of_goal in by_goal(episodes).items():
        for position, trajectory in ((place, each) for place, of_seed in enumerate(of_goal) for each in of_seed):
            for number, step in enumerate(trajectory.steps, start=1):
                holds = judge(step, trajectory.instruction)
                if holds is not None:
                    held[key(number, step)][goal][position].append(holds)
    return {group: _of_goals(list(goals.values()), seed) for group, goals in held.items()}


def _of_goals(goals: Sequence[Sequence[Sequence[bool]]], seed: int) -> DecisionRate:
    weights = np.array([[len(hits) for hits in goal] for goal in goals], dtype=np.float64)
    sums = np.array([[sum(hits) for hits in goal] for goal in goals], dtype=np.float64)
    interval = rate_interval(sums / np.maximum(weights, 1), np.random.default_rng(seed), weights=weights)
    return DecisionRate(len(goals), int(weights.sum()), interval)
