"""Ranks documents by reading every one of them: the formula of `SearchIndex.search`, without an index.

Only the counts of the queries' own terms are kept, so a million documents fit.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from sightline.webshop_env.search.analysis import search_terms


def rank_all(documents: Iterable[tuple[str, str]], queries: Sequence[str], k: int) -> list[list[tuple[str, float]]]:
    """Up to k pairs of identifier and score for each query, best first, equal scores by identifier.

    Args:
        documents: identifier and text of each; read once.
        queries: free texts.
        k: how many hits at most.
    """
    repeats = [Counter(search_terms(query)) for query in queries]
    wanted = {term for counts in repeats for term in counts}
    identifiers: list[str] = []
    lengths = array("i")
    holders: dict[str, tuple[array[int], array[int]]] = {term: (array("i"), array("i")) for term in wanted}
    for number, (identifier, text) in enumerate(documents):
        terms = search_terms(text)
        identifiers.append(identifier)
        lengths.append(len(terms))
        for term, count in Counter(term for term in terms if term in wanted).items():
            holders[term][0].append(number)
            holders[term][1].append(count)
    filled = sum(length > 0 for length in lengths)
    one, k1, b = np.float32(1), np.float32(0.9), np.float32(0.4)
    average = np.float32(sum(lengths) / filled)
    kept = np.array([_one_byte(length) for length in lengths], dtype=np.float32)
    factor = one / (k1 * ((one - b) + b * kept / average))
    rankings = []
    for counts in repeats:
        totals = np.zeros(len(identifiers))
        for term, repeat in counts.items():
            numbers, frequencies = (np.array(column, dtype=np.int64) for column in holders[term])
            if len(numbers) == 0:
                continue
            idf = np.float32(np.log(1 + (filled - len(numbers) + 0.5) / (len(numbers) + 0.5)))
            weight = np.float32(repeat) * idf
            totals[numbers] += weight - weight / (one + frequencies.astype(np.float32) * factor[numbers])
        scores = totals.astype(np.float32)
        hits = np.flatnonzero(scores > 0)
        best = sorted(hits.tolist(), key=lambda number: (-scores[number], identifiers[number]))[:k]
        rankings.append([(identifiers[number], float(scores[number])) for number in best])
    return rankings


def _one_byte(length: int) -> int:
    """Return a token count as Lucene keeps it in one byte: exact up to 40, then 4 significant bits above 24."""
    if length <= 40:
        return length
    above = length - 24
    shift = above.bit_length() - 4
    return 24 + (above >> shift << shift)
