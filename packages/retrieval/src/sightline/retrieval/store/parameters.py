"""Checks of what callers pass to a store or a backend: ids, and the numbers of a search.

This module does not know what is searched.
"""

from __future__ import annotations

from collections.abc import Iterable

from sightline.retrieval.errors import InvalidQueryError


def check_search(top_k: int, min_score: float | None) -> None:
    """Refuse a search whose numbers are out of range.

    Args:
        top_k: number of hits to find, at least 1.
        min_score: a cosine, -1 to 1, or None.

    Raises:
        InvalidQueryError: either is out of range or of another type.
    """
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise InvalidQueryError(f"top_k must be an integer of at least 1, not {top_k!r}")
    if min_score is None:
        return
    if isinstance(min_score, bool) or not isinstance(min_score, (int, float)) or not -1.0 <= min_score <= 1.0:
        raise InvalidQueryError(f"min_score must be a cosine between -1 and 1, not {min_score!r}")


def checked_id(document_id: object) -> str:
    """Return the id itself.

    Raises:
        TypeError: it is not a string.
    """
    if not isinstance(document_id, str):
        raise TypeError(f"an id is a string, not {type(document_id).__name__}")
    return document_id


def checked_ids(ids: Iterable[str]) -> list[str]:
    """Return the ids to delete, each once, in their order.

    Raises:
        TypeError: a single string was given, or something is not a string.
    """
    if isinstance(ids, str):
        raise TypeError(f"delete takes a sequence of ids, not one string; write delete([{ids[:80]!r}])")
    return list(dict.fromkeys(checked_id(document_id) for document_id in ids))
