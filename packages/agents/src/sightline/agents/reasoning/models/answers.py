"""What a reasoner answers to puzzles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answers:
    """Answers to B puzzles of L cells.

    Attributes:
        cells: int64 [B, L], what is given copied and the rest filled in.
        solved: bool [B], the answer keeps the rules: checked, not estimated.
        steps: int64 [B], segments gone through.
        confidence: float32 [B], the model's own estimate that the answer is right.
    """

    cells: NDArray[np.int64]
    solved: NDArray[np.bool_]
    steps: NDArray[np.int64]
    confidence: NDArray[np.float32]
