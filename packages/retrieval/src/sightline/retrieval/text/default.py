"""The encoder for those who do not choose one: a neural one where it is installed, else feature hashing."""

from __future__ import annotations

import logging
import re
from functools import cache

from sightline.retrieval.errors import EncoderMismatchError
from sightline.retrieval.text.hashing import HashingEncoder
from sightline.retrieval.text.protocol import TextEncoder
from sightline.retrieval.text.sentence_transformer import PACKAGED_MODEL_NAME, SentenceTransformerEncoder

logger = logging.getLogger(__name__)


def encoder_named(name: str) -> TextEncoder:
    """Return the encoder of this package that has a name.

    Args:
        name: name of a `HashingEncoder` or of the packaged MiniLM.

    Raises:
        EncoderMismatchError: the name is that of no encoder that can be made from its name alone.
        ImportError: the encoder's extra is not installed.
    """
    if name == PACKAGED_MODEL_NAME:
        return _packaged_encoder()
    if (found := re.fullmatch(r"hashing-([1-9][0-9]{0,8})", name)) is not None:
        return HashingEncoder(int(found[1]))
    raise EncoderMismatchError(f"the vectors are those of encoder {name!r}, which this package cannot make; give it")


@cache
def default_encoder() -> TextEncoder:
    """Return the packaged MiniLM, or `HashingEncoder` without sentence-transformers; the same object every time.

    The second case is logged as a warning, once per process: hashing finds shared words, not shared meaning.
    """
    try:
        return _packaged_encoder()
    except ImportError as error:
        encoder = HashingEncoder()
        logger.warning(
            "searching by shared words (encoder %r), not by meaning: %s",
            encoder.name,
            error,
            extra={"operation": "default_encoder", "encoder": encoder.name},
        )
        return encoder


@cache
def _packaged_encoder() -> TextEncoder:
    """Load the packaged model once."""
    return SentenceTransformerEncoder()
