"""Tips: advice beside a page, and which action it makes the right one.

A student learns to read tips only where they decide something: a tip that names an action makes that action the one to
learn, whether or not the expert would take it. This module knows nothing of what tips say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sightline.agents.records import Situation


@dataclass(frozen=True, slots=True)
class Tip:
    """Advice on one page."""

    text: str
    """What it says."""
    action: str | None = None
    """Action that it makes the right one; None where it decides nothing, as a placebo."""


TipFn = Callable[[Situation, str, np.random.Generator], Tip]
"""The situation, the expert's action there, a consumed source of randomness -> a tip."""
