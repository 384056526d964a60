"""The arrays of a search index: what each holds, how they lie in a folder, and how they are checked when opened.

This module knows neither how the numbers are computed nor how a query uses them. Files are plain `.npy`; nothing is
ever unpickled, and opening reads only headers and the arrays of offsets.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from sightline.webshop_env.errors import CatalogueError

_DTYPES: Final = {
    "identifiers": "|u1",
    "identifier_starts": "<i8",
    "terms": "|u1",
    "term_starts": "<i8",
    "posting_starts": "<i8",
    "frequencies_inverse": "<f4",
    "peaks": "<f4",
    "documents": "<i4",
    "saturations": "<f4",
}


@dataclass(frozen=True, slots=True)
class IndexArrays:
    """An index over N documents with T terms and P postings; all arrays have one axis."""

    identifiers: npt.NDArray[np.uint8]
    """UTF-8 of all identifiers, ascending, one behind the other; their place is the document's number."""
    identifier_starts: npt.NDArray[np.int64]
    """[N + 1] int64, where each identifier starts, and the end."""
    terms: npt.NDArray[np.uint8]
    """UTF-8 of all terms, ascending, one behind the other; their place is the term's number."""
    term_starts: npt.NDArray[np.int64]
    """[T + 1] int64, where each term starts, and the end."""
    posting_starts: npt.NDArray[np.int64]
    """[T + 1] int64, where the postings of each term start, and the end."""
    frequencies_inverse: npt.NDArray[np.float32]
    """[T] float32, inverse document frequency."""
    peaks: npt.NDArray[np.float32]
    """[T] float32, the greatest saturation of each term."""
    documents: npt.NDArray[np.int32]
    """[P] int32, document numbers, ascending within a term."""
    saturations: npt.NDArray[np.float32]
    """[P] float32, `1 + tf * c` with `c = 1 / (k1 * (1 - b + b * dl / avgdl))`."""


class StringTable:
    """Distinct strings in ascending order, found by place or by binary search in their UTF-8."""

    def __init__(self, text: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> None:
        # One number or slice comes out of a memoryview several times as fast as out of an array.
        self._text, self._starts = text.data, starts.data
        self._start_array = starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    def take(self, places: npt.NDArray[np.int64]) -> list[str]:
        """Return the strings at `places` [M]."""
        starts, ends = self._start_array[places].tolist(), self._start_array[places + 1].tolist()
        text = self._text
        return [str(text[start:end], "utf-8", "surrogatepass") for start, end in zip(starts, ends, strict=True)]

    def find(self, string: str) -> int | None:
        """Return the place of a string, or None."""
        wanted = string.encode("utf-8", "surrogatepass")
        text, starts = self._text, self._starts
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            found = text[starts[middle] : starts[middle + 1]].tobytes()
            if found == wanted:
                return middle
            if found < wanted:
                low = middle + 1
            else:
                high = middle
        return None


class Storage:
    """Where the arrays of an index come to lie while it is built: here, in memory.

    Attributes:
        arrays: what `allocate` has made, by name.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, npt.NDArray[Any]] = {}

    def spool(self) -> IO[bytes]:
        """Return a temporary file."""
        return BytesIO()

    def read(self, spool: IO[bytes]) -> npt.NDArray[np.int32]:
        """All that was written to a temporary file."""
        assert isinstance(spool, BytesIO)
        return np.frombuffer(spool.getvalue(), dtype=np.int32)

    def allocate(self, name: str, length: int) -> npt.NDArray[Any]:
        """Return the array of that name in `IndexArrays`, to be filled."""
        self.arrays[name] = np.empty(length, dtype=_DTYPES[name])
        return self.arrays[name]

    def allocate_strings(self, text: str, starts: str, strings: Sequence[str]) -> None:
        """Store ascending strings as the two arrays of a `StringTable`."""
        encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
        offsets = self.allocate(starts, len(encoded) + 1)
        offsets[0] = 0
        np.cumsum([len(string) for string in encoded], out=offsets[1:])
        self.allocate(text, int(offsets[-1]))[:] = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def release(self) -> None:
        """Give back what memory can be spared; nothing is lost."""


class FolderStorage(Storage):
    """Arrays in the files of a folder, mapped into memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._mappings: list[mmap.mmap] = []

    def spool(self) -> IO[bytes]:
        """Return a file without a name, which goes when it is closed or the process ends."""
        return tempfile.TemporaryFile(dir=self._folder)

    def read(self, spool: IO[bytes]) -> npt.NDArray[np.int32]:
        """All that was written to a temporary file, mapped into memory."""
        spool.flush()
        if not spool.tell():
            return np.empty(0, dtype=np.int32)
        self._mappings.append(mmap.mmap(spool.fileno(), 0))
        return np.frombuffer(self._mappings[-1], dtype=np.int32)

    def allocate(self, name: str, length: int) -> npt.NDArray[Any]:
        """Return the array of that name in `IndexArrays`, to be filled; its file has the name too."""
        dtype = np.dtype(_DTYPES[name])
        with _file(self._folder, name).open("w+b") as file:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
            np.lib.format.write_array_header_1_0(file, header)
            offset = file.tell()
            file.truncate(offset + length * dtype.itemsize)
            # Where the disk has no room for a mapped file, the process would end by a signal instead of an error.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, offset + length * dtype.itemsize)
            self._mappings.append(mmap.mmap(file.fileno(), 0))
        self.arrays[name] = np.frombuffer(self._mappings[-1], dtype=dtype, count=length, offset=offset)
        return self.arrays[name]

    def release(self) -> None:
        """Drop the mapped pages from this process; what was written to them stays in the files."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapping in self._mappings:
                mapping.madvise(mmap.MADV_DONTNEED)

    def flush(self) -> None:
        """Return when the files are on the disk."""
        for mapping in self._mappings:
            mapping.flush()


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def open_arrays(folder: Path) -> IndexArrays:
    """Map the arrays of a folder into memory, read-only.

    Raises:
        CatalogueError: names the file that is missing, has another shape or type than it should, is too short, or has
            offsets that do not ascend from 0 to the end of what they point into.
    """
    arrays = {field.name: _open(_file(folder, field.name), _DTYPES[field.name]) for field in fields(IndexArrays)}
    for starts, target in (
        ("identifier_starts", "identifiers"),
        ("term_starts", "terms"),
        ("posting_starts", "documents"),
    ):
        _check_starts(_file(folder, starts), arrays[starts], len(arrays[target]))
    terms = len(arrays["term_starts"]) - 1
    expected = {"posting_starts": terms + 1, "frequencies_inverse": terms, "peaks": terms}
    for name, length in (expected | {"saturations": len(arrays["documents"])}).items():
        if len(arrays[name]) != length:
            raise _damaged(_file(folder, name), f"{len(arrays[name])} numbers where there should be {length}")
    return IndexArrays(**arrays)


def _open(path: Path, dtype: str) -> npt.NDArray[Any]:
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise _damaged(path, "the file is missing") from None
    except OSError:
        raise
    except (
        Exception
    ) as error:  # a damaged header may fail anywhere in the tokeniser and parser that numpy reads it with
        raise _damaged(path, str(error)[:200]) from error
    if array.ndim != 1 or array.dtype != np.dtype(dtype):
        raise _damaged(path, f"expected one axis of {np.dtype(dtype)}")
    # A plain array: slices of the mapped class take several times as long.
    return np.asarray(array)


def _check_starts(path: Path, starts: npt.NDArray[np.int64], end: int) -> None:
    if not len(starts) or starts[0] != 0 or starts[-1] != end or np.any(starts[:-1] > starts[1:]):
        raise _damaged(path, f"its numbers should ascend from 0 to {end}")


def _damaged(path: Path, what: str) -> CatalogueError:
    return CatalogueError(f"{path}: {what}; the search index is damaged, import the catalogue again")
