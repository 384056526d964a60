"""Rows that are nearly the same as earlier ones, found exactly, block by block.

This module knows nothing of documents.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.text.protocol import Vectors

_BLOCK_ROWS = 1024


def duplicate_rows(vectors: Vectors, rows: NDArray[np.int64], min_score: float) -> dict[int, int]:
    """Return the rows that are near an earlier one which is no duplicate itself, with the first such.

    Args:
        vectors: `[n, D]` unit rows.
        rows: `[m]` numbers of the rows to look at, in order.
        min_score: least cosine of a duplicate.
    """
    kept: list[NDArray[np.int64]] = []
    found: dict[int, int] = {}
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS]
        block_vectors = vectors[block]
        first = np.full(len(block), -1, dtype=np.int64)
        for earlier in kept:
            open_places = np.flatnonzero(first < 0)
            if not len(open_places):
                break
            near = block_vectors[open_places] @ vectors[earlier].T >= min_score
            hit = near.any(axis=1)
            first[open_places[hit]] = earlier[near[hit].argmax(axis=1)]
        within = block_vectors @ block_vectors.T >= min_score
        for place in range(len(block)):
            if first[place] < 0:
                candidates = np.flatnonzero(within[place, :place] & (first[:place] < 0))
                first[place] = block[candidates[0]] if len(candidates) else -1
        found.update({int(block[place]): int(first[place]) for place in np.flatnonzero(first >= 0)})
        if len(unique := block[first < 0]):
            kept.append(unique)
    return found
