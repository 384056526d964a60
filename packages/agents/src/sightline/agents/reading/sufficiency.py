"""What an actor must have read to do what is best: labels by the value of information, not by what is clicked.

A click names one chunk of a page. That a product may be bought stands elsewhere: in the line that says what was asked
for. Whether a chunk is worth reading shows when it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sightline.agents.reading.agent import ReadingAgent
from sightline.agents.reading.types import Reading
from sightline.agents.reading.views import remembering
from sightline.agents.records import Situation

if TYPE_CHECKING:
    from sightline.agents.grammar import TaskGrammar
    from sightline.agents.protocols import Actor

ChunkLabel = Callable[[Situation, Sequence[str]], tuple[int, ...]]
"""A situation and the chunks of its page -> ascending indices of those that should be read."""


def sufficient_chunks(actor: Actor, grammar: TaskGrammar, *, memory: bool) -> ChunkLabel:
    """Return a function that finds chunks with which the actor does what is best, none of which it could do without.

    Targets of best actions are always among them. Other chunks are left out by halves, quarters and so on, last ones
    first, as long as the actor does well with what is left (delta debugging, Zeller and Hildebrandt 2002), so a page
    costs a few dozen decisions: for actors that take no time. Nothing is found where the actor does well without
    reading, nor where it does not even with the whole page.

    Args:
        actor: actor that is asked; it is offered only what is shown, and navigation.
        grammar: how pages are read.
        memory: whether the actor sees what is worth remembering of the episode.
    """

    def label(situation: Situation, chunks: Sequence[str]) -> tuple[int, ...]:
        def does_well(kept: Sequence[int]) -> bool:
            def view(situations: Sequence[Situation]) -> list[Reading]:
                return [Reading(context=tuple(chunks[index] for index in kept)) for _ in situations]

            shown = remembering(view, grammar) if memory else view
            agent = ReadingAgent("asked", actor, shown, grammar, gate_candidates=True)
            return agent.choose([situation])[0].action in situation.best_actions

        to_read = [action for action in situation.best_actions if not grammar.is_navigation(action)]
        targets = grammar.target_chunks_of(to_read, chunks)
        if not situation.best_actions or does_well(()):
            return ()
        if targets and does_well(targets):
            return targets
        if not does_well(range(len(chunks))):
            return ()
        others = [index for index in range(len(chunks)) if index not in targets]
        return tuple(sorted((*targets, *_fewest(others, lambda kept: does_well(sorted((*targets, *kept)))))))

    return label


def _fewest(items: Sequence[int], enough: Callable[[Sequence[int]], bool]) -> list[int]:
    """Return few items that are enough; where more never does harm, none of them can be left out."""
    kept, size = list(items), max(1, len(items) // 2)
    while True:
        for start in range(len(kept) - size, -size, -size):
            left = kept[: max(start, 0)] + kept[start + size :]
            if enough(left):
                kept = left
        if size == 1:
            return kept
        size //= 2
