"""Retrieval examples from trajectories, and the scores that a chunk scorer gives on them.

Pages are cut by `page_chunks`, as when agents act, so a retriever meets the same chunks in training as in use.
This module knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sightline.agents.reading.pages import page_chunks
from sightline.agents.records import Event, Situation
from sightline.retrieval.conditioned import RetrievalExample, build_example

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sightline.agents.grammar import TaskGrammar
    from sightline.agents.reading.sufficiency import ChunkLabel
    from sightline.agents.reading.types import ChunkScorer
    from sightline.agents.trajectory import Trajectory
    from sightline.retrieval import ChunkingConfig

_SITUATIONS_AT_ONCE = 128


def retrieval_examples(
    trajectories: Iterable[Trajectory],
    grammar: TaskGrammar,
    chunking: ChunkingConfig,
    *,
    navigation: bool = True,
    needed: ChunkLabel | None = None,
    targets: bool = True,
) -> list[RetrievalExample]:
    """Make one example of every step for which one of the page's chunks was to be read.

    A chunk is right when it holds the target of any best action or, where no expert was asked, of the action taken, and
    when it is needed otherwise. Actions in free text have no target; steps of which no chunk or every one is right are
    left out. All other chunks of the page are negatives.

    Args:
        trajectories: episodes, of experts or of agents.
        grammar: how pages are read.
        chunking: how they are cut.
        navigation: whether the targets of navigation count; what it acts on can be done unread.
        needed: what else should be read, for example `sufficient_chunks` of the actor.
        targets: whether targets count; without them only what is needed.
    """
    examples = []
    for trajectory in trajectories:
        for t, (situation, taken) in enumerate(trajectory.situations()):
            known_anyway = grammar.is_free_text if navigation else grammar.is_navigation
            best = [action for action in situation.best_actions or (taken,) if not known_anyway(action)]
            if not (best or needed) or (needed and _says_nothing(situation, grammar)):
                continue
            chunks = page_chunks(situation.observation, situation.instruction, grammar, chunking)
            right = set(grammar.target_chunks_of(best, chunks) if targets else ())
            right.update(needed(situation, chunks) if needed else ())
            example = build_example(
                episode_id=trajectory.episode_id,
                t=t,
                instruction=situation.instruction,
                events=[(event.kind, event.text) for event in situation.events],
                obs_text=situation.observation,
                chunks=chunks,
                action=(situation.expert_action or taken) if situation.expert_action in best or not best else best[0],
                label=lambda *_, right=right: tuple(sorted(right)),
            )
            if example is not None:
                examples.append(example)
    return examples


def _says_nothing(situation: Situation, grammar: TaskGrammar) -> bool:
    """Tell whether the page is one on which only free text leads on: there is nothing to choose what to read for."""
    return all(map(grammar.is_free_text, situation.best_actions))


def example_situation(example: RetrievalExample) -> Situation:
    """Return the situation of an example, with the expert's action as the only candidate."""
    events = tuple(Event(kind, text) for kind, text in example.events)
    return Situation(example.instruction, events, (example.action,), example.action)


def score_pages(
    scorer: ChunkScorer, examples: Sequence[RetrievalExample]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return what a scorer makes of the examples' pages, as `sightline.retrieval.recall_at_k` and its like take it.

    Args:
        scorer: any scorer, also of an agent that does not learn.
        examples: N pages of at most n chunks each.

    Returns:
        Scores `[N, n]`, padded with -inf, and whether each chunk is a positive `[N, n]`.

    Raises:
        ValueError: there are no examples.
    """
    if not examples:
        raise ValueError("no examples to score")
    shape = len(examples), max(len(example.chunks) for example in examples)
    scores, positives = np.full(shape, -np.inf), np.zeros(shape, dtype=np.bool_)
    for start in range(0, len(examples), _SITUATIONS_AT_ONCE):
        batch = examples[start : start + _SITUATIONS_AT_ONCE]
        rows = scorer([example_situation(example) for example in batch], [example.chunks for example in batch])
        for position, (example, row) in enumerate(zip(batch, rows, strict=True), start=start):
            scores[position, : len(row)] = row
            positives[position, list(example.pos_idx)] = True
    return scores, positives
