"""An encoder that needs no model: feature hashing of words and of parts of words."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from sightline.retrieval.text.protocol import Vectors, check_texts


class HashingEncoder:
    """Signed feature hashing (Weinberger et al. 2009) of words and character trigrams; needs no model.

    It knows spelling, not meaning: texts are similar when they share words or parts of words. Counts are damped
    (`1 + ln(count)`). Vectors are the same on every machine.

    Args:
        dimension: length of a vector.

    Raises:
        ValueError: the dimension is not positive.
    """

    def __init__(self, dimension: int = 384) -> None:
        if dimension < 1:
            raise ValueError(f"dimension must be at least 1, not {dimension!r}")
        self.dimension = dimension
        self.name = f"hashing-{dimension}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode n texts as `[n, dimension]` unit rows; a text without words gives the first unit vector.

        Raises:
            TypeError: a single string was given.
        """
        check_texts(texts)
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            counts = Counter(_features(text))
            if counts:
                hashes = np.array([zlib.crc32(feature.encode("utf-8", "replace")) for feature in counts])
                weights = 1.0 + np.log(np.fromiter(counts.values(), dtype=np.float64))
                signs = np.where(hashes >> 31, -1.0, 1.0)
                row[:] = np.bincount(hashes % self.dimension, weights * signs, minlength=self.dimension)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[norms[:, 0] == 0, 0] = 1.0
        return vectors / np.where(norms == 0, 1.0, norms)


def _features(text: str) -> Iterator[str]:
    for word in re.findall(r"\w+", text.casefold()):
        marked = f"<{word}>"
        yield marked
        yield from (marked[start : start + 3] for start in range(len(marked) - 2))
