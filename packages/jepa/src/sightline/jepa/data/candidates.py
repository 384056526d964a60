"""Questions that bring their candidates along, such as what is on the page where they are asked.

Axes: N examples, U distinct sources, K categories, D dimensions, W the width of steering, which may be a state's.
The module knows nothing of files or models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.jepa.data.dataset import DatasetError
from sightline.jepa.data.splits import Ids


@dataclass(frozen=True, slots=True, eq=False)
class CandidateExamples:
    """N questions with steering and candidates, and which of these are right; checked when it is made.

    Vectors may be of any floating type and of any length but 0.

    Raises:
        DatasetError: shapes, types or ids are wrong, or an example has no right candidate.
    """

    questions: NDArray[np.floating]
    """`[N, D]` float."""
    steering: NDArray[np.floating]
    """`[N, W]` float; rows without steering do not matter."""
    has_steering: NDArray[np.bool_]
    """`[N]` bool."""
    sources: NDArray[np.floating]
    """`[U, D]` float, one row per distinct source."""
    source_category: Ids
    """`[U]` int64, the category of each, in [0, K)."""
    candidates: tuple[Ids, ...]
    """Per example `[n]` int64, rows of `sources`."""
    positives: tuple[NDArray[np.bool_], ...]
    """Per example `[n]` bool, True where the candidate is right."""
    names: tuple[str, ...]
    """`K` names of categories."""
    descriptions: NDArray[np.floating]
    """`[K, D]` float: the categories' descriptions, embedded."""
    encoder: str
    """Name of the encoder of questions, sources and descriptions."""

    def __post_init__(self) -> None:
        if self.questions.ndim != 2 or self.steering.ndim != 2:
            raise DatasetError(
                f"questions must be [N, D] and steering [N, W], not {list(self.questions.shape)} and "
                f"{list(self.steering.shape)}"
            )
        (count, dimension), known = self.questions.shape, len(self.sources)
        shapes = {
            "steering": (count, self.steering.shape[1]),
            "has_steering": (count,),
            "sources": (known, dimension),
            "source_category": (known,),
            "descriptions": (len(self.names), dimension),
        }
        for name, shape in shapes.items():
            if (found := getattr(self, name).shape) != shape:
                raise DatasetError(f"{name} must have shape {list(shape)}, not {list(found)}")
        if self.has_steering.dtype != np.bool_:
            raise DatasetError(f"has_steering must be bool, not {self.has_steering.dtype}")
        _check_rows(self.source_category, len(self.names), "source_category", "category")
        if not len(self.candidates) == len(self.positives) == count:
            raise DatasetError(
                f"{count} questions need as many lists of candidates and of positives, not {len(self.candidates)} and "
                f"{len(self.positives)}"
            )
        for number, (rows, right) in enumerate(zip(self.candidates, self.positives, strict=True)):
            if rows.shape != right.shape or right.dtype != np.bool_:
                raise DatasetError(f"example {number}: positives must be bool, one per candidate")
            if not right.any():
                raise DatasetError(f"example {number} has no right candidate; leave it out")
            _check_rows(rows, known, f"example {number}", "candidate")

    def __len__(self) -> int:
        return len(self.questions)


def _check_rows(rows: Ids, count: int, where: str, what: str) -> None:
    """Hold a list of row numbers to `[n]` int64 in [0, count)."""
    if rows.ndim != 1 or rows.dtype != np.int64:
        raise DatasetError(f"{where}: each {what} must be an int64 number, not {rows.dtype} {list(rows.shape)}")
    outside = np.flatnonzero((rows < 0) | (rows >= count))
    if len(outside):
        raise DatasetError(f"{where}: {what} {rows[outside[0]]} is not within 0 to {count - 1}")
