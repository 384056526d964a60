"""Select the k best documents for the posting lists of a query, exactly, without scoring every document.

This module knows nothing of texts, terms or files: it is given arrays and returns document numbers.

The documents are taken in windows of ascending numbers, the first one small, so that the k-th best score so far soon
is a good threshold for the many that follow. Of the lists in the order of their greatest impact, the last ones which
cannot lift a document over the threshold even together are not added up: those documents of the others that can still
reach it are looked up in them.

Source: H. Turtle and J. Flood, "Query evaluation: strategies and optimizations", Information Processing & Management
31(6), 1995 (MaxScore), with lists merged window by window instead of document by document.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sightline.webshop_env.errors import CatalogueError

_FIRST_WINDOW = 1 << 15
_LARGEST_WINDOW = 1 << 18
_SORT_COST = 32
"""How many documents of a window are passed over in the time in which one posting is sorted."""
_SEARCH_COST = 16
"""How many postings are scattered in the time in which one document is sought among them."""


@dataclass(frozen=True, slots=True)
class PostingList:
    """The documents that hold one term of the query, or those of them in one window."""

    weight: np.float32
    """Repeats in the query times inverse document frequency."""
    peak: np.float32
    """No saturation in the list is greater."""
    documents: npt.NDArray[np.int32]
    """[M] int32, numbers of documents, ascending."""
    saturations: npt.NDArray[np.float32]
    """[M] float32, `1 + tf * c`; the impact on a score is `weight - weight / saturation`."""

    @property
    def bound(self) -> float:
        """No impact in the list is greater."""
        return float(self.weight - self.weight / self.peak)

    def impacts(self) -> npt.NDArray[np.float32]:
        """Return what the term adds to the score of each document, [M] float32."""
        return (self.weight - self.weight / self.saturations).astype(np.float32, copy=False)

    def between(self, start: int, stop: int) -> PostingList:
        """Return the postings from place `start` to place `stop`."""
        return PostingList(self.weight, self.peak, self.documents[start:stop], self.saturations[start:stop])


_Totals: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Offsets [M] of documents in a window, ascending, and for each a sum of impacts [M]."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Posting lists cut to the documents `first` to `first + size`."""

    first: int
    size: int
    lists: Sequence[PostingList]

    def offsets(self, documents: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return places of documents [M] within the window."""
        offsets = documents - np.int32(self.first)
        # Seen as unsigned, what lies before the window is greater than its size too.
        if len(offsets) and offsets.view(np.uint32).max() >= self.size:
            raise CatalogueError("the search index is damaged: a document number is out of range; import it again")
        return offsets

    def candidates(self, lists: Sequence[PostingList], limit: float) -> _Totals:
        """Sum up the impacts of `lists`, in their order, and keep the documents whose sum is at least `limit`."""
        offsets = self.offsets(np.concatenate([postings.documents for postings in lists]))
        impacts = np.concatenate([postings.impacts() for postings in lists])
        # bincount adds in float64, whatever it is given.
        if len(lists) == 1:
            totals = impacts.astype(np.float64)
        elif len(offsets) * _SORT_COST < self.size:
            offsets, places = np.unique(offsets, return_inverse=True)
            totals = np.bincount(places, impacts, minlength=len(offsets)).astype(np.float64, copy=False)
        else:
            totals = np.bincount(offsets, impacts, minlength=self.size).astype(np.float64, copy=False)
            offsets = None
        kept = np.flatnonzero(totals >= limit)
        return kept if offsets is None else offsets[kept].astype(np.int64), totals[kept]

    def impacts_at(self, postings: PostingList, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return what one list adds to the documents at `offsets` [M]: [M] float32, 0 where it has not got them."""
        if len(offsets) * _SEARCH_COST > len(postings.documents):
            dense = np.zeros(self.size, dtype=np.float32)
            dense[self.offsets(postings.documents)] = postings.impacts()
            return dense[offsets]
        numbers = (offsets + self.first).astype(np.int32)
        places = np.minimum(np.searchsorted(postings.documents, numbers), len(postings.documents) - 1)
        impacts = postings.weight - postings.weight / postings.saturations[places]
        return np.where(postings.documents[places] == numbers, impacts, np.float32(0))


def _windows(lists: Sequence[PostingList], count: int) -> Iterator[_Window]:
    edges, size = [0], _FIRST_WINDOW
    while edges[-1] < count:
        edges.append(min(edges[-1] + size, count))
        size = min(4 * size, _LARGEST_WINDOW)
    cuts = [np.searchsorted(postings.documents, edges).tolist() for postings in lists]
    for number, (first, end) in enumerate(pairwise(edges)):
        parts = [postings.between(*cut[number : number + 2]) for postings, cut in zip(lists, cuts, strict=True)]
        yield _Window(first, end - first, parts)


def best_documents(
    lists: Sequence[PostingList], count: int, k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Rank documents by the sum of their impacts.

    The score of a document is that of the exhaustive calculation to the last bit: impacts in float32, summed in float64
    in the order of `lists`, rounded to float32.

    Args:
        lists: one for each distinct term of the query.
        count: number of documents; their numbers are 0 to `count - 1`.
        k: number of documents to return at most.

    Returns:
        Numbers and scores of up to `k` documents with a score above 0, best first, equal scores by number.

    Raises:
        CatalogueError: if a list holds a number that is out of range.
    """
    if count <= _FIRST_WINDOW:
        return _exhaustive(lists, count, k)
    bounds = [postings.bound for postings in lists]
    by_bound = sorted(range(len(lists)), key=lambda place: -bounds[place])
    # What the lists from each place in this order can add together.
    rest = [*accumulate((bounds[place] for place in reversed(by_bound)), initial=0.0)][::-1]
    # Sums of bounds are compared with rounded scores, so they are let off the rounding errors.
    tolerance = 1 - float(np.finfo(np.float32).eps) * (len(lists) + 4)
    numbers, scores = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    threshold = 0.0
    for window in _windows(lists, count):
        offsets, found = _above(window, by_bound, rest, threshold, tolerance * threshold)
        numbers, scores = np.concatenate([numbers, offsets + window.first]), np.concatenate([scores, found])
        if len(scores) > k:
            kth_best = np.partition(scores, len(scores) - k)[len(scores) - k]
            kept = scores >= kth_best
            numbers, scores = numbers[kept], scores[kept]
        if len(scores) >= k:
            # Documents of later windows have greater numbers, so that an equal score would not do.
            threshold = float(scores.min())
    best = np.argsort(-scores, kind="stable")[:k]
    return numbers[best], scores[best]


def _exhaustive(
    lists: Sequence[PostingList], count: int, k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return what `best_documents` returns, from a sum over all documents: less work, where these are few."""
    offsets = _Window(0, count, lists).offsets(np.concatenate([postings.documents for postings in lists]))
    impacts = np.concatenate([postings.impacts() for postings in lists])
    scores = np.bincount(offsets, impacts, minlength=count).astype(np.float32)
    kth_best = np.partition(scores, count - k)[count - k] if count > k else 0
    hits = np.flatnonzero((scores >= kth_best) & (scores > 0))
    best = hits[np.argsort(-scores[hits], kind="stable")[:k]]
    return best, scores[best]


def _above(
    window: _Window, by_bound: Sequence[int], rest: Sequence[float], threshold: float, safe: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return offsets and scores of the window's documents whose score exceeds `threshold`."""
    needed = len(by_bound)
    while needed and rest[needed - 1] < safe:
        needed -= 1
    if not needed:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    complete = needed == len(by_bound)
    lists = window.lists if complete else [window.lists[place] for place in by_bound[:needed]]
    offsets, partial = window.candidates(lists, safe - rest[needed])
    for position in range(needed, len(by_bound)):
        partial = partial + window.impacts_at(window.lists[by_bound[position]], offsets)
        kept = partial >= safe - rest[position + 1]
        offsets, partial = offsets[kept], partial[kept]
        if not len(offsets):
            break
    if not complete:
        # The order of the sum decides its last bit.
        partial = sum((window.impacts_at(postings, offsets) for postings in window.lists), np.zeros(len(offsets)))
    scores = partial.astype(np.float32)
    above = scores > np.float32(threshold)
    return offsets[above], scores[above]
