"""Keywords as a person types them: a few terms of the question or of a note about its area, some of them wrong.

The module knows texts; it knows nothing of embeddings or models.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from sightline.jepa.data.splits import Ids

_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_NOTE_WORDS: Final = 40
"""Words of a category's description that somebody who knows the area may think of."""
_SILENT: Final = 0.1
"""Share of questions with which nothing is typed."""
_SHARES: Final = (0.5, 0.35, 0.15)
"""Chances of a term to be of the question, of the note about its area, and of another area by mistake."""
_MISTYPED: Final = 0.1
"""Share of terms with two letters in the wrong order."""


def typed_keywords(
    questions: Sequence[str], question_category: Ids, descriptions: Sequence[str], *, seed: int = 0
) -> tuple[str, ...]:
    """Make up what somebody types beside each question: two or three terms, or nothing.

    A term is of the question (half of them), of the description of its category (a third) or, by mistake, of another
    category's. One in ten has two letters exchanged. The same question in the same category gets the same keywords,
    whatever else is in the data. Terms of the description do tell the category, as an asker who knows the area would;
    no term is taken from the answer.

    Args:
        questions: `Q` texts.
        question_category: `[Q]` int64; -1 for none, which has no note to take terms from.
        descriptions: `K` texts, one for each category.
        seed: seed of what is drawn.

    Returns:
        `Q` texts; empty where nothing is typed.
    """
    notes = [_terms(description)[:_NOTE_WORDS] for description in descriptions]
    typed = []
    for question, category in zip(questions, question_category.tolist(), strict=True):
        rng = np.random.default_rng([seed, category + 1, zlib.crc32(question.encode("utf-8", "replace"))])
        own, note = _terms(question), notes[category] if category >= 0 else []
        others = _other(notes, category, rng)
        typed.append(_draw((own, note, others), rng))
    return tuple(typed)


def _draw(pools: tuple[list[str], ...], rng: np.random.Generator) -> str:
    """Return up to three different terms from pools that are drawn from by `_SHARES`."""
    if rng.random() < _SILENT:
        return ""
    terms: dict[str, None] = {}
    for pool in rng.choice(len(pools), size=int(rng.integers(2, 4)), p=_SHARES).tolist():
        words = pools[pool] or pools[0]
        if words:
            word = words[int(rng.integers(len(words)))]
            terms[_mistyped(word, rng) if rng.random() < _MISTYPED else word] = None
    return " ".join(terms)


def _mistyped(word: str, rng: np.random.Generator) -> str:
    place = int(rng.integers(len(word) - 1))
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _other(notes: Sequence[list[str]], category: int, rng: np.random.Generator) -> list[str]:
    if len(notes) < 2 or category < 0:
        return []
    return notes[(category + int(rng.integers(1, len(notes)))) % len(notes)]


def _terms(text: str) -> list[str]:
    """Return the distinct words of a text that say something, in their order."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return list(dict.fromkeys(word for word in _WORD.findall(text.casefold()) if word not in ENGLISH_STOP_WORDS))
