"""What `sightline-jepa train` does about the encoder: whether to tune it, and the tuned one in a run's folder."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Final, Literal, TypeAlias

from sightline.jepa.asking.encoders import (
    SentenceEncoder,
    TextEncoder,
    TunedEncoder,
    open_sentence_model,
    save_sentence_model,
)
from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.splits import TRAIN
from sightline.jepa.files import sync_folder
from sightline.jepa.tuning.encoder import tune_encoder
from sightline.jepa.tuning.low_rank import open_peft
from sightline.jepa.tuning.settings import EncoderTuning

logger = logging.getLogger(__name__)

TuningChoice: TypeAlias = Literal["auto", "off", "on"]
"""Tune and keep what validation prefers; never; or tune and keep the tuned encoder."""

LEAST_PAIRS: Final = 300
"""Training pairs below which `auto` does not tune: they make fewer than ten steps, and leave validation some forty
questions, whose MRR is not known well enough to tell a gain of tuning from chance."""


def check_choice(choice: TuningChoice, encoder: TextEncoder) -> None:
    """Refuse to tune what cannot be tuned, before anything is written.

    Raises:
        ValueError: the encoder has no weights to tune.
        ImportError: what tuning needs is not installed; the message has the command that installs it.
    """
    if choice != "on":
        return
    if not _has_transformer(encoder):
        raise ValueError(
            f"--tuning on needs an --encoder with a transformer, from sentence-transformers; {encoder.name!r:.80} has "
            "none. Name a model, or leave --tuning out"
        )
    open_peft()


def is_tuned(choice: TuningChoice, encoder: TextEncoder, dataset: SteeringDataset) -> bool:
    """Return whether to tune an encoder on a data set, and say why `auto` does not where it could.

    Args:
        choice: choice of the caller, checked before.
        encoder: encoder to tune.
        dataset: the data.
    """
    if choice != "auto":
        return choice == "on"
    if not _has_transformer(encoder):
        return False
    pairs = int((dataset.pair_split == TRAIN).sum())
    if pairs < LEAST_PAIRS:
        logger.info(
            "the encoder stays as it is: %d training pairs are fewer than the %d from which tuning it is tried "
            "(--tuning on tunes it all the same)",
            pairs,
            LEAST_PAIRS,
        )
        return False
    try:
        open_peft()
    except ImportError as error:
        logger.info("the encoder stays as it is: %s", error)
        return False
    return True


def tuned_encoder(
    folder: Path, encoder: TextEncoder, dataset: SteeringDataset, *, seed: int, device: str | None
) -> TunedEncoder:
    """Return an encoder tuned on the training pairs, from a run's folder if it is there; a killed tuning goes on.

    Args:
        folder: folder to tune in.
        encoder: encoder to tune, which stays as it is.
        dataset: the data, with its texts.
        seed: seed of the tuning.
        device: where to tune and to embed; None for what PyTorch prefers.
    """
    model_folder, checkpoint = folder / "encoder", folder / "checkpoint.safetensors"
    if not model_folder.exists():
        logger.info("tuning encoder %s on the training pairs", encoder.name)
        model = open_sentence_model(encoder.name, device)
        tune_encoder(model, dataset, EncoderTuning(), seed=seed, checkpoint=checkpoint)
        unfinished = folder / "unfinished-encoder"
        shutil.rmtree(unfinished, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        save_sentence_model(model, unfinished)
        unfinished.rename(model_folder)
        sync_folder(folder)
    checkpoint.unlink(missing_ok=True)
    return TunedEncoder(model_folder, f"{encoder.name}-tuned-{_fingerprint(model_folder)}", device)


def _has_transformer(encoder: TextEncoder) -> bool:
    return isinstance(encoder, SentenceEncoder) and encoder.has_transformer


def _fingerprint(model_folder: Path) -> str:
    """Return some digits of the SHA-256 of a model's weights."""
    digest = hashlib.sha256()
    for path in sorted(model_folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
