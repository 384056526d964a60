from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sightline.jepa.ranking.lexical import TermCounts

_WORDS = ["tax", "Parcel", "the", "lost", "box7", "a", "ü", "größe", ",", "!"]
_TEXT = st.lists(st.sampled_from(_WORDS), max_size=9).map(" ".join)


def _terms(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text.lower()) if len(word) >= 2]


def _brute_force(questions: Sequence[str], sources: Sequence[str], k1: float, b: float) -> np.ndarray:
    """BM25 of every pair of texts, one term at a time, over the greatest score that any text could have."""
    documents = [_terms(text) for text in sources]
    mean_length = sum(map(len, documents)) / len(documents)
    found = np.zeros((len(questions), len(sources)))
    for row, question in enumerate(questions):
        greatest = 0.0
        for word in _terms(question):
            holders = sum(word in document for document in documents)
            if not holders:
                continue
            rarity = math.log(1 + (len(documents) - holders + 0.5) / (holders + 0.5))
            greatest += rarity * (k1 + 1)
            for column, document in enumerate(documents):
                if frequency := document.count(word):  # of an empty text the norm may be 0, too
                    norm = k1 * (1 - b + b * len(document) / mean_length)
                    found[row, column] += rarity * frequency * (k1 + 1) / (frequency + norm)
        found[row] /= greatest or 1.0
    return found


@settings(deadline=None)
@given(
    st.lists(_TEXT, min_size=1, max_size=5),
    st.lists(_TEXT, min_size=1, max_size=7),
    st.floats(0.1, 3),
    st.floats(0, 1),
)
@example(["tax"], ["", "tax"], 1.0, 1.0)
def test_scores_are_those_of_brute_force_as_shares_of_the_greatest_possible(
    questions: list[str], sources: list[str], k1: float, b: float
) -> None:
    found = TermCounts.of(sources).weighted(k1, b).shares(questions)
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1 + 1e-6)).all()
    np.testing.assert_allclose(found, _brute_force(questions, sources, k1, b), rtol=1e-4, atol=1e-6)


def test_a_source_that_repeats_all_words_of_a_question_scores_nearly_one_and_another_nothing() -> None:
    index = TermCounts.of(["tax refund " * 200, "a parcel got lost", ""]).weighted(0.9, 0.0)
    (scores,) = index.shares(["the Refund, of tax"])
    assert scores[0] == pytest.approx(1, abs=0.01)
    assert scores[1:].tolist() == [0, 0]


def test_words_that_no_source_has_do_not_count() -> None:
    index = TermCounts.of(["tax refund", "parcel"]).weighted(0.9, 0.5)
    known, more, nothing, empty = index.shares(["tax refund", "tax refund zoology", "zoology", ""])
    assert known.tolist() == more.tolist()
    assert not nothing.any()
    assert not empty.any()


def test_texts_without_any_word_are_never_found() -> None:
    index = TermCounts.of(["", "!", "a"]).weighted(0.9, 0.75)
    assert index.shares(["tax", "", "a !"]).tolist() == [[0, 0, 0]] * 3
