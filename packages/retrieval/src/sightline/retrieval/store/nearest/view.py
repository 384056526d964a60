"""One committed state of a store's rows: what searches look at, and what never changes under them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.errors import REMEDY, StoreDamagedError
from sightline.retrieval.store.checksums import vector_checksums
from sightline.retrieval.store.database.schema import StoreState
from sightline.retrieval.store.disk.rows import StoredRows
from sightline.retrieval.store.nearest.hnsw import ApproximateIndex
from sightline.retrieval.text.protocol import Vectors


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One committed state of the rows."""

    state: StoreState
    """Numbers of the state."""
    rows: StoredRows
    """Rows in the order in which they were added."""
    alive: NDArray[np.bool_]
    """`[n]`, false for rows that were deleted or replaced."""
    live_count: int
    """Rows that are alive."""
    index: ApproximateIndex | None
    """Approximate index over the first rows; None without one."""

    @property
    def vectors(self) -> Vectors:
        """`[n, D]` unit rows."""
        return self.rows.vectors


def require_sound(view: View, checksums: Mapping[int, int]) -> None:
    """Make sure that vectors are those that were written.

    Args:
        view: state of the store.
        checksums: rows, with the checksum that each should have.

    Raises:
        StoreDamagedError: the vector of a row does not match its checksum.
    """
    rows = list(checksums)
    for row, found in zip(rows, vector_checksums(view.vectors[rows]), strict=True):
        if found != checksums[row]:
            raise StoreDamagedError(
                f"{view.rows.path}: the vector of row {row:,} does not match its checksum; {REMEDY}"
            )
