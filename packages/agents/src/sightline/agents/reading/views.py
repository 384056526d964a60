"""Views: the whole page with a rolling history, or the few chunks that a scorer ranks highest.

This module knows nothing of how chunks are scored or of what is done with what is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sightline.agents.prompts import react_history
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


def top_chunks(scorer: ChunkScorer, grammar: TaskGrammar, *, top_k: int, chunking: ChunkingConfig) -> View:
    """Return the view of the page's `top_k` best chunks, in page order; equal scores go to the earlier chunk.

    Raises:
        ValueError: if `top_k` is less than one.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")

    def view(situations: Sequence[Situation]) -> list[Reading]:
        chunks = [page_chunks(one.observation, one.instruction, grammar, chunking) for one in situations]
        return [_select(page, scores, top_k) for page, scores in zip(chunks, scorer(situations, chunks), strict=True)]

    return view


def _select(chunks: Sequence[str], scores: NDArray[np.float64], top_k: int) -> Reading:
    best = set(np.argsort(-scores, kind="stable")[:top_k].tolist())
    attention = tuple(
        Attention(text=chunk, score=float(score), selected=index in best)
        for index, (chunk, score) in enumerate(zip(chunks, scores, strict=True))
    )
    return Reading(context=tuple(chunk.text for chunk in attention if chunk.selected), attention=attention)
