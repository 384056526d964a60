from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sightline.jepa.data.candidates import CandidateExamples
from sightline.jepa.data.dataset import DatasetError

FITTING: dict[str, Any] = {
    "questions": np.ones((2, 3)),
    "steering": np.ones((2, 5)),
    "has_steering": np.array([True, False]),
    "sources": np.ones((4, 3)),
    "source_category": np.array([0, 1, 0, 1]),
    "candidates": (np.array([0, 1, 2]), np.array([3])),
    "positives": (np.array([True, False, True]), np.array([True])),
    "names": ("cards", "buttons"),
    "descriptions": np.ones((2, 3)),
    "encoder": "toy",
}


def test_parts_that_fit_are_taken():
    assert len(CandidateExamples(**FITTING)) == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"questions": np.ones(3)}, r"questions must be \[N, D\]"),
        ({"steering": np.ones((3, 5))}, r"steering must have shape \[2, 5\], not \[3, 5\]"),
        ({"sources": np.ones((4, 2))}, r"sources must have shape \[4, 3\]"),
        ({"descriptions": np.ones((3, 3))}, r"descriptions must have shape \[2, 3\]"),
        ({"has_steering": np.array([1, 0])}, "has_steering must be bool"),
        ({"source_category": np.array([0, 1, 0, 2])}, "source_category: category 2 is not within 0 to 1"),
        ({"candidates": (np.array([0, 1, 4]), np.array([3]))}, "example 0: candidate 4 is not within 0 to 3"),
        ({"candidates": (np.array([0, 1, -1]), np.array([3]))}, "example 0: candidate -1 is not within 0 to 3"),
        ({"candidates": (np.array([0.0, 1, 2]), np.array([3]))}, "example 0: each candidate must be an int64 number"),
        ({"candidates": (np.array([0, 1, 2]),)}, "2 questions need as many lists"),
        ({"positives": (np.array([True, False]), np.array([True]))}, "example 0: positives must be bool, one per"),
        ({"positives": (np.array([1, 0, 1]), np.array([True]))}, "example 0: positives must be bool"),
        ({"positives": (np.array([True] * 3), np.array([False]))}, "example 1 has no right candidate"),
    ],
)
def test_parts_that_do_not_fit_are_named(changed: dict[str, Any], message: str):
    with pytest.raises(DatasetError, match=message):
        CandidateExamples(**FITTING | changed)
