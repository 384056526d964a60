"""The frozen text encoder of a run, with what earlier stages and starts of the run have embedded."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from lab.run import RunDirectory
from lab.settings import HASHING, EncoderSettings
from sightline.retrieval import CachedEncoder, HashingEncoder, SentenceTransformerEncoder


def open_encoder(settings: EncoderSettings, run: RunDirectory) -> CachedEncoder:
    """Return the encoder that the settings ask for; its `save` keeps new embeddings with the run."""
    if settings.encoder == HASHING:
        return CachedEncoder(HashingEncoder(), run.path / "embeddings.sqlite")
    if settings.encoder is None:
        with _no_bars():  # the packaged model lies on the disk: there is nothing to wait for
            return CachedEncoder(SentenceTransformerEncoder(), run.path / "embeddings.sqlite")
    return CachedEncoder(SentenceTransformerEncoder(settings.encoder), run.path / "embeddings.sqlite")


@contextmanager
def _no_bars() -> Generator[None]:
    """Keep transformers from drawing a bar for each model that it loads."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
