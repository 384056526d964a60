"""What a policy may see of a state. Knows nothing of states, environments or policies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StateView:
    """What a policy may see of a state.

    Attributes:
        instruction: the task, in words.
        observation: the page or picture, as text.
        actions: what can be done; the order is that of the policy's probabilities.
        history: (observation, action) pairs of earlier turns, oldest first, where the policy reads them.
        kind: the kind of page, such as `index`; audits and sibling states compare pages of one kind.
    """

    instruction: str
    observation: str
    actions: tuple[str, ...]
    history: tuple[tuple[str, str], ...] = ()
    kind: str = ""
