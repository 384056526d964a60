from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore, RagRetriever
from sightline.retrieval.backends import LocalBackend
from sightline.retrieval.errors import EncoderOutputError, InvalidDocumentError, InvalidQueryError
from sightline.retrieval.text import UnitVectors
from sightline.retrieval.text.unit_vectors import document_vectors, encoded_texts, query_vectors


class RefusedError(ValueError):
    pass


def unit(vectors: object, shape: tuple[int, int]) -> UnitVectors:
    return UnitVectors.of(vectors, shape, "numbers", RefusedError)  # ty: ignore[invalid-argument-type]


@given(st.lists(st.floats(-1000, 1000), min_size=3, max_size=3).filter(any), st.integers(-45, 35))
def test_a_row_keeps_its_direction_and_has_length_one(row: list[float], exponent: int):
    given_row = np.array([row], dtype=np.float64) * 10.0**exponent
    as_float = given_row.astype(np.float32).astype(np.float64)
    if not np.isfinite(as_float).all() or not as_float.any():
        return
    (found,) = unit(given_row, (1, 3)).rows.astype(np.float64)
    assert found == pytest.approx((as_float / np.linalg.norm(as_float))[0], abs=1e-6)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("size", [1e-45, 1e-30, 1.0, 1e19, 3e38])
def test_the_least_and_the_greatest_numbers_lose_no_direction(size: float):
    (found,) = unit(np.array([[size, -size, 0]]), (1, 3)).rows
    assert found.tolist() == pytest.approx([0.5**0.5, -(0.5**0.5), 0], abs=1e-6)


def test_what_is_given_is_not_changed():
    given_rows = np.full((2, 4), 3.0, dtype=np.float32)
    unit(given_rows, (2, 4))
    assert (given_rows == 3).all()


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[0.0, 0.0]], "zero and so has no direction"),
        ([[np.nan, 1.0]], "not finite"),
        ([[1e39, 1.0]], "not finite in float32"),
        ([[1.0, 1.0, 1.0]], r"expected shape \[1, 2\], not \[1, 3\]"),
        ([1.0, 1.0], r"not \[2\]"),
        ([["a", "b"]], "real numbers"),
        ([[1j, 1.0]], "real numbers, not complex128"),
        ([[True, False]], "real numbers, not bool"),
        ([[1.0], [1.0, 2.0]], "expected an array of numbers"),
    ],
)
def test_what_has_no_direction_is_refused_by_name(vectors: object, message: str):
    with pytest.raises(RefusedError, match=f"numbers: .*{message}"):
        unit(vectors, (1, 2))


def test_vectors_that_were_checked_are_taken_as_they_are_if_they_fit():
    encoder = HashingEncoder(4)
    checked = unit([[3.0, 0, 0, 4]], (1, 4))
    assert query_vectors(encoder, checked, max_characters=9) is checked
    assert document_vectors(encoder, ["x"], checked) is checked
    with pytest.raises(InvalidQueryError, match=r"\[1, 8\]"):
        query_vectors(HashingEncoder(8), checked, max_characters=9)
    with pytest.raises(InvalidDocumentError, match=r"\[2, 4\]"):
        document_vectors(encoder, ["x", "y"], checked)
    assert len(checked) == 1


def test_texts_and_vectors_among_queries_keep_their_places():
    encoder = HashingEncoder(4)
    mixed = query_vectors(encoder, ["lamp", [0, 0, 2, 0], "mug"], max_characters=9).rows
    np.testing.assert_array_equal(mixed, [encoder.encode(["lamp"])[0], [0, 0, 1, 0], encoder.encode(["mug"])[0]])


@pytest.mark.parametrize("query", ["", " \n", "ten letters"])
def test_a_text_that_is_blank_or_too_long_is_no_query(query: str):
    with pytest.raises(InvalidQueryError, match=f"has {len(query)} characters"):
        query_vectors(HashingEncoder(4), [query], max_characters=9)
    assert len(query_vectors(HashingEncoder(4), ["9 letters"], max_characters=9)) == 1


def test_an_encoder_that_breaks_its_promise_is_named():
    class Broken(HashingEncoder):
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.zeros((len(texts), self.dimension), np.float32)

    with pytest.raises(EncoderOutputError, match="encoder 'hashing-4': a vector is zero"):
        encoded_texts(Broken(4), ["x"])
    assert encoded_texts(Broken(4), []).rows.shape == (0, 4)


def test_a_query_and_a_document_are_checked_once_on_their_way_through_the_house(monkeypatch: pytest.MonkeyPatch):
    encoder = HashingEncoder(4)
    checks: list[str] = []
    of = UnitVectors.of

    def counted(vectors: np.ndarray, shape: tuple[int, int], source: str, error: type[ValueError]) -> UnitVectors:
        checks.append(source)
        return of(vectors, shape, source, error)

    monkeypatch.setattr(UnitVectors, "of", counted)
    with RagRetriever([LocalBackend(LocalEmbeddingStore(encoder))], encoder) as retriever:
        retriever.upsert([Document(id="lamp", content="lamp")], [[3, 0, 0, 4]])
        assert retriever.search([3, 0, 0, 4]).hits[0].score == pytest.approx(1)
    assert checks == ["vectors", "query"]
