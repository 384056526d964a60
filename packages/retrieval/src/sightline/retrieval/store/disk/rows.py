"""Rows of float32 vectors that are only ever appended: in memory, or in a file that is mapped rather than read.

Nothing here is committed: rows are written where the caller says, and the caller's records say how many of them count.
Arrays given out earlier never change as long as nobody writes below their end.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from sightline.retrieval.errors import REMEDY, StoreDamagedError
from sightline.retrieval.files import sync_folder
from sightline.retrieval.text.protocol import Vectors

_FIRST_CAPACITY = 64


@dataclass(frozen=True, slots=True, eq=False)
class StoredRows:
    """Rows that were given out."""

    vectors: Vectors
    """`[n, D]`, read-only."""
    path: Path | None = None
    """File that they are mapped from; None in memory."""
    mapping: mmap.mmap | None = None
    """The mapping, which knows how long the file is by now."""

    def require_whole(self) -> None:
        """Make sure that the file is still as long as what is mapped: touching what is not there ends the process.

        Raises:
            StoreDamagedError: something cut the file after it was opened.
        """
        if self.mapping is not None and self.mapping.size() < self.vectors.nbytes:
            raise StoreDamagedError(f"{self.path} was cut to {self.mapping.size():,} bytes while it was open; {REMEDY}")


class VectorRows(Protocol):
    """Where the vectors of a store are."""

    def write(self, start: int, vectors: Vectors) -> None:
        """Write `vectors` [n, D] to the rows from `start` on."""
        ...

    def sync(self) -> None:
        """Return when all that was written would survive a power cut."""
        ...

    def rows(self, count: int) -> StoredRows:
        """Return the first `count` rows."""
        ...

    def is_in_place(self) -> bool:
        """Return whether the rows are where whoever opens the store next will look for them."""
        ...

    def close(self) -> None:
        """Let go; arrays given out stay valid."""
        ...


class VectorArray:
    """Rows in memory, in a buffer that doubles when it is full."""

    def __init__(self, dimension: int) -> None:
        self._buffer = np.empty((0, dimension), dtype=np.float32)

    def write(self, start: int, vectors: Vectors) -> None:
        """Write `vectors` [n, D] to the rows from `start` on."""
        end = start + len(vectors)
        if end > len(self._buffer):
            larger = np.empty((max(end, 2 * start, _FIRST_CAPACITY), self._buffer.shape[1]), dtype=np.float32)
            larger[:start] = self._buffer[:start]
            self._buffer = larger
        self._buffer[start:end] = vectors

    def sync(self) -> None:
        """Do nothing: memory survives nothing."""

    def rows(self, count: int) -> StoredRows:
        """Return the first `count` rows."""
        view = self._buffer[:count]
        view.flags.writeable = False
        return StoredRows(view)

    def is_in_place(self) -> bool:
        """Return True: memory cannot be moved away."""
        return True

    def close(self) -> None:
        """Do nothing."""


class VectorFile:
    """Rows in a file of little-endian float32 without a header.

    Args:
        path: the file; made, or emptied, by `create`.
        dimension: length of a row.
        writable: True to open it for writing as well.

    Raises:
        FileNotFoundError: there is no such file.
    """

    def __init__(self, path: Path, dimension: int, *, writable: bool) -> None:
        self._path = path
        self._dimension = dimension
        # Without a buffer: one that could not be written out would be written again later, over other rows.
        self._file = path.open("r+b" if writable else "rb", buffering=0)

    @classmethod
    def create(cls, path: Path, dimension: int) -> VectorFile:
        """Make an empty file, whose name would survive a power cut."""
        with path.open("wb"):
            pass
        sync_folder(path.parent)
        return cls(path, dimension, writable=True)

    def write(self, start: int, vectors: Vectors) -> None:
        """Write `vectors` [n, D] to the rows from `start` on."""
        self._file.seek(start * self._row_bytes)
        remaining = np.ascontiguousarray(vectors, dtype="<f4").reshape(-1).view(np.uint8).data
        while len(remaining):  # one call writes at most 2 GiB, and less when the disk fills up
            remaining = remaining[self._file.write(remaining) :]

    def sync(self) -> None:
        """Return when all that was written would survive a power cut."""
        os.fsync(self._file.fileno())

    def rows(self, count: int) -> StoredRows:
        """Map the first `count` rows.

        Raises:
            StoreDamagedError: the file is shorter than that.
        """
        if count == 0:
            return StoredRows(np.empty((0, self._dimension), dtype=np.float32), self._path)
        size = os.fstat(self._file.fileno()).st_size
        if size < count * self._row_bytes:
            raise StoreDamagedError(
                f"{self._path} holds {size:,} bytes, but {count:,} rows of {self._dimension} numbers take "
                f"{count * self._row_bytes:,}; {REMEDY}"
            )
        mapping = mmap.mmap(self._file.fileno(), count * self._row_bytes, access=mmap.ACCESS_READ)
        vectors = np.frombuffer(mapping, dtype="<f4").reshape(count, self._dimension)
        return StoredRows(vectors, self._path, mapping)

    def excess(self, count: int) -> int:
        """Return how many bytes lie after `count` rows, written and never acknowledged."""
        return max(os.fstat(self._file.fileno()).st_size - count * self._row_bytes, 0)

    def discard_after(self, count: int) -> None:
        """Cut the file after `count` rows, durably."""
        os.ftruncate(self._file.fileno(), count * self._row_bytes)
        self.sync()

    def is_in_place(self) -> bool:
        """Return whether the path still leads to the file that is open."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close the file; arrays given out stay valid."""
        self._file.close()

    @property
    def _row_bytes(self) -> int:
        return 4 * self._dimension
