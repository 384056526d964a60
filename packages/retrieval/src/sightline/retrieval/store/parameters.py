"""Checks of what callers pass to a store or a backend: ids, and the numbers of a search.

This module does not know what is searched.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real

from sightline.retrieval.errors import InvalidQueryError


def checked_search(top_k: object, min_score: object, *, name: str = "top_k") -> tuple[int, float | None]:
    """Return the numbers of a search, of whatever library's type they were.

    Args:
        top_k: number of hits to find, a whole number of at least 1.
        min_score: a cosine, -1 to 1, or None.
        name: name of the former in an error.

    Raises:
        InvalidQueryError: either is out of range or of another type.
    """
    if isinstance(top_k, bool) or not isinstance(top_k, Integral) or top_k < 1:
        raise InvalidQueryError(f"{name} must be an integer of at least 1, not {top_k!r}")
    if min_score is None:
        return int(top_k), None
    is_number = isinstance(min_score, Real) and not isinstance(min_score, bool)
    if not is_number or not -1.0 <= float(min_score) <= 1.0:
        raise InvalidQueryError(f"min_score must be a cosine between -1 and 1, not {min_score!r}")
    return int(top_k), float(min_score)


def checked_id(document_id: object) -> str:
    """Return the id itself.

    Raises:
        TypeError: it is not a string.
    """
    if not isinstance(document_id, str):
        raise TypeError(f"an id is a string, not {type(document_id).__name__}")
    return document_id


def checked_ids(ids: Iterable[str]) -> list[str]:
    """Return ids, each once, in their order.

    Raises:
        TypeError: a single string was given, or something is not a string.
    """
    if isinstance(ids, str):
        raise TypeError(f"expected a sequence of ids, not one string; write [{ids[:80]!r}]")
    return list(dict.fromkeys(checked_id(document_id) for document_id in ids))
