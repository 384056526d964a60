"""The encoder for those who do not choose one: a neural one where it is installed, else feature hashing."""

from __future__ import annotations

import logging
from functools import cache

from sightline.retrieval.text.hashing import HashingEncoder
from sightline.retrieval.text.protocol import TextEncoder
from sightline.retrieval.text.sentence_transformer import SentenceTransformerEncoder

logger = logging.getLogger(__name__)


@cache
def default_encoder() -> TextEncoder:
    """Return the packaged MiniLM, or `HashingEncoder` without sentence-transformers; the same object every time.

    The second case is logged as a warning, once per process: hashing finds shared words, not shared meaning.
    """
    try:
        return SentenceTransformerEncoder()
    except ImportError as error:
        encoder = HashingEncoder()
        logger.warning(
            "searching by shared words (encoder %r), not by meaning: %s",
            encoder.name,
            error,
            extra={"operation": "default_encoder", "encoder": encoder.name},
        )
        return encoder
