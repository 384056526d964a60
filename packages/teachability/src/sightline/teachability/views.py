"""What a policy may see of a state. Knows nothing of states, environments or policies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StateView:
    """What a policy may see of a state."""

    instruction: str
    """The task, in words."""
    observation: str
    """The page or picture, as text."""
    actions: tuple[str, ...]
    """What can be done; the order is that of the policy's probabilities."""
    history: tuple[tuple[str, str], ...] = ()
    """(observation, action) pairs of earlier turns, oldest first, where the policy reads them."""
    kind: str = ""
    """The kind of page, such as `index`; audits and sibling states compare pages of one kind."""
