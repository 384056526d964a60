"""How a page becomes chunks: the same in training, in acting and in evaluation. Knows nothing of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.agents.grammar import TaskGrammar
    from sightline.retrieval import ChunkingConfig


def page_chunks(observation: str, instruction: str, grammar: TaskGrammar, chunking: ChunkingConfig) -> tuple[str, ...]:
    """Return the chunks of a page, without what only repeats the instruction, in page order."""
    return grammar.cut_page(grammar.page_text(observation, instruction), chunking)
