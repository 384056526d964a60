"""Rank documents for a query with BM25, equal to Lucene's to the last bit of the score.

This module knows nothing of products or pages: it is given identifiers and texts.

Source: S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, in the form that
Lucene computes: single precision, and document lengths kept in one byte.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sightline.webshop_env.analysis import search_terms

_K1 = np.float32(0.9)
_B = np.float32(0.4)


def _one_byte_lengths(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Round token counts [N] down to what one byte keeps: exact up to 40, then 4 significant bits above 24."""
    beyond = np.maximum(lengths - 24, 0)
    _, bits = np.frexp(beyond.astype(np.float64))
    shift = np.maximum(bits.astype(np.int64) - 4, 0)
    return np.where(lengths <= 24, lengths, 24 + (beyond >> shift << shift))


class SearchIndex:
    """An immutable full-text index; searching is thread-safe.

    Documents are numbered in the order of their identifiers, so that a stable selection breaks ties as it should. The
    postings of term t are the slice ``starts[t] : starts[t + 1]`` of two arrays: document numbers (int32, ascending)
    and, for each, ``1 + tf * c`` (float32) with ``c = 1 / (k1 * (1 - b + b * dl / avgdl))``.
    """

    def __init__(self, ids: Sequence[str], documents: Sequence[str]) -> None:
        """Analyse and index ``documents``.

        Args:
            ids: one identifier for each document; equal scores are ordered by it, ascending.
            documents: the texts, in the same order.

        Raises:
            ValueError: if the two differ in length or an identifier occurs twice.
        """
        if len(ids) != len(documents):
            raise ValueError(f"every document needs one identifier: got {len(ids)} ids for {len(documents)} documents")
        if len(set(ids)) != len(ids):
            twice = next(identifier for identifier, count in Counter(ids).items() if count > 1)
            raise ValueError(f"identifiers must be unique, but {twice!r} occurs more than once")
        by_id = sorted(range(len(ids)), key=ids.__getitem__)
        self._ids = [ids[i] for i in by_id]
        self._terms: dict[str, int] = {}
        lengths = np.zeros(len(ids), dtype=np.int64)
        tokens = array("i")
        for number, i in enumerate(by_id):
            terms = [self._terms.setdefault(term, len(self._terms)) for term in search_terms(documents[i])]
            tokens.extend(terms)
            lengths[number] = len(terms)
        # Term and document in one integer: sorting these sorts by term, then by document.
        keys = np.array(tokens, dtype=np.int64) * len(ids) + np.repeat(np.arange(len(ids)), lengths)
        postings, frequencies = np.unique(keys, return_counts=True)
        term_of_posting, document_of_posting = np.divmod(postings, max(len(ids), 1))
        self._documents = document_of_posting.astype(np.int32)
        self._starts = np.searchsorted(term_of_posting, np.arange(len(self._terms) + 1))
        # As in Lucene, a document without any term is not part of the statistics; the floors are for an empty index.
        filled = max(np.count_nonzero(lengths), 1)
        average_length = np.float32(max(lengths.sum(), 1) / filled)
        document_frequency = np.diff(self._starts)
        self._idf = np.log(1 + (filled - document_frequency + 0.5) / (document_frequency + 0.5)).astype(np.float32)
        one = np.float32(1)
        kept_lengths = _one_byte_lengths(lengths).astype(np.float32)
        length_factor = one / (_K1 * ((one - _B) + _B * kept_lengths / average_length))
        self._saturations = one + frequencies.astype(np.float32) * length_factor[self._documents]

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, query: str, k: int = 50) -> list[tuple[str, float]]:
        """Find the documents that hold any term of ``query``.

        The score of a document is the sum over the query's distinct terms of ``w - w / (1 + tf * c)`` with
        ``w = repeats * idf`` and ``idf = ln(1 + (N - df + 0.5) / (df + 0.5))``; terms in float32, summed in float64,
        rounded to float32.

        Args:
            query: free text.
            k: how many hits to return at most.

        Returns:
            Up to ``k`` pairs of identifier and score, best first, equal scores by identifier; empty if nothing matches.

        Raises:
            ValueError: if ``k`` is not positive.
        """
        if k < 1:
            raise ValueError(f"k is the greatest number of hits and must be at least 1, got {k!r}")
        repeats = Counter(self._terms[term] for term in search_terms(query) if term in self._terms)
        if not repeats:
            return []
        numbers, impacts = [], []
        for term, count in repeats.items():
            posting = slice(self._starts[term], self._starts[term + 1])
            weight = np.float32(count) * self._idf[term]
            numbers.append(self._documents[posting])
            impacts.append(weight - weight / self._saturations[posting])
        # bincount adds in float64, whatever it is given.
        totals = np.bincount(np.concatenate(numbers), np.concatenate(impacts), minlength=len(self))
        scores = totals.astype(np.float32)
        # All that tie with the k-th best stay in until the stable sort has put the lower document numbers first.
        kth_best = np.partition(scores, len(self) - k)[len(self) - k] if len(self) > k else 0
        hits = np.flatnonzero((scores >= kth_best) & (scores > 0))
        best = hits[np.argsort(-scores[hits], kind="stable")[:k]]
        return [(self._ids[number], float(scores[number])) for number in best]
