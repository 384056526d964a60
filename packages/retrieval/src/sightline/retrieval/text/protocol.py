"""What an encoder is: it turns texts into unit vectors, and does not know what either of them are for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
"""`[n, dimension]` float32, one vector per row."""


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into vectors whose dot product is their similarity."""

    @property
    def name(self) -> str:
        """Identifies the vector space: vectors of encoders with different names must not be compared."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode n texts as `[n, dimension]` float32 rows of unit length."""
        ...


@runtime_checkable
class QueryEncoder(TextEncoder, Protocol):
    """An encoder that treats queries differently from the texts that they are to find."""

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Encode n queries as `[n, dimension]` float32 rows of unit length."""
        ...


def check_texts(texts: Sequence[str]) -> None:
    """Refuse a single text where several are expected: it would be taken for a sequence of letters.

    Raises:
        TypeError: a single string was given.
    """
    if isinstance(texts, str):
        raise TypeError(f"encode takes a sequence of texts, not one string; write encode([{texts[:40]!r}])")
