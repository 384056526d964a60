"""Bounds on what choosing chunks can bring: an oracle that knows the expert's target, and chance."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sightline.agents.reading.agent import ReadingAgent
from sightline.agents.reading.scorers import instruction_similarity
from sightline.agents.reading.types import ChunkScorer
from sightline.agents.reading.views import top_chunks
from sightline.agents.records import Situation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sightline.agents.grammar import TaskGrammar
    from sightline.agents.protocols import Actor
    from sightline.agents.reading.sufficiency import ChunkLabel
    from sightline.retrieval import ChunkingConfig, TextEncoder


def oracle_gated(
    actor: Actor, encoder: TextEncoder, grammar: TaskGrammar, *, top_k: int, chunking: ChunkingConfig
) -> ReadingAgent:
    """Return a bound on retrieval, not on acting.

    It reads the chunks with the target of a best action, then those nearest to the instruction.
    """
    view = top_chunks(expert_target(encoder, grammar), grammar, top_k=top_k, chunking=chunking)
    return ReadingAgent("oracle_gated", actor, view, grammar)


def random_gated(
    actor: Actor, grammar: TaskGrammar, *, seed: int, top_k: int, chunking: ChunkingConfig
) -> ReadingAgent:
    """Return a lower bound: it reads chunks at random."""
    view = top_chunks(random_scores(seed), grammar, top_k=top_k, chunking=chunking)
    return ReadingAgent("random_gated", actor, view, grammar)


def expert_target(encoder: TextEncoder, grammar: TaskGrammar, needed: ChunkLabel | None = None) -> ChunkScorer:
    """Score as `instruction_similarity`, but put the chunks with the target of a best action before all others.

    Args:
        encoder: encoder of instructions and chunks.
        grammar: how pages are read.
        needed: what else is put there, for example `sufficient_chunks` of the actor.

    Raises:
        ValueError: (when scoring) a situation holds no expert action.
    """
    similarity = instruction_similarity(encoder)

    def score(situations: Sequence[Situation], chunks: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        scores = similarity(situations, chunks)
        for situation, page, row in zip(situations, chunks, scores, strict=True):
            if not situation.best_actions:
                raise ValueError("the oracle needs the expert's action; give roll_out an expert")
            right = {
                *grammar.target_chunks_of(situation.best_actions, page),
                *(needed(situation, page) if needed else ()),
            }
            row[sorted(right)] += 2.0  # cosines differ by at most 2
        return scores

    return score


def random_scores(seed: int) -> ChunkScorer:
    """Score chunks uniformly at random, as a function of the seed, the instruction and the episode so far."""

    def score(situations: Sequence[Situation], chunks: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        return [_rng(seed, situation).random(len(page)) for situation, page in zip(situations, chunks, strict=True)]

    return score


def _rng(seed: int, situation: Situation) -> np.random.Generator:
    content = repr((seed, situation.instruction, [(event.kind, event.text) for event in situation.events]))
    digest = hashlib.blake2b(content.encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest))
