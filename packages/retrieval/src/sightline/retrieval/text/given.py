"""An encoder that stands for one elsewhere: all vectors are given with the documents and queries."""

from __future__ import annotations

from collections.abc import Sequence

from sightline.retrieval.text.protocol import Vectors


class GivenVectors:
    """Names the space of vectors that come from elsewhere; it encodes nothing itself.

    Args:
        name: name of the vector space.
        dimension: length of a vector.

    Raises:
        ValueError: the name is empty or the dimension is not positive.
    """

    def __init__(self, name: str, dimension: int) -> None:
        if not name or dimension < 1:
            raise ValueError(f"expected a name and a dimension of at least 1, not {name!r} and {dimension!r}")
        self.name = name
        self.dimension = dimension

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Refuse.

        Raises:
            TypeError: always; give vectors with documents, and a vector as the query.
        """
        raise TypeError(f"the vectors of {self.name!r} are given, not made: {len(texts)} texts came without theirs")
