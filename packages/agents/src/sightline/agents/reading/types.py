"""What passes between views, scorers and agents. Knows nothing of how any of them works; needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sightline.agents.records import Attention, Consultation, Situation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

QueryFrom = Literal["state", "instruction", "both"]
"""What a retriever is conditioned on: the recurrent state, the instruction's embedding, or both side by side."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one prompt shows besides the instruction."""

    context: tuple[str, ...]
    """Pieces of the current page, in the order in which they are shown."""
    history: tuple[tuple[str, str], ...] = ()
    """Earlier (observation, action) turns, oldest first."""
    memory: tuple[str, ...] = ()
    """Lines that say what of the episode is worth remembering."""
    attention: tuple[Attention, ...] = ()
    """Every chunk of the page that was considered, in page order."""
    consultation: Consultation | None = None
    """What was searched for beside the page; None where nothing is."""


View = Callable[[Sequence[Situation]], list[Reading]]
"""What the actor may read in each situation."""

ChunkScorer = Callable[[Sequence[Situation], Sequence[Sequence[str]]], "list[NDArray[np.float64]]"]
"""Situations and the chunks of each one's page -> one score per chunk, `[chunks]`; higher is read first."""
