"""The records that flow through the package, from an environment's page to an evaluated episode.

In memory they are frozen dataclasses; what reaches disk is a pydantic model in `trajectory.py`.
This module knows nothing of models, files or any particular environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

_EQUAL: Final = 1e-9
"""Values that differ by no more are equal: sums of the same parts in another order."""

EventKind = Literal["OBS", "ACT"]


def best_actions(actions: Sequence[str], values: Sequence[float] | None, expert_action: str | None) -> tuple[str, ...]:
    """Return the actions of the highest value; without values the expert's action, and none without either."""
    if values is None:
        return () if expert_action is None else (expert_action,)
    highest = max(values)
    return tuple(action for action, value in zip(actions, values, strict=True) if value >= highest - _EQUAL)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in an episode: a page was seen (OBS) or an action was taken (ACT)."""

    kind: EventKind
    text: str


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything an agent may know when it must choose."""

    instruction: str
    """What the user asked for."""
    events: tuple[Event, ...]
    """The episode so far, alternating OBS and ACT; the last one is the current page."""
    actions: tuple[str, ...]
    """The candidate actions, for example `open the door`; never empty."""
    expert_action: str | None = None
    """What an expert who sees the goal would do; only agents that are labelled as bounds look at it."""
    values: tuple[float, ...] | None = None
    """What each candidate is worth to one who sees the goal (see `ActionValues`); likewise only for bounds."""

    @property
    def best_actions(self) -> tuple[str, ...]:
        """The candidates of the highest value; without values the expert's action, and none without either."""
        return best_actions(self.actions, self.values, self.expert_action)

    @property
    def observation(self) -> str:
        """The current page."""
        return self.events[-1].text


@dataclass(frozen=True, slots=True)
class Attention:
    """One chunk of the current page that an agent considered."""

    text: str
    """The chunk."""
    score: float
    """The retriever's score; higher is better."""
    selected: bool
    """Whether the actor saw it."""


@dataclass(frozen=True, slots=True)
class Consultation:
    """What a search for documents beside the page gave."""

    ids: tuple[str, ...]
    """Ids of the documents that were read, the nearest first."""
    texts: tuple[str, ...]
    """Their contents."""
    backend: str | None = None
    """Name of the backend that answered; None where none was asked or none could."""
    stale: bool = False
    """Whether that backend missed a write, so that the documents may be those of an earlier state."""
    error: str | None = None
    """Reason why no backend answered."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What an agent chose, and what it cost."""

    action: str
    """One of the situation's actions; empty when there is an error."""
    probabilities: tuple[float, ...]
    """One probability per candidate action, in their order; sums to 1. Empty when there is an error."""
    prompt_tokens: int
    """Tokens the actor read, candidates included."""
    completion_tokens: int
    """Tokens the actor scored or wrote for the chosen action."""
    attention: tuple[Attention, ...] = ()
    """The page's chunks in page order, for agents that retrieve; otherwise empty."""
    error: str | None = None
    """Reason why nothing was chosen, for example `ParseFailure: ...`. It breaks off this episode and no other."""
    in_loop: bool = False
    """Whether the page was come to in a loop of two pages, as `in_two_page_loop` tells; it changes nothing."""
    consultation: Consultation | None = None
    """What was searched for beside the page, by agents that do."""


@dataclass(frozen=True, slots=True)
class ActionDistribution:
    """An actor's answer to one prompt."""

    probabilities: tuple[float, ...]
    """One probability per candidate action, in their order; sums to 1. Empty when there is an error."""
    prompt_tokens: int
    """Tokens of the prompt and of all candidates: what could be chosen was read too."""
    completion_tokens: int
    """Tokens of the most probable action."""
    error: str | None = None
    """Reason why this prompt has no answer, for example `ParseFailure: ...`. Actors that can fail on one prompt alone
    say so here; an error that would meet every prompt is raised."""


def in_two_page_loop(pages: Sequence[str]) -> bool:
    """Return whether an episode goes to and fro: its last page was also the last but two and the last but four.

    The pages between may differ, as products do that are opened from one list and left again.
    """
    return len(pages) >= 5 and pages[-1] == pages[-3] == pages[-5]
