"""Agents as combinations of two functions: a view says what is read, an actor says what is done.

All agents here are one class, `ReadingAgent`, and differ in their view alone: the whole page with a rolling history,
or the few chunks of the page that a `ChunkScorer` ranks highest. Nothing here remembers a call, so how situations are
batched changes no decision. The module knows nothing of environments, files or training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from sightline.agents.prompts import abbreviate_products, react_history, render_prompt, strip_instruction
from sightline.agents.reading.examples import page_chunks
from sightline.agents.records import ActionDistribution, Attention, Decision, Situation
from sightline.retrieval import Document, LocalEmbeddingStore
from sightline.retrieval.conditioned import label_chunks

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sightline.agents.protocols import Actor
    from sightline.agents.state.model import RecurrentStateModel
    from sightline.retrieval import ChunkingConfig, StateConditionedRetriever, TextEncoder

QueryFrom = Literal["state", "instruction", "both"]
"""What a retriever is conditioned on: the recurrent state, the instruction's embedding, or both side by side."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one prompt shows besides the instruction.

    Attributes:
        context: pieces of the current page, in page order.
        history: earlier (observation, action) turns, oldest first.
        attention: every chunk of the page that was considered, in page order.
    """

    context: tuple[str, ...]
    history: tuple[tuple[str, str], ...] = ()
    attention: tuple[Attention, ...] = ()


View = Callable[[Sequence[Situation]], list[Reading]]
"""What the actor may read in each situation."""

ChunkScorer = Callable[[Sequence[Situation], Sequence[Sequence[str]]], "list[NDArray[np.float64]]"]
"""Situations and the chunks of each one's page -> one score per chunk, `[chunks]`; higher is read first."""


@dataclass(frozen=True, slots=True)
class ReadingAgent:
    """Reads what its view shows and takes the action its actor finds most probable; ties go to the earlier action.

    On a page that looks as it did before in the episode, an action that was already taken there is not offered to the
    actor while others are left, and gets the probability 0: without memory in the prompt, a deterministic agent would
    otherwise go round in circles. Where the actor has an error for an answer, so has the decision.

    Attributes:
        name: for tables and files.
        actor: turns prompts into distributions over actions.
        view: chooses what the prompts show.
    """

    name: str
    actor: Actor
    view: View

    def choose(self, situations: Sequence[Situation]) -> list[Decision]:
        """One decision per situation."""
        readings = self.view(situations)
        offers = [_untried(situation) for situation in situations]
        prompts, candidates = [], []
        for situation, reading, offered in zip(situations, readings, offers, strict=True):
            prompt = render_prompt(situation.instruction, reading.context, reading.history)
            prompt, *actions = abbreviate_products(situation.observation, (prompt, *situation.actions))
            prompts.append(prompt)
            candidates.append([actions[index] for index in offered])
        distributions = self.actor.score(prompts, candidates)
        return [
            _decision(situation, offered, distribution, reading.attention)
            for situation, offered, distribution, reading in zip(
                situations, offers, distributions, readings, strict=True
            )
        ]


def baseline_react(actor: Actor, *, history_turns: int, history_characters: int) -> ReadingAgent:
    """Reads the whole page after a rolling history of the episode (ReAct, Yao et al. 2023, without the thoughts)."""
    return ReadingAgent("baseline_react", actor, full_page(history_turns, history_characters))


def baseline_rag(actor: Actor, encoder: TextEncoder, *, top_k: int, chunking: ChunkingConfig) -> ReadingAgent:
    """Reads the chunks of the page that are nearest to the instruction."""
    return ReadingAgent("baseline_rag", actor, top_chunks(instruction_similarity(encoder), top_k, chunking))


def recurrent_state_gated(
    actor: Actor,
    encoder: TextEncoder,
    state_model: RecurrentStateModel,
    retriever: StateConditionedRetriever,
    *,
    name: Literal["recurrent_state_gated_zero_shot", "recurrent_state_gated_trained"],
    query_from: QueryFrom,
    top_k: int,
    chunking: ChunkingConfig,
) -> ReadingAgent:
    """Reads the chunks that a retriever, conditioned on the recurrent state, ranks highest.

    The zero-shot and the trained agent differ in the retriever's weights and in nothing else, so one function makes
    both. The two models are put in evaluation mode.
    """
    scorer = state_conditioned(encoder, state_model, retriever, query_from)
    return ReadingAgent(name, actor, top_chunks(scorer, top_k, chunking))


def oracle_gated(actor: Actor, encoder: TextEncoder, *, top_k: int, chunking: ChunkingConfig) -> ReadingAgent:
    """A bound on retrieval, not on acting: reads a chunk with the expert's target, then those nearest to the task."""
    return ReadingAgent("oracle_gated", actor, top_chunks(expert_target(encoder), top_k, chunking))


def random_gated(actor: Actor, *, seed: int, top_k: int, chunking: ChunkingConfig) -> ReadingAgent:
    """A lower bound: reads chunks at random."""
    return ReadingAgent("random_gated", actor, top_chunks(random_scores(seed), top_k, chunking))


def full_page(history_turns: int, history_characters: int) -> View:
    """The view of the whole page, after at most so many earlier turns whose pages are cut to so many characters."""

    def view(situations: Sequence[Situation]) -> list[Reading]:
        return [
            Reading(
                context=(strip_instruction(situation.observation, situation.instruction),),
                history=react_history(
                    situation.events, situation.instruction, turns=history_turns, max_characters=history_characters
                ),
            )
            for situation in situations
        ]

    return view


def top_chunks(scorer: ChunkScorer, top_k: int, chunking: ChunkingConfig) -> View:
    """The view of the page's `top_k` best chunks, in page order; equal scores go to the earlier chunk.

    Raises:
        ValueError: if `top_k` is less than one.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")

    def view(situations: Sequence[Situation]) -> list[Reading]:
        chunks = [page_chunks(situation.observation, situation.instruction, chunking) for situation in situations]
        return [_select(page, scores, top_k) for page, scores in zip(chunks, scorer(situations, chunks), strict=True)]

    return view


def instruction_similarity(encoder: TextEncoder) -> ChunkScorer:
    """Scores chunks by the cosine between their embedding and the instruction's."""

    def score(situations: Sequence[Situation], chunks: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        store = LocalEmbeddingStore(encoder)
        store.add(
            Document(id=f"{page}/{index}", content=text, metadata={"page": page})
            for page, texts in enumerate(chunks)
            for index, text in enumerate(texts)
        )
        queries = encoder.encode([situation.instruction for situation in situations])
        scores = [np.zeros(len(texts)) for texts in chunks]
        for page, query in enumerate(queries):
            for hit in store.search(query, top_k=max(len(chunks[page]), 1), where={"page": page}):
                scores[page][int(hit.document.id.rpartition("/")[2])] = hit.score
        return scores

    return score


def state_conditioned(
    encoder: TextEncoder,
    state_model: RecurrentStateModel,
    retriever: StateConditionedRetriever,
    query_from: QueryFrom,
) -> ChunkScorer:
    """Scores chunks with a retriever that is conditioned on the episode so far; both models go to evaluation mode."""
    retriever.check_encoder(encoder)
    state_model.eval()
    retriever.eval()
    device = next(retriever.parameters()).device

    @torch.inference_mode()
    def score(situations: Sequence[Situation], chunks: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        counts = [len(page) for page in chunks]
        embeddings = torch.tensor(encoder.encode([chunk for page in chunks for chunk in page]))
        padded = pad_sequence(embeddings.split(counts), batch_first=True).to(device)
        mask = torch.arange(padded.shape[1]) < torch.tensor(counts)[:, None]
        conditions = situation_conditions(situations, encoder, state_model, query_from)
        scores = retriever.scores(conditions.to(device), padded, mask.to(device)).double().cpu().numpy()
        return [row[:count] for row, count in zip(scores, counts, strict=True)]

    return score


def expert_target(encoder: TextEncoder) -> ChunkScorer:
    """Scores as `instruction_similarity`, but puts the chunks that hold the expert's target before all others.

    Raises:
        ValueError: (when scoring) a situation holds no expert action.
    """
    similarity = instruction_similarity(encoder)

    def score(situations: Sequence[Situation], chunks: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        scores = similarity(situations, chunks)
        for situation, page, row in zip(situations, chunks, scores, strict=True):
            if situation.expert_action is None:
                raise ValueError("the oracle needs the expert's action; give roll_out an expert")
            row[label_chunks(situation.expert_action, page)] += 2.0  # cosines differ by at most 2
        return scores

    return score


def random_scores(seed: int) -> ChunkScorer:
    """Scores chunks uniformly at random, as a function of the seed, the instruction and the episode so far."""

    def score(situations: Sequence[Situation], chunks: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        return [_rng(seed, situation).random(len(page)) for situation, page in zip(situations, chunks, strict=True)]

    return score


def situation_conditions(
    situations: Sequence[Situation], encoder: TextEncoder, state_model: RecurrentStateModel, query_from: QueryFrom
) -> Tensor:
    """What the retriever is conditioned on, in training as in acting.

    Gradients reach the state model unless they are switched off.

    Returns:
        `[B, condition_dimension(query_from, d_state, d_text)]` float32, on the state model's device.
    """
    states = state_model.final_states(state_model.encode_events(encoder, [s.events for s in situations]))
    instructions = torch.tensor(encoder.encode([situation.instruction for situation in situations]))
    return condition_vectors(query_from, states, instructions.to(states.device))


def condition_vectors(query_from: QueryFrom, states: Tensor, instructions: Tensor) -> Tensor:
    """The chosen parts side by side.

    Args:
        query_from: which of the two to use.
        states: `[B, d_state]` final states of the event sequences.
        instructions: `[B, d_text]` embeddings of the instructions.

    Returns:
        `[B, condition_dimension(query_from, d_state, d_text)]`.
    """
    if query_from == "state":
        return states
    if query_from == "instruction":
        return instructions
    return torch.cat([states, instructions], dim=1)


def condition_dimension(query_from: QueryFrom, d_state: int, d_text: int) -> int:
    """Width of `condition_vectors`."""
    return {"state": d_state, "instruction": d_text, "both": d_state + d_text}[query_from]


def _untried(situation: Situation) -> list[int]:
    """The indices of the actions that were not yet taken on a page that looked like this; all, if none is left."""
    events = situation.events
    tried = {
        action.text
        for page, action in zip(events[:-1:2], events[1::2], strict=True)
        if page.text == situation.observation
    }
    untried = [index for index, action in enumerate(situation.actions) if action not in tried]
    return untried or list(range(len(situation.actions)))


def _decision(
    situation: Situation, offered: Sequence[int], distribution: ActionDistribution, attention: tuple[Attention, ...]
) -> Decision:
    action, probabilities = "", ()
    if distribution.error is None:
        share = dict(zip(offered, distribution.probabilities, strict=True))
        action = situation.actions[max(offered, key=share.__getitem__)]
        probabilities = tuple(share.get(index, 0.0) for index in range(len(situation.actions)))
    return Decision(
        action=action,
        probabilities=probabilities,
        prompt_tokens=distribution.prompt_tokens,
        completion_tokens=distribution.completion_tokens,
        attention=attention,
        error=distribution.error,
    )


def _select(chunks: Sequence[str], scores: NDArray[np.float64], top_k: int) -> Reading:
    best = set(np.argsort(-scores, kind="stable")[:top_k].tolist())
    attention = tuple(
        Attention(text=chunk, score=float(score), selected=index in best)
        for index, (chunk, score) in enumerate(zip(chunks, scores, strict=True))
    )
    return Reading(context=tuple(chunk.text for chunk in attention if chunk.selected), attention=attention)


def _rng(seed: int, situation: Situation) -> np.random.Generator:
    content = repr((seed, situation.instruction, [(event.kind, event.text) for event in situation.events]))
    digest = hashlib.blake2b(content.encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest))
