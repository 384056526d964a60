"""Several rankings of the same things joined into one.

This module does not know what is ranked, or how.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

FUSION_CONSTANT = 60
"""k of reciprocal-rank fusion; the authors' choice, to which results are not sensitive."""


def reciprocal_rank_fusion(rankings: Sequence[Sequence[str]], *, k: float = FUSION_CONSTANT) -> list[tuple[str, float]]:
    """Join rankings: an item scores the sum of `1 / (k + rank)` over the rankings that have it, ranks from 1.

    Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods",
    SIGIR 2009.

    Args:
        rankings: ids, best first; of an id that comes twice in one ranking the first place counts.
        k: constant, at least 0; the larger, the less a first place is worth more than a second.

    Returns:
        Ids with scores, best first; equal scores in the order in which the ids are first met, ranking by ranking.

    Raises:
        ValueError: `k` is negative or not finite.
    """
    if not (math.isfinite(k) and k >= 0):
        raise ValueError(f"k must be a finite number of at least 0, not {k!r}")
    terms: dict[str, list[float]] = {}
    for ranking in rankings:
        for rank, item in enumerate(dict.fromkeys(ranking), start=1):
            terms.setdefault(item, []).append(1.0 / (k + rank))
    # fsum rounds once, so that the same places in another order of rankings give the same score.
    scores = {item: math.fsum(parts) for item, parts in terms.items()}
    return sorted(scores.items(), key=lambda entry: -entry[1])
