"""How a page becomes chunks: the same in training, in acting and in evaluation. Knows nothing of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.agents.prompts import strip_instruction
from sightline.retrieval import chunk_text

if TYPE_CHECKING:
    from sightline.retrieval import ChunkingConfig


def page_chunks(observation: str, instruction: str, chunking: ChunkingConfig) -> tuple[str, ...]:
    """The chunks of a page without the lines that only repeat the instruction, in page order."""
    return tuple(chunk.text for chunk in chunk_text(strip_instruction(observation, instruction), chunking))
