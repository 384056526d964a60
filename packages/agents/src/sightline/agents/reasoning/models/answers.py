"""What a reasoner answers to puzzles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answers:
    """Answers to B puzzles of L cells."""

    cells: NDArray[np.int64]
    """int64 [B, L], what is given copied and the rest filled in."""
    solved: NDArray[np.bool_]
    """Bool [B], the answer keeps the rules: checked, not estimated."""
    steps: NDArray[np.int64]
    """int64 [B], segments gone through."""
    confidence: NDArray[np.float32]
    """float32 [B], the model's own estimate that the answer is right."""
