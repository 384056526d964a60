"""Rank documents for a query with BM25, equal to Lucene's to the last bit of the score.

This module knows nothing of products or pages, nor how an index is built or its postings are read: it turns a query
into posting lists, and document numbers into identifiers.

Source: S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, in the form that
Lucene computes: single precision, and document lengths kept in one byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from sightline.webshop_env.search.analysis import search_terms
from sightline.webshop_env.search.building import build_in_memory
from sightline.webshop_env.search.files import IndexArrays, StringTable, open_arrays
from sightline.webshop_env.search.ranking import PostingList, best_documents

_REMEMBERED_TERMS: Final = 1 << 13
"""Places of terms that an index remembers; a binary search takes longer than all else about a short list."""


class SearchIndex:
    """An immutable full-text index; searching is thread-safe, and safe in forked processes.

    A stored index is mapped into memory, so that processes share its pages, and is pickled as its path.
    """

    def __init__(self, ids: Sequence[str], documents: Sequence[str]) -> None:
        """Analyse and index `documents` in memory.

        Args:
            ids: one identifier for each document; equal scores are ordered by it, ascending.
            documents: the texts, in the same order.

        Raises:
            ValueError: if the two differ in length or an identifier occurs twice.
        """
        if len(ids) != len(documents):
            raise ValueError(f"every document needs one identifier: got {len(ids)} ids for {len(documents)} documents")
        self._take(build_in_memory(zip(ids, documents, strict=True)), None)

    @classmethod
    def open(cls, folder: Path) -> SearchIndex:
        """Open what an `IndexBuilder` wrote; this takes milliseconds.

        Raises:
            CatalogueError: a file is missing or is not as it was written, as far as its header and length tell; names
                the file. Other damage makes searches fail or give wrong results, never crash.
        """
        return cls._of(open_arrays(folder), folder.resolve())

    @classmethod
    def _of(cls, arrays: IndexArrays, folder: Path | None) -> SearchIndex:
        index = cls.__new__(cls)
        index._take(arrays, folder)
        return index

    def _take(self, arrays: IndexArrays, folder: Path | None) -> None:
        self._arrays = arrays
        self._folder = folder
        self._ids = StringTable(arrays.identifiers, arrays.identifier_starts)
        self._find_term = lru_cache(_REMEMBERED_TERMS)(StringTable(arrays.terms, arrays.term_starts).find)

    def __reduce__(self) -> tuple[Callable[..., SearchIndex], tuple[Any, ...]]:
        if self._folder is None:
            return SearchIndex._of, (self._arrays, None)
        return SearchIndex.open, (self._folder,)

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, query: str, k: int = 50) -> list[tuple[str, float]]:
        """Find the documents that hold any term of `query`.

        The score of a document is the sum over the query's distinct terms of `w - w / (1 + tf * c)` with
        `w = repeats * idf` and `idf = ln(1 + (N - df + 0.5) / (df + 0.5))`; terms in float32, summed in float64,
        rounded to float32.

        Args:
            query: free text.
            k: number of hits to return at most.

        Returns:
            Up to `k` pairs of identifier and score, best first, equal scores by identifier; empty if nothing matches.

        Raises:
            ValueError: if `k` is not positive.
            CatalogueError: if a stored index turns out to be damaged.
        """
        if k < 1:
            raise ValueError(f"k is the greatest number of hits and must be at least 1, got {k!r}")
        repeats = Counter(search_terms(query))
        lists = [
            self._postings(number, count)
            for term, count in repeats.items()
            if (number := self._find_term(term)) is not None
        ]
        if not lists:
            return []
        numbers, scores = best_documents(lists, len(self), k)
        return list(zip(self._ids.take(numbers), scores.tolist(), strict=True))

    def search_many(self, queries: Sequence[str], k: int = 50) -> list[list[tuple[str, float]]]:
        """Search for each of `queries`, once for those that occur more than once.

        Returns:
            What `search` gives for each, in the same order.

        Raises:
            ValueError: if `k` is not positive.
            CatalogueError: if a stored index turns out to be damaged.
        """
        found = {query: self.search(query, k) for query in dict.fromkeys(queries)}
        return [list(found[query]) for query in queries]

    def _postings(self, term: int, repeats: int) -> PostingList:
        arrays = self._arrays
        weight = np.float32(repeats) * arrays.frequencies_inverse[term]
        held = slice(arrays.posting_starts[term], arrays.posting_starts[term + 1])
        return PostingList(weight, arrays.peaks[term], arrays.documents[held], arrays.saturations[held])
