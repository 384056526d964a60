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


def vector_checksums(vectors: Vectors) -> list[int]:
    """Return the CRC-32 of each of `vectors` [n, D] as a store writes it, little-endian float32."""
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    return [zlib.crc32(row.data) for row in rows]


def record_checksum(document_id: bytes, content: bytes, metadata: str) -> int:
    """Return the CRC-32 of a document's fields, each after its length, so that none can pass for part of another."""
    fields = (document_id, content, metadata.encode("utf-8", "surrogatepass"))
    return zlib.crc32(b"".join(len(field).to_bytes(8, "little") + field for field in fields))


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
