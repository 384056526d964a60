"""What this package needs from the rest of the world: an environment, an actor, an agent, a demonstrator.

Anything with these methods will do; nothing here is a base class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sightline.agents.records import ActionDistribution, Decision, Situation


class Environment(Protocol):
    """A text environment with named actions, in Gymnasium's five-tuple form.

    `info` of both methods holds `instruction_text` (str) and `available_actions`, in whatever form the grammar of the
    task reads (`TaskGrammar.candidate_actions`). The full reward of a task is 1.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode; `options={"goal": i}` chooses its task."""
        ...

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take an action; return (observation, reward, terminated, truncated, info)."""
        ...


class RestorableEnvironment(Environment, Protocol):
    """An environment whose episodes can be saved and resumed exactly."""

    def snapshot(self) -> bytes:
        """Return the complete state of the episode."""
        ...

    def restore(self, snapshot: bytes) -> str:
        """Put a saved state back and return its observation."""
        ...


class Actor(Protocol):
    """Turns prompts and candidate actions into distributions over those actions."""

    def score(self, prompts: Sequence[str], actions: Sequence[Sequence[str]]) -> list[ActionDistribution]:
        """Return one distribution per prompt, over that prompt's actions."""
        ...


class Agent(Protocol):
    """A policy over situations. It keeps no memory between calls: what it knows is in the situation."""

    @property
    def name(self) -> str:
        """Short name for tables and files."""
        ...

    def choose(self, situations: Sequence[Situation]) -> list[Decision]:
        """Return one decision per situation; the batch is for speed alone and changes no decision."""
        ...


Demonstrator = Callable[[Any], str]
"""The action an expert takes in the environment's present state; sees the environment itself, goal and all."""

ActionValues = Callable[[Any, Sequence[str]], Sequence[float]]
"""The environment, goal and all, and the candidates of its page -> what each candidate is worth, for example the best
reward still within reach after it less a small cost of steps. Those of the highest value are equally right."""

InfoMapping = Mapping[str, Any]
"""The info dictionary of a step."""
