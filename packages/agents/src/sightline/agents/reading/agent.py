"""Agents as combinations of two functions: a view says what is read, an actor says what is done.

All agents here are one class, `ReadingAgent`, and differ in their view alone: the whole page with a rolling history,
or the few chunks of the page that a `ChunkScorer` ranks highest. Nothing here remembers a call, so how situations are
batched changes no decision. The module knows nothing of environments, files or training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sightline.agents.prompts import render_prompt
from sightline.agents.reading.scorers import instruction_similarity, state_conditioned
from sightline.agents.reading.types import QueryFrom, Reading, View
from sightline.agents.reading.views import full_page, top_chunks
from sightline.agents.records import ActionDistribution, Decision, Situation, in_two_page_loop

if TYPE_CHECKING:
    from sightline.agents.grammar import TaskGrammar
    from sightline.agents.protocols import Actor
    from sightline.agents.state.model import RecurrentStateModel
    from sightline.retrieval import ChunkingConfig, StateConditionedRetriever, TextEncoder


@dataclass(frozen=True, slots=True)
class ReadingAgent:
    """Reads what its view shows and takes the action its actor finds most probable; ties go to the earlier action.

    With `avoid_repeats`, on a page that looks as it did before in the episode, an action that was already taken there
    is not offered to the actor while others are left, and gets the probability 0: without memory in the prompt, a
    deterministic agent would otherwise go round in circles. Where the actor has an error for an answer, so has the
    decision.
    """

    name: str
    """Short name for tables and files."""
    actor: Actor
    """What turns prompts into distributions over actions."""
    view: View
    """What the prompts show."""
    grammar: TaskGrammar
    """How the task and its pages are written in prompts."""
    avoid_repeats: bool = True
    """Whether actions already taken on an equal page are held back; without it an equal prompt has an equal answer."""
    gate_candidates: bool = False
    """Whether candidates that act on something the view does not show are held back, navigation aside."""

    def choose(self, situations: Sequence[Situation]) -> list[Decision]:
        """Return one decision per situation."""
        readings = self.view(situations)
        offers = [self._offered(situation, reading) for situation, reading in zip(situations, readings, strict=True)]
        prompts, candidates = [], []
        for situation, reading, offered in zip(situations, readings, offers, strict=True):
            task = self.grammar.task_text(situation.instruction)
            prompt = render_prompt(task, reading.context, reading.history, memory=reading.memory)
            prompt, *actions = self.grammar.abbreviate(situation.observation, (prompt, *situation.actions))
            prompts.append(prompt)
            candidates.append([actions[index] for index in offered])
        distributions = self.actor.score(prompts, candidates)
        return [
            _decision(situation, offered, distribution, reading)
            for situation, offered, distribution, reading in zip(
                situations, offers, distributions, readings, strict=True
            )
        ]

    def _offered(self, situation: Situation, reading: Reading) -> list[int]:
        """Return indices of the candidates that the actor is offered."""
        offered = _untried(situation) if self.avoid_repeats else list(range(len(situation.actions)))
        if not self.gate_candidates:
            return offered
        shown = [
            index
            for index in offered
            if self.grammar.is_navigation(situation.actions[index])
            or self.grammar.target_chunks(situation.actions[index], reading.context)
        ]
        return shown or offered


def baseline_react(actor: Actor, grammar: TaskGrammar, *, history_turns: int, history_characters: int) -> ReadingAgent:
    """Return an agent that reads the whole page after a rolling history of the episode.

    This is ReAct (Yao et al. 2023) without the thoughts.
    """
    view = full_page(grammar, history_turns=history_turns, history_characters=history_characters)
    return ReadingAgent("baseline_react", actor, view, grammar)


def baseline_rag(
    actor: Actor, encoder: TextEncoder, grammar: TaskGrammar, *, top_k: int, chunking: ChunkingConfig
) -> ReadingAgent:
    """Return an agent that reads the chunks of the page that are nearest to the instruction."""
    view = top_chunks(instruction_similarity(encoder), grammar, top_k=top_k, chunking=chunking)
    return ReadingAgent("baseline_rag", actor, view, grammar)


def recurrent_state_gated(
    actor: Actor,
    encoder: TextEncoder,
    state_model: RecurrentStateModel,
    retriever: StateConditionedRetriever,
    grammar: TaskGrammar,
    *,
    name: Literal["recurrent_state_gated_zero_shot", "recurrent_state_gated_trained"],
    query_from: QueryFrom,
    top_k: int,
    chunking: ChunkingConfig,
) -> ReadingAgent:
    """Return an agent that reads the chunks which a retriever, conditioned on the recurrent state, ranks highest.

    The zero-shot and the trained agent differ in the retriever's weights and in nothing else, so one function makes
    both. The two models are put in evaluation mode.
    """
    scorer = state_conditioned(encoder, state_model, retriever, query_from)
    return ReadingAgent(name, actor, top_chunks(scorer, grammar, top_k=top_k, chunking=chunking), grammar)


def _untried(situation: Situation) -> list[int]:
    """Return indices of the actions not yet taken on a page that looked like this; all, if none is left."""
    events = situation.events
    tried = {
        action.text
        for page, action in zip(events[:-1:2], events[1::2], strict=True)
        if page.text == situation.observation
    }
    untried = [index for index, action in enumerate(situation.actions) if action not in tried]
    return untried or list(range(len(situation.actions)))


def _decision(
    situation: Situation, offered: Sequence[int], distribution: ActionDistribution, reading: Reading
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
        attention=reading.attention,
        error=distribution.error,
        in_loop=in_two_page_loop([event.text for event in situation.events[-9::2]]),
        consultation=reading.consultation,
    )
