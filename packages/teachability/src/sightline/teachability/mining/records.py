"""Episodes of a student as they were played. Knows nothing of models, environments or labels."""

from __future__ import annotations

import base64
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from pydantic import Field

from sightline.teachability.records import Outcome, Record

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Task(Generic[S]):
    """A goal, and where its episodes begin.

    Attributes:
        number: identity of the goal.
        group: tasks that belong together (goals about one product, say) and are never split apart.
        state: first state.
    """

    number: int
    group: str
    state: S


class EpisodeStep(Record):
    """A decision of an episode.

    Attributes:
        state: the dynamics' bytes of the state, in base64.
        observation: what was seen.
        kind: the kind of page.
        actions: what could be done.
        probabilities: the policy's, in that order.
        action: what was done.
    """

    state: str
    observation: str
    kind: str
    actions: tuple[str, ...]
    probabilities: tuple[float, ...]
    action: str

    @property
    def state_bytes(self) -> bytes:
        """The state, for `Dynamics.decode`."""
        return base64.b64decode(self.state, validate=True)


class Episode(Record):
    """An episode, with all that is needed to go back to any of its steps.

    Attributes:
        id: name of the episode.
        task: number of the goal.
        group: group of the goal.
        instruction: the task in words.
        rollout: number of the episode among those of its task; its noise follows from it.
        policy: fingerprint of who played.
        steps: its decisions.
        reward: reward of its ending, 0 where the steps ran out.
        ended: whether it came to an ending before its steps ran out.
        outcome: how it ended; `error` where the environment raised, which is no failure of the student's.
        error: what the environment raised.
    """

    schema_version: Literal[1] = 1
    id: str
    task: int = Field(ge=0)
    group: str
    instruction: str
    rollout: int = Field(ge=0)
    policy: str
    steps: tuple[EpisodeStep, ...]
    reward: float = 0.0
    ended: bool = False
    outcome: Outcome
    error: str | None = None
