"""An approximate index (HNSW, Malkov and Yashunin 2018, by usearch) over the rows of a store.

The index holds vectors as 8-bit numbers, or as the signs of their numbers, one bit each. It only proposes candidates;
whoever uses it scores them again with the real vectors. It covers the rows that were there when it was built. Needs the
extra `approximate`.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.errors import StoreDamagedError
from sightline.retrieval.files import sync_folder
from sightline.retrieval.store.checksums import file_checksum

if TYPE_CHECKING:
    from usearch.index import Index

    from sightline.retrieval.text.protocol import Vectors

CONNECTIVITY = 16
BUILD_BREADTH = 128
# Candidates per hit, and the least: 8-bit scores order near neighbours badly, so the true ones are sought among more.
OVERSAMPLING, MIN_CANDIDATES = {"int8": 4, "binary": 40}, {"int8": 64, "binary": 400}
Precision: TypeAlias = Literal["int8", "binary"]
"""Numbers of a vector in an index: 8 bits each, or 1."""

_BATCH_ROWS = 50_000
_REMEDY = "move it away to search exactly, and build the index again"


class ApproximateIndex:
    """Proposes rows near a query. Any number of threads may ask; they take turns.

    Args:
        index: the graph, its keys being the row numbers of its time.
        row_count: rows below this number are covered.
        keys: `[row_count]`, the key of each covered row, ascending; None where each is its own.
    """

    def __init__(self, index: Index, row_count: int, keys: NDArray[np.int64] | None = None) -> None:
        self._index = index
        self._asking = threading.Lock()  # searches of one usearch index share its per-thread buffers
        self._keys = keys
        self.row_count = row_count

    @property
    def precision(self) -> Precision:
        """Numbers of a vector in the index."""
        return "binary" if self._index.dtype == _usearch().ScalarKind.B1 else "int8"

    def with_keys(self, keys: NDArray[np.int64]) -> ApproximateIndex:
        """Return the index for the numbers that a compaction gives to its rows.

        Args:
            keys: key of each row that is left of those covered, ascending.
        """
        return ApproximateIndex(self._index, len(keys), keys)

    @classmethod
    def build(cls, vectors: Vectors, alive: NDArray[np.bool_], precision: Precision = "int8") -> ApproximateIndex:
        """Index the rows of `vectors` [n, D] that are `alive` [n]; about a minute per 100,000 rows and core.

        Args:
            vectors: `[n, D]` unit rows.
            alive: `[n]`, which rows to index.
            precision: numbers of a vector in the index.

        Raises:
            ImportError: the extra `approximate` is not installed.
        """
        usearch = _usearch()
        index = usearch.Index(
            ndim=_indexed_dimension(vectors.shape[1], precision),
            metric=usearch.MetricKind.Hamming if precision == "binary" else usearch.MetricKind.IP,
            dtype=usearch.ScalarKind.B1 if precision == "binary" else usearch.ScalarKind.I8,
            connectivity=CONNECTIVITY,
            expansion_add=BUILD_BREADTH,
            enable_key_lookups=False,
        )
        for start in range(0, len(vectors), _BATCH_ROWS):
            rows = start + np.flatnonzero(alive[start : start + _BATCH_ROWS])
            if len(rows):
                index.add(rows.astype(np.uint64), _codes(vectors[rows], precision))
        return cls(index, len(vectors))

    @classmethod
    def open(
        cls, path: Path, row_count: int, dimension: int, *, checksum: int, keys: NDArray[np.int64] | None = None
    ) -> ApproximateIndex:
        """Map an index that `save` wrote.

        Args:
            path: file of the index.
            row_count: rows that it covered when it was built.
            dimension: length of a vector.
            checksum: CRC-32 of the file.
            keys: key of each row that it covers by now; None where each of the `row_count` is its own.

        Raises:
            ImportError: the extra `approximate` is not installed.
            StoreDamagedError: the file is missing, damaged, or an index of other rows.
        """
        usearch = _usearch()
        try:
            # A damaged graph could lead anywhere, also out of the file.
            if path.is_file() and file_checksum(path) != checksum:
                raise StoreDamagedError(f"{path} does not match its checksum; {_REMEDY}")
            index = usearch.Index.restore(str(path), view=True, enable_key_lookups=False) if path.is_file() else None
        except (RuntimeError, ValueError) as error:
            if isinstance(error, StoreDamagedError):
                raise
            raise StoreDamagedError(f"{path} is damaged ({error}); {_REMEDY}") from error
        if index is None:
            raise StoreDamagedError(f"{path} is missing or damaged; {_REMEDY}")
        precision: Precision = "binary" if index.dtype == usearch.ScalarKind.B1 else "int8"
        if index.ndim != _indexed_dimension(dimension, precision) or len(index) > row_count:
            raise StoreDamagedError(
                f"{path} indexes {len(index):,} rows of {index.ndim} numbers, not at most {row_count:,} of "
                f"{dimension}; {_REMEDY}"
            )
        return cls(index, row_count if keys is None else len(keys), keys)

    def save(self, path: Path) -> int:
        """Write the index to a file, atomically and durably; return the CRC-32 of the file."""
        temporary = path.with_name(path.name + ".tmp")
        try:
            self._index.save(str(temporary))
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            checksum = file_checksum(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
        return checksum

    def candidates(self, queries: Vectors, top_k: int) -> list[NDArray[np.int64]]:
        """Return rows `[m]` near each of `queries` [q, D], ascending; several times `top_k` if there are so many."""
        from usearch.index import Matches

        precision = self.precision
        count = min(max(OVERSAMPLING[precision] * top_k, MIN_CANDIDATES[precision]), len(self._index))
        if count == 0:
            return [np.empty(0, np.int64)] * len(queries)
        with self._asking:
            self._index.expansion_search = count
            matches = self._index.search(_codes(queries, precision), count)
        if isinstance(matches, Matches):  # what usearch returns for a single query
            return [self._rows(matches.keys)]
        return [self._rows(row[:found]) for row, found in zip(matches.keys, matches.counts, strict=True)]

    def _rows(self, found: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the rows, ascending, whose keys were found; keys of rows that a compaction dropped are left out."""
        keys = np.sort(found.astype(np.int64))
        if self._keys is None:
            return keys
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return places[self._keys[places] == keys] if len(self._keys) else places[:0]


def _codes(vectors: Vectors, precision: Precision) -> NDArray[Any]:
    return np.packbits(vectors > 0, axis=1) if precision == "binary" else vectors


def _indexed_dimension(dimension: int, precision: Precision) -> int:
    return -(-dimension // 8) * 8 if precision == "binary" else dimension


def _usearch() -> ModuleType:
    try:
        from usearch import index
    except ImportError as error:
        raise ImportError(
            "usearch is not installed, and approximate search needs it; "
            "install it with: pip install 'sightline-retrieval[approximate]'"
        ) from error
    return index
