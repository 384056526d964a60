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
    """A goal, and where its episodes begin."""

    number: int
    """Identity of the goal."""
    group: str
    """Tasks that belong together (goals about one product, say) and are never split apart."""
    state: S
    """First state."""


class EpisodeStep(Record):
    """A decision of an episode."""

    state: str
    """The dynamics' bytes of the state, in base64."""
    observation: str
    """What was seen."""
    kind: str
    """The kind of page."""
    actions: tuple[str, ...]
    """What could be done."""
    probabilities: tuple[float, ...]
    """The policy's, in that order."""
    action: str
    """What was done."""

    @property
    def state_bytes(self) -> bytes:
        """The state, for `Dynamics.decode`."""
        return base64.b64decode(self.state, validate=True)


class Episode(Record):
    """An episode, with all that is needed to go back to any of its steps."""

    schema_version: Literal[1] = 1
    id: str
    """Name of the episode."""
    task: int = Field(ge=0)
    """Number of the goal."""
    group: str
    """Group of the goal."""
    instruction: str
    """The task in words."""
    rollout: int = Field(ge=0)
    """Number of the episode among those of its task; its noise follows from it."""
    policy: str
    """Fingerprint of who played."""
    steps: tuple[EpisodeStep, ...]
    """Its decisions."""
    reward: float = 0.0
    """Reward of its ending, 0 where the steps ran out."""
    ended: bool = False
    """Whether it came to an ending before its steps ran out."""
    outcome: Outcome
    """How it ended; `error` where the environment raised, which is no failure of the student's."""
    error: str | None = None
    """What the environment raised."""
