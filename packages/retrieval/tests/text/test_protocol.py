from __future__ import annotations

import pytest

from sightline.retrieval import CachedEncoder, HashingEncoder, SentenceTransformerEncoder, TextEncoder


@pytest.mark.parametrize("encoder", [HashingEncoder(8), CachedEncoder(HashingEncoder(8))])
def test_a_single_string_is_refused(encoder: TextEncoder):
    with pytest.raises(TypeError, match="not one string"):
        encoder.encode("desk lamp")


def test_all_encoders_follow_the_protocol(minilm: SentenceTransformerEncoder, hashing: HashingEncoder):
    assert all(isinstance(encoder, TextEncoder) for encoder in (minilm, hashing, CachedEncoder(hashing)))
