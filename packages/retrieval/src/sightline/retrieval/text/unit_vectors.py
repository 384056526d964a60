"""Unit vectors from whatever callers and encoders give: checked, scaled, float32.

This module does not know what the vectors are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.retrieval.errors import EncoderOutputError, InvalidQueryError
from sightline.retrieval.text.protocol import TextEncoder

Vectors = NDArray[np.float32]
Query: TypeAlias = str | ArrayLike

# Below this the float32 squares of a vector's numbers lose digits; its norm is then taken in float64.
_SAFE_NORM = 1e-12


def unit_rows(vectors: ArrayLike, shape: tuple[int, int], source: str, error: type[ValueError]) -> Vectors:
    """Rows of unit length.

    Args:
        vectors: numbers of this shape, of any length but zero.
        shape: `(n, D)`.
        source: what to name in an error.
        error: the exception to raise.

    Returns:
        `[n, D]` float32, a copy.

    Raises:
        ValueError: of type `error`: another shape, a zero vector, something that is not a finite real number.
    """
    try:
        given = np.asarray(vectors)
        if given.dtype.kind not in "fiu":
            raise error(f"{source}: expected real numbers, not {given.dtype}")
        with np.errstate(over="ignore"):  # becomes infinite and is refused below
            rows = given.astype(np.float32)
    except (TypeError, ValueError) as problem:
        if isinstance(problem, error):
            raise
        raise error(f"{source}: expected an array of numbers ({problem})") from problem
    if rows.shape != shape:
        raise error(f"{source}: expected shape {list(shape)}, not {list(rows.shape)}")
    if not np.isfinite(rows).all():
        raise error(f"{source}: a vector holds a value that is not finite in float32")
    with np.errstate(over="ignore", under="ignore"):
        norms = np.linalg.norm(rows, axis=1)
    extreme = ~np.isfinite(norms) | (norms < _SAFE_NORM)
    if extreme.any():
        exact = rows[extreme].astype(np.float64)
        lengths = np.linalg.norm(exact, axis=1, keepdims=True)
        if not lengths.all():
            raise error(f"{source}: a vector is zero and so has no direction")
        rows[extreme], norms[extreme] = exact / lengths, 1.0
    rows /= norms[:, None]
    return rows


def encoded_texts(encoder: TextEncoder, texts: Sequence[str]) -> Vectors:
    """Unit embeddings `[n, dimension]` of n texts, float32.

    Raises:
        EncoderOutputError: the encoder gave another shape, a zero vector, or a number that is not finite.
    """
    shape = len(texts), encoder.dimension
    if not texts:
        return np.empty(shape, dtype=np.float32)
    return unit_rows(encoder.encode(texts), shape, f"encoder {encoder.name!r}", EncoderOutputError)


def query_vectors(
    encoder: TextEncoder, queries: Sequence[Query] | NDArray[np.floating], *, max_characters: int
) -> Vectors:
    """Unit query vectors `[q, dimension]`; all texts are encoded in one call.

    Args:
        encoder: embeds texts.
        queries: texts, vectors or both.
        max_characters: longer texts are refused.

    Raises:
        EncoderOutputError: the encoder broke its promise.
        InvalidQueryError: a text is blank or too long; a vector is zero, not finite or of another dimension.
    """
    if isinstance(queries, np.ndarray) and queries.ndim == 2:
        return unit_rows(queries, (len(queries), encoder.dimension), "queries", InvalidQueryError)
    vectors = np.empty((len(queries), encoder.dimension), dtype=np.float32)
    texts: dict[int, str] = {}
    for number, query in enumerate(queries):
        if not isinstance(query, str):
            vectors[number] = unit_rows([query], (1, encoder.dimension), "query", InvalidQueryError)
        elif query.strip() and len(query) <= max_characters:
            texts[number] = query
        else:
            raise InvalidQueryError(
                f"query {query[:40]!r} has {len(query):,} characters; give a text of 1 to {max_characters:,} that is "
                "not blank, or a vector"
            )
    vectors[list(texts)] = encoded_texts(encoder, list(texts.values()))
    return vectors
