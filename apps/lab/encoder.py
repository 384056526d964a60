"""The frozen text encoder of a run, with what earlier stages and starts of the run have embedded."""

from __future__ import annotations

from lab.run import RunDirectory
from lab.settings import HASHING, EncoderSettings
from sightline.retrieval import CachedEncoder, HashingEncoder, SentenceTransformerEncoder


def open_encoder(settings: EncoderSettings, run: RunDirectory) -> CachedEncoder:
    """Return the encoder that the settings ask for; its `save` keeps new embeddings with the run."""
    model = HashingEncoder() if settings.encoder == HASHING else SentenceTransformerEncoder(settings.encoder)
    return CachedEncoder(model, run.path / "embeddings.sqlite")
