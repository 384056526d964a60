from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from sightline.retrieval.errors import InvalidQueryError
from sightline.retrieval.store.parameters import checked_search


@pytest.mark.parametrize("top_k", [3, np.int64(3), np.uint8(3)])
@pytest.mark.parametrize("min_score", [0.5, np.float32(0.5), np.float64(0.5), Fraction(1, 2)])
def test_numbers_of_any_library_are_taken(top_k: object, min_score: object):
    found = checked_search(top_k, min_score)
    assert found == (3, 0.5)
    assert [type(number) for number in found] == [int, float]


def test_bounds_are_allowed():
    assert checked_search(1, None) == (1, None)
    assert [checked_search(1, bound)[1] for bound in (-1, 1)] == [-1.0, 1.0]


@pytest.mark.parametrize("top_k", [0, -1, True, np.bool_(True), 2.0, "2", None, np.int64(0)])
def test_numbers_of_hits_that_make_no_sense_are_refused(top_k: object):
    with pytest.raises(InvalidQueryError, match="top_k must be"):
        checked_search(top_k, None)


@pytest.mark.parametrize("min_score", [1.5, -1.01, True, np.bool_(True), "high", float("nan"), np.float32("inf"), 1j])
def test_scores_that_are_no_cosines_are_refused(min_score: object):
    with pytest.raises(InvalidQueryError, match="min_score must be"):
        checked_search(1, min_score)
