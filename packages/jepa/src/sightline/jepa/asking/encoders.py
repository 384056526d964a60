"""Encoders of texts: the protocol that any may keep to, one that needs no download, and one from sentence-transformers.

The module knows nothing of models or data sets.
"""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.jepa.files import sync_folder

HASHED_TERMS: Final = "hashed-terms"
"""Name that `open_encoder` knows the encoder by that needs no download."""
_STEM: Final = 5
_STOP_WORD_WEIGHT: Final = 0.1


class TextEncoder(Protocol):
    """What turns texts into vectors; the same texts must give the same vectors."""

    @property
    def name(self) -> str:
        """What it is called; two encoders of one name must be the same."""
        ...

    def encode(self, texts: Sequence[str], /) -> ArrayLike:
        """Return one row of D numbers for each text, `[n, D]`, of any floating type and any length but zero."""
        ...


class HashedTermsEncoder:
    """Signed feature hashing (Weinberger et al. 2009) of words and their first letters; needs no model and no download.

    It knows spelling, not meaning: texts are similar when they share words, or words that begin alike. Counts are
    damped (`1 + ln(count)`), and words such as "the" count a tenth. Vectors are the same on every machine.

    Args:
        dimension: D, length of a vector.

    Raises:
        ValueError: the dimension is not positive.
    """

    def __init__(self, dimension: int = 512) -> None:
        if dimension < 1:
            raise ValueError(f"dimension must be at least 1, not {dimension!r}")
        self.dimension = dimension
        self.name = f"{HASHED_TERMS}-{dimension}"

    def encode(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Return `[n, D]` float32 unit rows; a text without words gives the first unit vector.

        Raises:
            TypeError: a single string was given, which would be taken for texts of one letter.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts; put the one text into a list")
        rows = np.zeros((len(texts), self.dimension), dtype=np.float64)
        for row, text in zip(rows, texts, strict=True):
            for feature, weight in _features(text).items():
                code = zlib.crc32(feature.encode("utf-8", "replace"))
                row[code % self.dimension] += -weight if code >> 31 else weight
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows[norms[:, 0] == 0, 0] = 1.0
        return (rows / np.where(norms == 0, 1.0, norms)).astype(np.float32)


class SentenceEncoder:
    """A model of sentence-transformers, on the disk or downloaded when first used.

    Args:
        name: name or folder of the model, as `SentenceTransformer` takes it.
        device: where it computes; None for what PyTorch prefers.

    Raises:
        ImportError: sentence-transformers is not installed; the message has the command that installs it.
    """

    def __init__(self, name: str, device: str | None = None) -> None:
        self._model = open_sentence_model(name, device)
        self.name = name

    @property
    def has_transformer(self) -> bool:
        """Whether it has a transformer, which can be tuned."""
        return self._model.transformers_model is not None

    def encode(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Return `[n, D]` float32 unit rows."""
        return self._model.encode(
            list(texts), convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
        ).astype(np.float32)


class TunedEncoder(SentenceEncoder):
    """A model that was tuned, and can be had from its folder alone; an answerer's folder holds a copy.

    Args:
        folder: folder of the model of sentence-transformers.
        name: name that tells it from all other encoders, the untuned one among them.
        device: where it computes; None for what PyTorch prefers.

    Raises:
        ImportError: sentence-transformers is not installed; the message has the command that installs it.
    """

    def __init__(self, folder: Path, name: str, device: str | None = None) -> None:
        super().__init__(str(folder), device)
        self.name = name

    def save(self, folder: Path) -> None:
        """Write the model to a folder, its weights as safetensors."""
        save_sentence_model(self._model, folder)


def open_sentence_model(name: str, device: str | None = None) -> Any:
    """Return a model of sentence-transformers.

    Args:
        name: name or folder of the model.
        device: where it computes; None for what PyTorch prefers.

    Raises:
        ImportError: sentence-transformers is not installed; the message has the command that installs it.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(
            f"encoder {name!r} needs sentence-transformers: pip install 'sightline-jepa[sentence-transformers]'; "
            f"{HASHED_TERMS!r} needs nothing"
        ) from error
    return SentenceTransformer(name, device=device)


def save_sentence_model(model: Any, folder: Path) -> None:
    """Write a model of sentence-transformers, its weights as safetensors, and wait until it is on the disk.

    Args:
        model: the model.
        folder: folder to make. Files in it have the mode that the umask asks for, weights too, which the library
            makes so that their owner alone may read them.
    """
    model.save(str(folder), create_model_card=False)
    mode = stat.S_IMODE((folder / "modules.json").stat().st_mode)
    for path in (*folder.rglob("*"), folder):
        if path.is_dir():
            sync_folder(path)
            continue
        path.chmod(mode)
        with path.open("rb") as file:
            os.fsync(file.fileno())


def open_encoder(name: str, device: str | None = None) -> TextEncoder:
    """Return an encoder by its name: one that needs no download, or a model of sentence-transformers.

    Args:
        name: "hashed-terms", "hashed-terms-1024" and the like, or name or folder of a model.
        device: where a model computes; None for what PyTorch prefers.

    Raises:
        ImportError: the model needs sentence-transformers, which is not installed.
    """
    built_in = re.fullmatch(rf"{HASHED_TERMS}(?:-(\d{{1,6}}))?", name)
    if built_in is None:
        return SentenceEncoder(name, device)
    return HashedTermsEncoder(int(built_in[1])) if built_in[1] else HashedTermsEncoder()


def encoded(encoder: TextEncoder, texts: Sequence[str], dimension: int | None = None) -> NDArray[np.float32]:
    """Return what an encoder makes of texts as float32 unit rows, `[n, D]`.

    Raises:
        ValueError: the encoder gave another number of rows or another width than `dimension`, or a row that is zero or
            not finite.
    """
    return unit_rows(encoder.encode(list(texts)), f"encoder {encoder.name!r} gave rows that", len(texts), dimension)


def unit_rows(rows: ArrayLike, what: str, count: int, dimension: int | None = None) -> NDArray[np.float32]:
    """Return rows of any numeric type and length as float32 unit rows.

    Args:
        rows: `[count, D]`.
        what: subject of messages, in the plural.
        count: number of rows there must be.
        dimension: D that there must be; None for any.

    Raises:
        ValueError: a shape or type does not fit, or a row is zero or not finite.
    """
    array = np.asarray(rows)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{what} are no real numbers but {array.dtype}")
    if array.ndim != 2 or len(array) != count or (dimension is not None and array.shape[1] != dimension):
        raise ValueError(f"{what} have shape {list(array.shape)}, where [{count}, {dimension or 'D'}] is needed")
    wide = array.astype(np.float64)  # half precision would overflow or vanish in the norm
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    wrong = ~(np.isfinite(norms) & (norms > 0))[:, 0]
    if wrong.any():
        raise ValueError(f"{what} are zero or not finite and so have no direction, first row {int(wrong.argmax())}")
    return (wide / norms).astype(np.float32)


def _features(text: str) -> dict[str, float]:
    """Return the weight of every word, and of the first letters of longer ones."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    counts = Counter(re.findall(r"\w+", text.casefold()))
    features: dict[str, float] = {}
    for word, count in counts.items():
        weight = (1.0 + float(np.log(count))) * (_STOP_WORD_WEIGHT if word in ENGLISH_STOP_WORDS else 1.0)
        features[word] = features.get(word, 0.0) + weight
        if len(word) > _STEM:
            stem = f"{word[:_STEM]}*"
            features[stem] = features.get(stem, 0.0) + weight
    return features
