"""Checksums of what a store keeps: CRC-32, which finds every flipped byte, and digests that can be kept up to date.

This module knows bytes and numbers, not where they are kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from sightline.retrieval.text.protocol import Vectors

_CHUNK_BYTES = 2**20
_ODD = 2654435761  # 2**32 over the golden ratio: equal letters cut elsewhere begin with another number


def vector_checksums(vectors: Vectors) -> list[int]:
    """Return the CRC-32 of each of `vectors` [n, D] as a store writes it, little-endian float32."""
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    size = rows.itemsize * rows.shape[1]
    content = rows.reshape(-1).view(np.uint8).data
    return [zlib.crc32(content[start : start + size]) for start in range(0, len(content), size)]


def record_checksum(document_id: bytes, content: bytes, metadata: str) -> int:
    """Return the CRC-32 of a document's fields one after the other, begun with a number that their lengths make."""
    start = (len(document_id) * _ODD + len(content)) & 0xFFFFFFFF
    return zlib.crc32(metadata.encode("utf-8", "surrogatepass"), zlib.crc32(content, zlib.crc32(document_id, start)))


def record_is_sound(document_id: object, content: object, metadata: object, checksum: object) -> bool:
    """Tell whether fields are of the types in which documents are kept, and match their checksum."""
    return (
        isinstance(document_id, bytes)
        and isinstance(content, bytes)
        and isinstance(metadata, str)
        and record_checksum(document_id, content, metadata) == checksum
    )


def numbers_checksum(values: Sequence[object]) -> int:
    """Return the CRC-32 of a row of numbers and texts."""
    return zlib.crc32(repr(tuple(values)).encode("utf-8", "surrogatepass"))


def rows_digest(rows: Iterable[int]) -> int:
    """Return 64 bits that stand for a set of rows; those of two disjoint sets, by `^`, stand for their union.

    Each row is mixed by the finaliser of splitmix64 (Steele et al. 2014), in which every bit depends on every other.
    """
    mixed = np.fromiter(rows, dtype=np.int64).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return int(np.bitwise_xor.reduce(mixed, initial=np.uint64(0)).astype(np.int64))


def file_checksum(path: Path) -> int:
    """Return the CRC-32 of a file.

    Raises:
        OSError: it cannot be read.
    """
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
