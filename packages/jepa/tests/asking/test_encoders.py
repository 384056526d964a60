from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.jepa.asking.encoders import HashedTermsEncoder, encoded, open_encoder, unit_rows


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_every_text_has_a_direction_of_its_own_words_alone(texts: list[str]):
    rows = HashedTermsEncoder(32).encode(texts)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.array_equal(rows[0], HashedTermsEncoder(32).encode([f" {texts[0]}!"])[0]) or texts[0].strip() != texts[0]


def test_texts_with_the_same_words_or_beginnings_are_alike_and_stop_words_hardly_count():
    first, inflected, other, padded = HashedTermsEncoder(512).encode(
        ["cancel an invoice", "Cancelling invoices", "track a parcel", "cancel the invoice of it"]
    )
    assert first @ inflected > 0.3 > first @ other + 0.2
    assert first @ padded > 0.95


def test_names_stand_for_encoders():
    assert open_encoder("hashed-terms").name == "hashed-terms-512"
    assert encoded(open_encoder("hashed-terms-64"), ["a"]).shape == (1, 64)
    with pytest.raises(ValueError, match="at least 1"):
        open_encoder("hashed-terms-0")
    with pytest.raises(TypeError, match="put the one text into a list"):
        HashedTermsEncoder().encode("text")


def test_a_missing_library_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'sightline-jepa\[sentence-transformers\]'"):
        open_encoder("all-MiniLM-L6-v2")


def test_rows_of_any_type_become_unit_rows():
    for dtype in (np.float16, np.float32, np.float64, np.int8):
        rows = unit_rows(np.array([[3, 4], [0, 2]], dtype=dtype), "rows", 2)
        np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 1]], atol=1e-6)
        assert rows.dtype == np.float32
    tiny = unit_rows(np.array([[6e-8, 0]], dtype=np.float16), "rows", 1)  # its square is 0 in half precision
    assert tiny.tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[0.0, 0.0], [1.0, 0.0]], "no direction, first row 0"),
        ([[1.0, 0.0], [np.inf, 0.0]], "no direction, first row 1"),
        ([[1.0, 0.0]], r"shape \[1, 2\], where \[2, D\]"),
        ([1.0, 2.0], r"shape \[2\]"),
        ([["a"], ["b"]], "no real numbers"),
        ([[1j], [1]], "no real numbers"),
    ],
)
def test_rows_without_direction_or_of_another_shape_are_refused(rows: list, said: str):
    class Encoder:
        name = "mine"

        def encode(self, texts):
            return rows

    with pytest.raises(ValueError, match=f"encoder 'mine' gave rows that .*{said}"):
        encoded(Encoder(), ["a", "b"])
