"""Views: the whole page with a rolling history, or the few chunks that a scorer ranks highest.

This module knows nothing of how chunks are scored or of what is done with what is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sightline.agents.prompts import count_tokens, react_history
from sightline.agents.reading.pages import page_chunks
from sightline.agents.reading.types import ChunkScorer, Reading, View
from sightline.agents.records import Attention, Situation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sightline.agents.grammar import TaskGrammar
    from sightline.retrieval import ChunkingConfig


def full_page(grammar: TaskGrammar, *, history_turns: int, history_characters: int) -> View:
    """Return the view of the whole page after a rolling history.

    Args:
        grammar: how pages are read.
        history_turns: most earlier turns that are shown.
        history_characters: length to which their pages are cut.
    """

    def view(situations: Sequence[Situation]) -> list[Reading]:
        return [
            Reading(
                context=(grammar.page_text(situation.observation, situation.instruction),),
                history=react_history(
                    situation.events,
                    situation.instruction,
                    grammar,
                    turns=history_turns,
                    max_characters=history_characters,
                ),
            )
            for situation in situations
        ]

    return view


def top_chunks(
    scorer: ChunkScorer,
    grammar: TaskGrammar,
    *,
    top_k: int | None = None,
    budget: int | None = None,
    chunking: ChunkingConfig,
    by_rank: bool = True,
) -> View:
    """Return the view of a page's best chunks, best first; equal scores go to the earlier chunk.

    Args:
        scorer: scorer that ranks them.
        grammar: how pages are read.
        top_k: most chunks that are shown; None for as many as the budget pays for.
        budget: tokens, as `count_tokens` counts them, that the chunks may cost together; the best one is always shown.
        chunking: how pages are cut.
        by_rank: whether they stand in the order of their rank, or in that of the page.

    Raises:
        ValueError: `top_k` or `budget` is less than one, or neither is given.
    """
    if top_k is None and budget is None:
        raise ValueError("top_chunks needs top_k, or a budget")
    for name, number in (("top_k", top_k), ("budget", budget)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")

    def view(situations: Sequence[Situation]) -> list[Reading]:
        chunks = [page_chunks(one.observation, one.instruction, grammar, chunking) for one in situations]
        scored = zip(chunks, scorer(situations, chunks), strict=True)
        return [_select(page, scores, top_k, budget, by_rank=by_rank) for page, scores in scored]

    return view


def remembering(view: View, grammar: TaskGrammar) -> View:
    """Return a view that also shows what the grammar finds worth remembering of the episode (`TaskGrammar.memory`)."""

    def remember(situations: Sequence[Situation]) -> list[Reading]:
        return [
            replace(reading, memory=grammar.memory(situation.events, situation.instruction))
            for situation, reading in zip(situations, view(situations), strict=True)
        ]

    return remember


def _select(
    chunks: Sequence[str], scores: NDArray[np.float64], top_k: int | None, budget: int | None, *, by_rank: bool
) -> Reading:
    best = np.argsort(-scores, kind="stable")[:top_k].tolist()
    if budget is not None:
        spent = np.cumsum([count_tokens(chunks[index]) for index in best])
        best = best[: max(int(np.searchsorted(spent, budget, side="right")), 1)]
    order = best if by_rank else sorted(best)
    attention = tuple(
        Attention(text=chunk, score=float(score), selected=index in best)
        for index, (chunk, score) in enumerate(zip(chunks, scores, strict=True))
    )
    return Reading(context=tuple(chunks[index] for index in order), attention=attention)
