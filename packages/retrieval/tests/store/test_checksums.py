from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.retrieval.store import checksums
from sightline.retrieval.store.checksums import (
    file_checksum,
    numbers_checksum,
    record_checksum,
    rows_digest,
    vector_checksums,
)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 7)])
def test_the_checksum_of_a_vector_is_that_of_its_bytes_on_disk(shape: tuple[int, int]):
    vectors = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = [zlib.crc32(row.astype("<f4").tobytes()) for row in vectors]
    assert vector_checksums(vectors) == expected
    assert vector_checksums(np.asfortranarray(vectors)) == expected


@given(st.tuples(st.binary(max_size=6), st.binary(max_size=6), st.text("ab\ud800", max_size=6)), st.data())
def test_moving_a_letter_from_one_field_to_the_next_changes_the_checksum(fields: tuple, data: st.DataObject):
    document_id, content, metadata = fields
    assert record_checksum(*fields) == record_checksum(*fields)
    joined = document_id + content
    cut = data.draw(st.integers(0, len(joined)))
    moved = joined[:cut], joined[cut:], metadata
    assert (record_checksum(*moved) == record_checksum(*fields)) == (moved == fields)


@given(st.sets(st.integers(0, 2**40)), st.sets(st.integers(0, 2**40)))
def test_digests_of_disjoint_sets_join_to_that_of_their_union(first: set[int], second: set[int]):
    second -= first
    assert rows_digest(first) ^ rows_digest(second) == rows_digest(first | second)
    assert rows_digest(sorted(first, reverse=True)) == rows_digest(first)
    assert -(2**63) <= rows_digest(first) < 2**63


def test_small_sets_of_rows_have_digests_of_their_own():
    sets = [{a, b, c} for a in range(12) for b in range(12) for c in range(12)]
    assert len({rows_digest(rows) for rows in sets}) == len({frozenset(rows) for rows in sets})
    assert rows_digest(()) == 0


def test_numbers_and_texts_of_a_row_cannot_change_places():
    rows = [("a", 1, 2), ("a", 2, 1), ("a", 12), ("a", 1, "2"), ("a1", 2)]
    assert len({numbers_checksum(row) for row in rows}) == len(rows)


@pytest.mark.parametrize("size", [0, 1, 6, 7, 8, 20])
def test_a_file_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int):
    monkeypatch.setattr(checksums, "_CHUNK_BYTES", 7)
    content = bytes(range(size))
    (tmp_path / "file").write_bytes(content)
    assert file_checksum(tmp_path / "file") == zlib.crc32(content)
