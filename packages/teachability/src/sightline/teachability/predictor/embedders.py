"""Text as vectors, without downloads: hashed words and pairs of words. Anything with `encode` does in its place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.records import LabelledSnapshot

_WORD = re.compile(r"\w+")
_SHOWN_CHARACTERS = 1500


class Embedder(Protocol):
    """What is needed of an embedder; sentence-transformers models have it."""

    def encode(self, sentences: list[str], /) -> Any:
        """Return one vector per text, [N, D]."""
        ...


class HashingEmbedder:
    """Signed feature hashing of words and pairs of words (Weinberger et al. 2009), scaled to unit length.

    Args:
        dimension: length of a vector.
    """

    def __init__(self, dimension: int = 256) -> None:
        if dimension < 1:
            raise ValueError(f"dimension must be at least 1, not {dimension!r}")
        self.dimension = dimension

    def encode(self, sentences: list[str], /) -> NDArray[np.float64]:
        """Return [N, dimension]; a text without words is the zero vector."""
        vectors = np.zeros((len(sentences), self.dimension))
        for row, text in enumerate(sentences):
            words = _WORD.findall(text.lower())
            for token in [*words, *(f"{first} {second}" for first, second in pairwise(words))]:
                digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                number = int.from_bytes(digest, "big")
                vectors[row, (number >> 1) % self.dimension] += 1 if number & 1 else -1
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, norms, out=vectors, where=norms > 0)


def embed(labelled: Sequence[LabelledSnapshot], embedder: Embedder) -> NDArray[np.float64]:
    """Return vectors of task and page, [N, D]."""
    texts = [f"{one.snapshot.instruction}\n{one.snapshot.observation[:_SHOWN_CHARACTERS]}" for one in labelled]
    return np.asarray(embedder.encode(texts), dtype=np.float64).reshape(len(labelled), -1)
