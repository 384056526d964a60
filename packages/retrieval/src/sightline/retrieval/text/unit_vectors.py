"""Unit vectors from whatever callers and encoders give: checked and scaled once, where they come in.

This module does not know what the vectors are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.retrieval.errors import EncoderOutputError, InvalidDocumentError, InvalidQueryError
from sightline.retrieval.text.protocol import QueryEncoder, TextEncoder, Vectors

# Below this the float32 squares of a vector's numbers lose digits; its norm is then taken in float64.
_SAFE_NORM = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class UnitVectors:
    """Vectors that were checked and scaled; whoever is given them need not look again.

    Make them with `UnitVectors.of`.
    """

    rows: Vectors
    """`[n, D]` float32, each of unit length."""

    @classmethod
    def of(cls, vectors: ArrayLike, shape: tuple[int, int], source: str, error: type[ValueError]) -> UnitVectors:
        """Check vectors and scale them to unit length.

        Args:
            vectors: real numbers of this shape, each row of any length but zero.
            shape: `(n, D)`.
            source: name of the vectors in an error.
            error: exception to raise.

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
        _require_shape(rows, shape, source, error)
        if not np.isfinite(rows).all():
            raise error(f"{source}: a vector holds a value that is not finite in float32")
        return cls(_scaled(rows, source, error))

    def require_shape(self, shape: tuple[int, int], source: str, error: type[ValueError]) -> None:
        """Refuse vectors of another number or dimension.

        Args:
            shape: `(n, D)`.
            source: name of the vectors in an error.
            error: exception to raise.

        Raises:
            ValueError: of type `error`: they have another shape.
        """
        _require_shape(self.rows, shape, source, error)

    def __len__(self) -> int:
        return len(self.rows)


Query: TypeAlias = str | ArrayLike


def encoded_texts(encoder: TextEncoder, texts: Sequence[str]) -> UnitVectors:
    """Return unit embeddings `[n, dimension]` of n texts.

    Args:
        encoder: encoder of the texts.
        texts: texts to embed.

    Raises:
        EncoderOutputError: the encoder gave another shape, a zero vector, or a number that is not finite.
    """
    shape = len(texts), encoder.dimension
    if not texts:
        return UnitVectors(np.empty(shape, dtype=np.float32))
    return UnitVectors.of(encoder.encode(texts), shape, f"encoder {encoder.name!r}", EncoderOutputError)


def document_vectors(
    encoder: TextEncoder, texts: Sequence[str], vectors: ArrayLike | UnitVectors | None
) -> UnitVectors:
    """Return unit vectors `[n, dimension]` for n documents: those given with them, or embeddings of their texts.

    Args:
        encoder: encoder of the texts.
        texts: contents of the documents.
        vectors: real numbers `[n, dimension]`, each row of any length but zero; None to encode the texts.

    Raises:
        EncoderOutputError: the encoder broke its promise.
        InvalidDocumentError: the vectors have another shape, or one is zero or not finite.
    """
    if vectors is None:
        return encoded_texts(encoder, texts)
    shape = len(texts), encoder.dimension
    if not isinstance(vectors, UnitVectors):
        return UnitVectors.of(vectors, shape, "vectors", InvalidDocumentError)
    vectors.require_shape(shape, "vectors", InvalidDocumentError)
    return vectors


def query_vectors(
    encoder: TextEncoder,
    queries: Sequence[Query] | NDArray[np.floating] | UnitVectors,
    *,
    max_characters: int,
) -> UnitVectors:
    """Return unit query vectors `[q, dimension]`; all texts are encoded in one call.

    Args:
        encoder: encoder of texts.
        queries: texts, vectors or both; unit vectors are returned as they are.
        max_characters: most characters of a text.

    Raises:
        EncoderOutputError: the encoder broke its promise.
        InvalidQueryError: a text is blank or too long; a vector is zero, not finite or of another dimension.
    """
    if isinstance(queries, UnitVectors):
        queries.require_shape((len(queries), encoder.dimension), "queries", InvalidQueryError)
        return queries
    if isinstance(queries, np.ndarray) and queries.ndim == 2:
        return UnitVectors.of(queries, (len(queries), encoder.dimension), "queries", InvalidQueryError)
    vectors = np.empty((len(queries), encoder.dimension), dtype=np.float32)
    texts: dict[int, str] = {}
    for number, query in enumerate(queries):
        if not isinstance(query, str):
            vectors[number] = UnitVectors.of([query], (1, encoder.dimension), "query", InvalidQueryError).rows
        elif query.strip() and len(query) <= max_characters:
            texts[number] = query
        else:
            raise InvalidQueryError(
                f"query {query[:40]!r} has {len(query):,} characters; give a text of 1 to {max_characters:,} that is "
                "not blank, or a vector"
            )
    vectors[list(texts)] = _encoded_queries(encoder, list(texts.values())).rows
    return UnitVectors(vectors)


def _encoded_queries(encoder: TextEncoder, texts: Sequence[str]) -> UnitVectors:
    if not texts or not isinstance(encoder, QueryEncoder):
        return encoded_texts(encoder, texts)
    shape = len(texts), encoder.dimension
    return UnitVectors.of(encoder.encode_queries(texts), shape, f"encoder {encoder.name!r}", EncoderOutputError)


def _require_shape(rows: Vectors, shape: tuple[int, int], source: str, error: type[ValueError]) -> None:
    if rows.shape != shape:
        raise error(f"{source}: expected shape {list(shape)}, not {list(rows.shape)}")


def _scaled(rows: Vectors, source: str, error: type[ValueError]) -> Vectors:
    """Scale finite rows `[n, D]` to unit length, in place."""
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
