"""BM25: how much of a question's words a source has, counted in their texts. Knows texts and numbers, no vectors.

Axes: B questions, S sources, V terms. A term is a word of at least two letters or digits, in lower case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_NO_TERMS: Final = ("",)
"""Vocabulary of texts without any term: one that is never found."""


@dataclass(frozen=True, slots=True, eq=False)
class TermCounts:
    """Which terms occur how often in S texts, and how rare each of them is."""

    vectorizer: Any
    """Function from texts to counts, scikit-learn's `CountVectorizer` with the terms of these texts."""
    counts: Any
    """`[S, V]` float32, SciPy sparse rows."""
    rarity: NDArray[np.float64]
    """`[V]` inverse document frequency `log(1 + (S - n + 0.5) / (n + 0.5))` of a term in n texts, never negative."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> TermCounts:
        """Count the terms of texts, which may have none."""
        from sklearn.feature_extraction.text import CountVectorizer

        vectorizer = CountVectorizer(dtype=np.float32)
        if not any(map(vectorizer.build_analyzer(), texts)):
            vectorizer = CountVectorizer(dtype=np.float32, vocabulary=_NO_TERMS)
        counts = vectorizer.fit_transform(texts)
        found_in = np.bincount(counts.indices, minlength=counts.shape[1])
        return cls(vectorizer, counts, np.log1p((len(texts) - found_in + 0.5) / (found_in + 0.5)))

    def weighted(self, saturation: float, length_penalty: float) -> LexicalIndex:
        """Weigh the terms of every text as BM25 does (Robertson and Zaragoza 2009, equations 3.14 to 3.16).

        Args:
            saturation: k1, above 0; how much further occurrences of a term in a text count.
            length_penalty: b, in [0, 1]; how much longer texts are held back.
        """
        counts = self.counts
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        row_of = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        relative_lengths = lengths[row_of] / lengths.mean() if len(row_of) else lengths[row_of]
        weights = counts.copy()
        norm = saturation * (1 - length_penalty + length_penalty * relative_lengths)
        weights.data = (self.rarity[counts.indices] * counts.data * (saturation + 1) / (counts.data + norm)).astype(
            "f4"
        )
        return LexicalIndex(self, weights, saturation, length_penalty)


@dataclass(frozen=True, slots=True, eq=False)
class LexicalIndex:
    """S texts as BM25 searches them: a source's score is the inner product of a question's counts with its row."""

    terms: TermCounts
    """Terms of the texts."""
    sources: Any
    """`[S, V]` float32, SciPy sparse rows: the weight of each term in each text."""
    saturation: float
    """k1."""
    length_penalty: float
    """b."""

    def counts_of(self, questions: Sequence[str]) -> Any:
        """Return how often the terms occur in B questions, `[B, V]` float32, SciPy sparse rows."""
        return self.terms.vectorizer.transform(questions)

    def normalised(self, questions: Sequence[str]) -> Any:
        """Return counts of terms such that scores lie in [0, 1], `[B, V]` float32, SciPy sparse rows.

        They are divided by the greatest score that any text could have, `(k1 + 1)` times the sum of the rarities of the
        question's terms. A score is then the share of the question's words, weighed by rarity, that a source has: it
        means the same for long and short questions, and in corpora of every size. A question without a known term, or
        without words, scores 0 everywhere.
        """
        from scipy import sparse

        rows = self.counts_of(questions)
        greatest = (self.saturation + 1) * (rows @ self.terms.rarity)
        scale = np.divide(1.0, greatest, out=np.zeros_like(greatest), where=greatest > 0)
        return sparse.csr_matrix(sparse.diags(scale.astype(np.float32)) @ rows)

    def shares(self, questions: Sequence[str]) -> NDArray[np.float32]:
        """Return the normalised scores of all sources for B questions, `[B, S]` float32 in [0, 1]."""
        return (self.normalised(questions) @ self.sources.T).toarray()
