"""Retrieval examples as numbers: one embedding per distinct chunk, and indices into them per example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sightline.retrieval.conditioned.examples import RetrievalExample
    from sightline.retrieval.text.protocol import TextEncoder


@dataclass(frozen=True, slots=True)
class EmbeddedExamples:
    """N examples over U distinct chunks; pages share most of their chunks, so U is far below the number of chunks.

    Raises:
        ValueError: the fields do not fit together, or an example has no positive.
    """

    embeddings: NDArray[np.float32]
    """`[U, D]` float32, one row per distinct chunk."""
    candidates: tuple[NDArray[np.int64], ...]
    """Per example `[n_i]` int64, rows of `embeddings` in page order."""
    positives: tuple[NDArray[np.bool_], ...]
    """Per example `[n_i]` bool, True where the candidate is one that should be found."""

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or self.embeddings.dtype != np.float32:
            raise ValueError(
                "embeddings must be float32 of shape [U, D], not "
                f"{self.embeddings.dtype} of shape {list(self.embeddings.shape)}"
            )
        if len(self.candidates) != len(self.positives):
            raise ValueError(f"{len(self.candidates)} lists of candidates but {len(self.positives)} of positives")
        for number, (rows, positive) in enumerate(zip(self.candidates, self.positives, strict=True)):
            if rows.ndim != 1 or rows.shape != positive.shape or positive.dtype != np.bool_:
                raise ValueError(f"example {number}: candidates [n] and positives [n] (bool) do not fit together")
            if not positive.any():
                raise ValueError(f"example {number} has no positive chunk; leave it out")
            if rows.min() < 0 or rows.max() >= len(self.embeddings):
                raise ValueError(f"example {number}: a candidate is not a row of the {len(self.embeddings)} embeddings")

    def __len__(self) -> int:
        return len(self.candidates)


def embed_examples(examples: Sequence[RetrievalExample], encoder: TextEncoder) -> EmbeddedExamples:
    """Embed every distinct chunk of the examples once.

    An example's candidates are its positives and its stored negatives, in page order. Metrics are over these, so keep
    all negatives (the default of `build_example`) where whole pages are to be ranked.

    Args:
        examples: pages with their positives.
        encoder: encoder of the chunks' texts.

    Raises:
        ValueError: an example has no positive chunk.
    """
    row_of: dict[str, int] = {}
    candidates, positives = [], []
    for example in examples:
        kept = sorted((*example.pos_idx, *example.neg_idx))
        rows = [row_of.setdefault(example.chunks[index], len(row_of)) for index in kept]
        candidates.append(np.array(rows, dtype=np.int64))
        positives.append(np.isin(kept, example.pos_idx))
    return EmbeddedExamples(encoder.encode(list(row_of)), tuple(candidates), tuple(positives))
