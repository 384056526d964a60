"""Metadata filters for databases that cannot say all of them: what they can say, and the rest decided here.

A filter is translated to a native one that holds at least wherever it holds; what comes back is then decided exactly,
and more is fetched until there is enough. This module knows no database.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sightline.retrieval.backends.protocol import BackendLimitError
from sightline.retrieval.store.document import SearchHit
from sightline.retrieval.store.filters import (
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    MetadataFilter,
    Not,
    StoredScalar,
    stored_attributes,
    stored_key,
    stored_scalar,
)

NativeT = TypeVar("NativeT")

_COMPARE: Mapping[str, Callable[..., bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_GROWTH = 4


@dataclass(frozen=True, slots=True)
class FilterDialect(Generic[NativeT]):
    """How one database writes filters."""

    condition: Callable[[Condition, bool], NativeT | None]
    """A filter that holds wherever the condition does, or, if the flag is set, wherever it does not; None: cannot."""
    all_of: Callable[[list[NativeT]], NativeT]
    any_of: Callable[[list[NativeT]], NativeT]


def superset(chosen: MetadataFilter, dialect: FilterDialect[NativeT], *, negated: bool = False) -> NativeT | None:
    """Return a native filter that holds wherever `chosen` does, and perhaps elsewhere.

    Negations are pushed down to the conditions (De Morgan), for few databases can negate a whole filter.

    Args:
        chosen: the filter.
        dialect: dialect of the database.
        negated: True to translate the complement of `chosen`.

    Returns:
        None where only a filter that always holds would do.
    """
    match chosen:
        case Condition():
            return dialect.condition(chosen, negated)
        case Not(part):
            return superset(part, dialect, negated=not negated)
        case AllOf(parts) | AnyOf(parts):
            natives = [superset(part, dialect, negated=negated) for part in parts]
            said = [native for native in natives if native is not None]
            if isinstance(chosen, AllOf) is not negated:
                return dialect.all_of(said) if said else None
            return dialect.any_of(said) if said and len(said) == len(natives) else None


def holds(chosen: MetadataFilter, metadata: Mapping[str, Any]) -> bool:
    """Return whether a filter holds for a document's metadata."""
    match chosen:
        case Condition(key, comparisons):
            wanted = stored_key(key)
            values = [value for name, value in stored_attributes(metadata) if name == wanted]
            return any(all(_passes(value, comparison) for comparison in comparisons) for value in values)
        case Not(part):
            return not holds(part, metadata)
        case AllOf(parts):
            return all(holds(part, metadata) for part in parts)
        case AnyOf(parts):
            return any(holds(part, metadata) for part in parts)


def best_matching(
    nearest: Callable[[int], Sequence[SearchHit]],
    chosen: MetadataFilter | None,
    *,
    top_k: int,
    min_score: float | None,
    most: int | None = None,
) -> list[SearchHit]:
    """Return the best hits for which a filter holds, fetching more until there are enough or no more.

    Args:
        nearest: function to the so-many best hits of a native filter that holds wherever `chosen` does, best first.
        chosen: the filter; None for all.
        top_k: most hits to return.
        min_score: least cosine of a hit; None for any.
        most: most hits that `nearest` gives; None for no bound.

    Raises:
        BackendLimitError: the answer may lie beyond `most` hits.
    """
    least = -2.0 if min_score is None else min_score
    limit = top_k if most is None else min(top_k, most)
    while True:
        hits = nearest(limit)
        reached = [hit for hit in hits if hit.score >= least]
        kept = [hit for hit in reached if chosen is None or holds(chosen, hit.document.metadata)]
        if len(kept) >= top_k or len(hits) < limit or len(reached) < len(hits):
            return kept[:top_k]
        if limit == most:
            raise BackendLimitError(
                f"only {len(kept)} of the {most:,} most similar documents pass the filter, and the backend gives no "
                "more than that; ask for fewer, raise min_score, or filter by equality, which it can do itself"
            )
        limit = limit * _GROWTH if most is None else min(limit * _GROWTH, most)


def _passes(value: StoredScalar, comparison: Comparison) -> bool:
    if isinstance(comparison.operand, tuple):
        return any(value == stored_scalar(choice) for choice in comparison.operand)
    bound = stored_scalar(comparison.operand)
    if comparison.operator == "==":
        return value == bound
    # Stored strings and other kinds are bytes whose first letter tells the kind; only like kinds are in order.
    same_kind = value[:1] == bound[:1] if isinstance(value, bytes) and isinstance(bound, bytes) else False
    numbers = not isinstance(value, bytes) and not isinstance(bound, bytes)
    return (same_kind or numbers) and _COMPARE[comparison.operator](value, bound)
